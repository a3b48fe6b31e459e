"""What of an answer is its own: not what the request says, however short, unless a good answer says it too."""

import pytest

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.evaluate.answers import Answer
from helptune.evaluate.helpfulness import own_text
from helptune.evaluate.quality import scored
from helptune.evaluate.sets import load_checks

HELDOUT = load_curated("heldout")
REQUEST = 'Is this right? "Sit down! He ate the soup." I am a beginner.'
TURNS = ("Is it warm in May?", "Yes. It is warm in May by day.", REQUEST)


def own(text, reference="He sat down and ate. Yes, that is right.", turns=TURNS):
    messages = [Message(("user", "assistant")[i % 2], turn) for i, turn in enumerate((*turns, reference))]
    return own_text(Conversation("a", "test", "Apache-2.0", tuple(messages)), Answer("a", text, True, 1))


def test_a_whole_request_has_nothing_of_its_own_though_it_has_short_sentences():
    assert own(REQUEST) == ""
    assert own("Is this right?") == own("sit down") == own("I am a beginner.") == ""


def test_a_short_sentence_of_the_request_that_the_reference_has_is_an_answer():
    """As where a sentence was to be found."""
    assert own("Sit down!", reference='"Sit down!" is an order.') == "Sit down!"


@pytest.mark.parametrize("text", ["Yes.", "Right.", "He ate.", "Sit down, please!", "A beginner."])
def test_a_short_answer_that_is_no_whole_sentence_of_the_user_is_its_own(text):
    """Words of the request are what an answer is made of, and what was answered before may be the answer again."""
    assert own(text) == text


def test_a_whole_request_as_the_answer_is_worth_next_to_nothing():
    echoes = {c.id: Answer(c.id, c.prompt[-1].content, True, 9) for c in HELDOUT}
    scores = [one.score for one in scored(HELDOUT, echoes, load_checks()).values()]
    assert sum(scores) / len(scores) < 0.03
    assert sum(score > 0.1 for score in scores) <= 8, "where the reference has the request's words too, a few are left"


def test_a_reference_is_its_own_but_where_it_repeats_itself():
    for c in HELDOUT:
        alone = Conversation(c.id, c.source, c.license, (Message("user", "Go on."), c.messages[-1]))
        said = Answer(c.id, c.reference, True, 9)
        assert own_text(c, said) == own_text(alone, said)
