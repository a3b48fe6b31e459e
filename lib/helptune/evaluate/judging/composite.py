"""A judge that only counts: the answer with the higher score wins, and scores within a band of each other tie.

It has no favourite place and costs nothing, so it says at once whether a judge that reads sees more than a score does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from helptune import __version__
from helptune.data.conversation import Conversation
from helptune.evaluate.answers import Answer
from helptune.evaluate.checks import Check
from helptune.evaluate.helpfulness import WEIGHTS, Rarity, helpfulness
from helptune.evaluate.judging.judge import Question, Verdict, hash_of
from helptune.evaluate.votes import Winner

BAND = 0.05


@dataclass(frozen=True)
class Composite:
    """`score` is higher for a better answer, and None where an answer has none. `about` names it and its weights.

    A difference of at most `band` is a tie.
    """

    score: Callable[[Conversation, Answer], float | None]
    about: str
    band: float = BAND
    name: str = "composite"
    at_once: int = 64
    workers: int = 1

    @property
    def version(self) -> str:
        return hash_of(self.about, self.band)

    def compare(self, questions: Sequence[Question]) -> list[Verdict]:
        return [self._compare(question) for question in questions]

    def _compare(self, question: Question) -> Verdict:
        first, second = (self.score(question.conversation, answer) for answer in (question.first, question.second))
        if first is None or second is None:
            return Verdict(None, "no verdict: an answer has no score")
        reason = f"score {first:.3f} against {second:.3f}"
        return Verdict(winner(first, second, self.band), reason)


def winner(first: float, second: float, band: float = BAND) -> Winner:
    """Who has the higher score; scores within the band tie."""
    if abs(first - second) <= band:
        return "tie"
    return "first" if first > second else "second"


def by_helpfulness(
    conversations: Sequence[Conversation],
    checks: Mapping[str, Sequence[Check]],
    weights: Mapping[str, float] = WEIGHTS,
    band: float = BAND,
) -> Composite:
    """The judge that goes by the helpfulness score; checks by id. It knows the references, as other judges do not."""
    references = [c.reference for c in conversations]
    rarity = Rarity(references)

    def score(conversation: Conversation, answer: Answer) -> float:
        return helpfulness(conversation, answer, checks.get(conversation.id, ()), rarity, weights).score

    held = {c.id: [repr(check) for check in checks.get(c.id, ())] for c in conversations}
    return Composite(score, hash_of("helpfulness", __version__, dict(weights), references, held), band)
