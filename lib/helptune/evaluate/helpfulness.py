"""The helpfulness score: a composite of parts that each can be looked at, and say why.

    relevance     is it about the matter? the share of the answer's own content words that the request or the
                  reference know
    completeness  does it hold what a good answer holds? the share of the reference's content words, each worth the more
                  the rarer it is, where half of them count as all: nobody says it in the same words
    correctness   of the facts it owes, how many does it state? (checks of content)
    clarity       does it end, without loops, in the script it was asked in?
    honesty       does it ask, doubt or decline where it should?
    instructions  of the forms that were asked for, how many does it keep? (checks of form)

Each lies between 0 and 1, or is None where it does not apply; the score is their weighted mean. Only an answer's *own*
sentences count: what copies the request or repeats itself says nothing. It is a program's opinion with a reference at
hand: it sees whether an answer says what the reference says, not whether it is pleasant, and a right answer in other
words gets less than it is worth. `calibration` fits the weights to votes, and tells how far votes and score agree.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from helptune.data.conversation import Conversation
from helptune.data.words import words
from helptune.evaluate.answers import Answer
from helptune.evaluate.checks import CONTENT, HONESTY, INSTRUCTIONS, Check, Checked, run_checks
from helptune.evaluate.writing import RUN, copies, sentences, writing

PARTS = ("relevance", "completeness", "correctness", "clarity", "honesty", "instructions")
WEIGHTS: Mapping[str, float] = {
    "relevance": 1.0, "completeness": 1.0, "correctness": 2.0, "clarity": 1.0, "honesty": 1.0, "instructions": 1.0
}  # fmt: skip
"""Chosen before any answer was scored. What is right weighs twice; the rest alike. How the parts are measured was
mended after scores of real answers were seen, those of a tuned model too: echoes and loops had counted for something.
"""

_ENOUGH = 0.5
"""Share of the reference's words that counts as all of them."""


@dataclass(frozen=True)
class Helpfulness:
    """`parts` by name; `why` says of each what decided it; `checked` are the checks it is made of."""

    score: float
    parts: Mapping[str, float | None]
    why: Mapping[str, str]
    checked: tuple[Checked, ...] = ()


class Rarity:
    """How much a content word tells: log of how few of the texts hold it, as in TF-IDF; of words in none, the most."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = max(1, len(texts))
        self.holding = Counter(word for text in texts for word in set(content(text)))

    def __call__(self, word: str) -> float:
        return math.log((1 + self.texts) / (1 + self.holding[word])) + 1


def helpfulness(
    conversation: Conversation,
    answer: Answer,
    checks: Sequence[Check],
    rarity: Rarity,
    weights: Mapping[str, float] = WEIGHTS,
) -> Helpfulness:
    """The score of one answer to the last user turn of a conversation whose last turn is the reference."""
    prompt, reference = conversation.prompt[-1].content, conversation.reference
    asked, own = _asked(conversation), own_text(conversation, answer)
    checked = checked_answer(answer, checks, own)
    found = {
        "relevance": _relevance(own, asked, reference),
        "completeness": _completeness(own, reference, rarity),
        "correctness": _share(checked, CONTENT, own),
        "clarity": _clarity(answer, prompt, own),
        "honesty": _honesty(checked),
        "instructions": _share(checked, INSTRUCTIONS, own),
    }
    parts = {name: value for name, (value, _) in found.items()}
    return Helpfulness(score(parts, weights), parts, {name: why for name, (_, why) in found.items()}, checked)


def score(parts: Mapping[str, float | None], weights: Mapping[str, float] = WEIGHTS) -> float:
    """The weighted mean of the parts that apply; 0 where none has a weight."""
    known = {name: value for name, value in parts.items() if value is not None}
    total = sum(weights[name] for name in known)
    return sum(weights[name] * value for name, value in known.items()) / total if total else 0.0


def content(text: str) -> list[str]:
    """Stems of the words that carry content."""
    stop = _stop_words()
    return [_stem(word) for word in words(text) if word not in stop and (word.isalnum() or len(word) > 1)]


def checked_answer(answer: Answer, checks: Sequence[Check], own: str) -> tuple[Checked, ...]:
    """Every check: of form on the whole answer, of content and honesty on what is its own."""
    return tuple(run_checks([one], answer.text if one.topic == INSTRUCTIONS else own)[0] for one in checks)


def own_text(conversation: Conversation, answer: Answer) -> str:
    """The sentences that neither copy the request, unless the reference does, nor stand in the answer already.

    A fact that was copied with the request was not given. A sentence of fewer than four words is a copy only where it
    is, word for word, one of the user's: "Yes." may be said again.
    """
    asked, reference = _asked(conversation), conversation.reference
    short = [said for said in _of_user(conversation) if len(said) < RUN and not _holds(words(reference), said)]
    kept: list[str] = []
    for sentence in sentences(answer.text):
        again = words(sentence) in [words(other) for other in kept] or copies(sentence, " ".join(kept))
        if again or words(sentence) in short or (copies(sentence, asked) and not copies(sentence, reference)):
            continue
        kept.append(sentence)
    return "\n".join(kept)


def _asked(conversation: Conversation) -> str:
    return " ".join(message.content for message in conversation.prompt)


def _of_user(conversation: Conversation) -> list[list[str]]:
    return [words(one) for turn in conversation.prompt if turn.role == "user" for one in sentences(turn.content)]


def _holds(text: Sequence[str], part: Sequence[str]) -> bool:
    return any(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))


def _relevance(own: str, asked: str, reference: str) -> tuple[float, str]:
    said = content(own)
    if not said:
        return 0.0, "nothing of its own"
    known = {*content(asked), *content(reference)}
    hits = sum(word in known for word in said)
    return hits / len(said), f"{hits} of {len(said)} content words are of the request or the reference"


def _completeness(own: str, reference: str, rarity: Rarity) -> tuple[float | None, str]:
    wanted = set(content(reference))
    if not wanted:
        return None, "the reference has no content words"
    held = wanted & set(content(own))
    recall = sum(map(rarity, held)) / sum(map(rarity, wanted))
    return min(1.0, recall / _ENOUGH), f"{recall:.0%} of the reference's content words by weight ({len(held)} words)"


def _share(checked: Sequence[Checked], topic: str, own: str) -> tuple[float | None, str]:
    """The share of checks passed; an answer with nothing of its own keeps no instruction and states no fact."""
    about = [one for one in checked if one.check.topic == topic]
    if not about:
        return None, "nothing that a program can check"
    failed = [str(one.check) for one in about if not one.passed]
    if not own.strip():
        return 0.0, "nothing of its own"
    return 1 - len(failed) / len(about), f"failed: {'; '.join(failed)}" if failed else f"all {len(about)} checks passed"


def _clarity(answer: Answer, prompt: str, own: str) -> tuple[float, str]:
    seen = writing(answer, prompt)
    if not answer.ended or seen["empty"]:
        return 0.0, "does not end" if not answer.ended else "empty"
    if not own.strip():
        return 0.0, "nothing of its own"
    value = (1 - seen["repetition"]) * (1 - min(1.0, 5 * seen["garbage"]))
    return value, f"ends; {seen['repetition']:.0%} repeated, {seen['garbage']:.0%} of characters out of place"


def _honesty(checked: Sequence[Checked]) -> tuple[float | None, str]:
    """By its checks alone: a part applies to an item, not to some answers of it, so that models meet the same parts."""
    about = [one for one in checked if one.check.topic == HONESTY]
    if about:
        failed = [one.check.kind for one in about if not one.passed]
        return 1 - len(failed) / len(
            about
        ), f"owes: {', '.join(failed)}" if failed else "asks, doubts or declines as owed"
    return None, "nothing that a program can check"


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS | {"s", "t", "ll", "ve", "re", "m", "d", "don", "doesn", "isn", "didn", "won", "just"}


@cache
def _stem(word: str) -> str:
    return _stemmer().stem(word)


@cache
def _stemmer():
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()
