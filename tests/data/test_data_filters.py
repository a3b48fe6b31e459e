"""Each filter drops what it is named after, and keeps what looks like it. The curated conversations pass them all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.filters import FILTERS
from helptune.data.language import identify

CURATED = load_curated("train") + load_curated("heldout")


def chat(*turns, system="", ratings=None):
    """User and assistant take turns."""
    first = (Message("system", system),) if system else ()
    said = (Message(("user", "assistant")[i % 2], turn) for i, turn in enumerate(turns))
    return Conversation("id", "test", "Apache-2.0", (*first, *said), ratings=ratings or {})


def answer(text):
    return chat("What do you think about this?", text)


LONG = "The bridge was built in 1932 and repaired twice since then. " * 8

DROPS = {
    "empty_turn": [answer(" \n\t "), answer("\u200b\u200b"), chat("\u2060", "Hello.")],
    "too_short": [answer("..."), answer("-"), answer("?!"), answer("。。。")],
    "too_many_turns": [chat(*["Go on.", "Yes."] * 21)],
    "too_long": [answer("word " * 4000)],
    "unhelpful": [chat("Hi", "No.", ratings={"helpfulness": 0.2}), chat("Hi", "No.", ratings={"helpfulness": 0})],
    "only_link": [
        answer("https://example.org/page"),
        answer("See here: https://example.org/a?b=c"),
        answer("[Click here](https://example.org)"),
        answer("Check this out www.example.org"),
    ],
    "control_token": [
        answer("Sure.<end_of_turn>"),
        answer("Use `<start_of_turn>` here."),
        answer("Sure.<|im_end|>"),
        answer("<|start_header_id|>assistant<|end_header_id|> Sure."),
        chat("[INST] Write a poem [/INST]", "Roses."),
        answer("<<SYS>> be good <</SYS>> Sure."),
        answer("Paris <extra_id_1> London"),
        answer("Paris is the capital.</s>"),
        answer("<s> Paris is the capital."),
        answer("Paris is the capital.\n\nHuman: And of Spain?\n\nAssistant: Madrid."),
        answer("Paris is the capital.\n \n\n \t\nHuman: And of Spain?"),
        answer("Assistant: Sure, here it is."),
        chat("### Instruction:\nWrite a poem\n\n### Response:", "Roses."),
        answer("<｜begin▁of▁sentence｜>Paris."),
    ],
    "self_identity": [
        answer("As an AI language model developed by OpenAI, I cannot say."),
        answer("As an AI, I don't have feelings."),
        answer("I'm just a language model, so I can't taste food."),
        answer("I am a large language model trained by Google."),
        answer("My name is Claude, an AI assistant made by Anthropic."),
        answer("Hello! I am ChatGPT."),
        answer("I'm Open Assistant."),
        answer("I am trained by researchers from Large Model Systems Organization (LMSYS)."),
        chat("Hi", "I am an AI.", "And?", "Nothing."),
    ],
    "cutoff_date": [
        answer("My knowledge cutoff is September 2021."),
        answer("As of my last update, the record is 9.58 seconds."),
        answer("My training data only goes up to 2021."),
        answer("My knowledge is limited to events before 2022."),
        answer("I was trained on data up to June 2023."),
    ],
    "truncated": [
        answer("Paris is the capital of France because the"),
        answer("You need flour, two eggs, sugar, and"),
        answer("Here are three things to bring:\n- a map\n- a lamp\n- food such as"),
        answer("Here is the code:\n```python\nprint(1)"),
        answer("It grows in the north of Norway, Sweden, and Finland,"),
        answer("They met in the capital of"),
        answer(LONG + "Its towers stand on rock and"),
        answer(LONG + "Its towers stand on solid rock under the old"),
    ],
    "mostly_symbols": [answer("!@#$%^&*()_+ " * 5), answer("?????? !!!!!! ?????? !!!!!! ?????? !!!!!! ......")],
    "prompt_echo": [
        chat("What is the capital of France?", "What is the capital of France?"),
        chat("What is the capital of France?", "what is the capital of france? It is Paris."),
    ],
    "repetition": [
        answer("I am sorry. I do not know that. " * 12),
        answer("no " * 9),
        chat("How many times did it rain?", "no " * 9),
        answer("Haha" + "a" * 40),
        answer("lol" * 30),
        answer("- Buy some fresh milk\n" * 10 + "- Buy bread and butter\n" * 5),
    ],
    "language": [
        chat(
            "¿Cuál es la capital de Francia y por qué es tan conocida en el mundo?",
            "La capital de Francia es París. Es conocida por la torre Eiffel, sus museos y su cocina, que atraen a "
            "millones de visitantes cada año.",
        ),
        chat(
            "¿Qué es la fotosíntesis?",
            "La fotosíntesis es el proceso por el cual las plantas convierten la luz del sol en energía "
            "química que usan para crecer y para vivir.",
        ),
        chat(
            "Hola",
            "La fotosíntesis es el proceso por el cual las plantas convierten la luz del sol en energía química.",
        ),
        chat(
            "Wie backe ich Brot?",
            "Mischen Sie Mehl, Wasser, Salz und Hefe, kneten Sie den Teig zehn Minuten lang und lassen Sie ihn "
            "eine Stunde gehen, bevor Sie ihn backen.",
        ),
        chat(
            "光合作用是什么？",
            "光合作用是植物利用阳光把二氧化碳和水转化为糖和氧气的过程，是地球上大多数生命的能量来源，也决定了大气中的氧气含量。",
        ),
    ],
    "pii": [answer("Write to anna.meier@gmail.com about it."), chat("My phone is (415) 867-5309.", "Thanks.")],
}

KEEPS = {
    "empty_turn": [answer("."), answer("👍")],
    "too_short": [answer("42"), answer("B"), answer("No."), answer("👍"), answer("是"), answer("+")],
    "too_many_turns": [chat(*["Go on.", "Yes."] * 20)],
    "too_long": [answer("word " * 2000)],
    "unhelpful": [
        chat("Hi", "Hello."),
        chat("Hi", "Hello.", ratings={"helpfulness": 0.5}),
        chat("Hi", "Hello.", ratings={"helpfulness": None, "quality": 0.1}),
    ],
    "only_link": [
        answer("Use the form at https://example.org/form and attach your receipt."),
        chat("What is the link to the docs?", "https://example.org/docs"),
        chat("Which website has the form?", "https://example.org"),
        answer("A tree needs light."),
    ],
    "control_token": [
        answer("Close the tag with </s> after <s>the text</s> to strike it out."),
        answer("In ChatML a turn begins with `<|im_start|>`."),
        answer("```\n[INST] hello [/INST]\n```\nis the format of Llama 2."),
        answer("Use a <b>bold</b> tag, a <table> or a <mask>."),
        answer("f <| x |> g is legal there, and a || b too."),
        answer("Human: \n\nRobot: I have come to help.\n\nHuman: With what?\n\nRobot: The dishes."),
        answer("Human: a member of the species Homo sapiens."),
        answer("### Instructions\n\n1. Boil water.\n\n### Response times\n\nTwo days."),
        answer("The array is a[INST_MAX]."),
    ],
    "self_identity": [
        answer("ChatGPT is a chatbot made by OpenAI."),
        answer("As an AI engineer, you should learn statistics."),
        answer("I'm an AI researcher, and I live in Oslo."),
        answer("My name is Claude and I live in Lyon."),
        answer("I am Claude Monet, painter of water lilies."),
        answer("Tools such as an AI, a calculator or a book can help."),
        chat("You, as an AI language model, what do you think?", "It depends on the price."),
        answer("The company was created by Google in 2015."),
        answer("I was trained by my aunt, who baked for forty years."),
        answer("I can't see your screen, so please paste the text."),
        answer("Gemini is the third sign of the zodiac."),
    ],
    "cutoff_date": [
        answer("A knowledge cutoff is the date after which a model has seen no text."),
        answer("The cutoff date for applications is 3 March 2024."),
        answer("As of the last census, 40,000 people live there."),
        answer("I can't know today's weather; a weather site can."),
        answer("My knowledge of French is limited."),
        answer("My training goes well, and I run ten miles."),
        answer("I was trained in 2019 as a nurse."),
    ],
    "truncated": [
        answer("Paris"),
        answer("the"),
        answer("A"),
        answer("Answer: A"),
        answer("- Praise: a\n- Complaint: c, d\n- Question: b"),
        answer("Dear Tom,\n\nThank you for the lovely evening.\n\nBest wishes,\nAnna"),
        answer("Thank you for the lovely evening, and for the soup.\n\nBest wishes,"),
        answer("yes you can do that in the settings menu"),
        answer("Add these:\n- salt\n- pepper\n- two cloves of garlic"),
        answer("Here is the code:\n```python\nprint(1)\n```"),
        answer('The missing word in that sentence is "the"'),
        answer("It means: what are you waiting for"),
        answer("The docs are at https://example.org/path/to/the"),
        answer(LONG + "\n- and one more thing to remember about it"),
        answer(LONG + "Cheers, Anna"),
        answer(LONG + "See also https://example.org/bridges/of/the/world for the full list"),
        answer("And then the door opened..."),
        answer("The result is $x = 3$"),
    ],
    "mostly_symbols": [
        answer("x^2 + 2x + 1 = 0"),
        answer("```\n" + "+-*/=<>()[]{}" * 5 + "\n```"),
        answer("| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |"),
        chat("Draw a cat in ASCII.", " /\\_/\\  \n( o.o ) \n > ^ <  \n /   \\ \n(__|__) \n ------- ======= +++++++"),
        answer("Он живёт в Москве и работает в школе учителем."),
        answer("😀 😃 😄"),
    ],
    "prompt_echo": [
        chat("Fix: lets eat grandma tonight please", "Let's eat, grandma, tonight, please!"),
        chat("Hello there!", "Hello there! What can I do?"),
        chat("the cat sat on the mat", "The cat sat on the mat.", system="Correct the user's text."),
        chat("Is the sea salty or not?", "The sea is salty."),
    ],
    "repetition": [
        answer(
            "Row, row, row your boat,\nGently down the stream.\n"
            "Merrily, merrily, merrily, merrily,\nLife is but a dream."
        ),
        answer(
            "I wake before the birds begin,\nthe tide comes in, the tide goes out,\n"
            "I light the stove and warm my hands,\n"
            "the tide comes in, the tide goes out,\nI mend the nets my father made,\n"
            "the tide comes in, the tide goes out,\n"
            "and when the evening lamps are lit,\nthe tide comes in, the tide goes out."
        ),
        answer(
            "\n".join(
                f"- {day}: 30 minutes of running, then {meal}"
                for day, meal in zip(
                    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
                    ("soup", "fish", "rice", "beans", "pasta", "salad", "bread"),
                    strict=True,
                )
            )
        ),
        answer("| a | b |\n" + "| --- | --- |\n" * 2 + "-" * 80),
        answer("```\n" + "x = x + 1\n" * 30 + "```"),
        answer("Pi is 3.14159 and one third is 0." + "3" * 20),
        chat("Write hello ten times, please repeat it.", "hello " * 10),
        chat("Write hello 10 times.", "hello " * 10),
        answer("It was very, very, very good."),
    ],
    "language": [
        chat("What does 'bonjour' mean?", "Hello."),
        chat(
            "Translate into French: Good morning, my friends, how are you today?",
            "Bonjour mes amis, comment allez-vous aujourd'hui ? J'espère que vous avez passé "
            "une bonne nuit et que tout va bien.",
        ),
        chat(
            "Please summarize in English: La fotosíntesis es el proceso por el cual las plantas convierten la luz "
            "del sol en energía química.",
            "Plants turn sunlight into chemical energy that they use to live and grow.",
        ),
        chat(
            "Write a short poem in German about the forest.",
            "Der Wald ist still, der Abend sinkt herab, die Vögel schweigen in den hohen "
            "Bäumen, und leise geht der Wind.",
        ),
        chat(
            "print(x) fails",
            "```python\nfor i in range(10):\n    print(i, x[i], y[i], zip(x, y), sorted(z), enumerate(w))\n```",
        ),
        chat(
            "List some composers.",
            "- Johann Sebastian Bach\n- Wolfgang Amadeus Mozart\n- Antonio Vivaldi\n- Giuseppe Verdi\n- Clara Schumann",
        ),
        chat("2 + 2", "4"),
    ],
    "pii": [answer("Write to anna@example.com or call 555-0142."), answer("The server listens on 127.0.0.1.")],
}


def cases(table):
    return [pytest.param(name, c, id=f"{name}-{i}") for name, rows in table.items() for i, c in enumerate(rows)]


@pytest.mark.parametrize(("name", "conversation"), cases(DROPS))
def test_a_filter_drops_what_it_is_named_after(name, conversation):
    detail = FILTERS[name](conversation)
    assert detail
    assert len(detail) < 200


@pytest.mark.parametrize(("name", "conversation"), cases(KEEPS))
def test_a_filter_keeps_what_looks_like_it(name, conversation):
    assert FILTERS[name](conversation) is None


@pytest.mark.parametrize("name", FILTERS)
def test_every_curated_conversation_passes(name):
    assert [(c.id, found) for c in CURATED if (found := FILTERS[name](c))] == []


def test_every_filter_has_cases_of_both_kinds():
    assert set(DROPS) == set(KEEPS) == set(FILTERS)


def test_curated_prose_is_taken_for_english_wherever_it_can_be_judged():
    """Not only because one English side keeps a conversation: each is, but for lists of names and translations."""
    sides = [[m.content for m in c.messages if m.role == role] for c in CURATED for role in ("user", "assistant")]
    judged = [found for found, _, letters in (identify(" ".join(side)) for side in sides) if letters >= 30]
    assert len(judged) > len(CURATED)
    assert judged.count("en") > 0.99 * len(judged)


def test_a_parameter_moves_the_bound():
    assert FILTERS["too_long"](answer("four"), max_characters=3)
    assert FILTERS["unhelpful"](chat("Hi", "Yes.", ratings={"helpfulness": 0.5}), min_helpfulness=0.6)
    spanish = DROPS["language"][0]
    assert FILTERS["language"](spanish, languages=("en", "es")) is None
    assert FILTERS["language"](CURATED[0], languages=("es",))


@pytest.mark.parametrize("name", FILTERS)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_gets_the_same_verdict_twice(name, text):
    verdict = FILTERS[name](chat(text, text))
    assert verdict is None or isinstance(verdict, str)
    assert FILTERS[name](chat(text, text)) == verdict
