"""What a judge is: it is shown a request and two answers in an order, and says which of the two it finds better.

A language model as a judge agrees with people about as often as people agree with each other, and has habits of its
own: it favours a place, length, and what it wrote itself (Zheng et al. 2023, arXiv:2306.05685). So a judge only gives
a verdict on what it saw. That both orders are asked, and how a verdict becomes a vote, is the same for every judge.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from helptune.data.conversation import Conversation
from helptune.evaluate.answers import Answer
from helptune.evaluate.votes import Winner


@dataclass(frozen=True)
class Question:
    """The request is the conversation up to its last assistant turn; no judge that reads is shown that turn."""

    conversation: Conversation
    first: Answer
    second: Answer


@dataclass(frozen=True)
class Verdict:
    """`winner` is None where there is no verdict, and `reason` then says why. `raw` is what the judge wrote, as far as
    it is kept. `silent`: no answer came at all, as from a server that is down, and the next may not come either.
    """

    winner: Winner | None
    reason: str
    raw: str = ""
    silent: bool = False


class Judge(Protocol):
    """`name` is the rater of its votes. `version` is a hash of all that decides its verdicts beside the question.

    It is asked `at_once` questions in a call, and so many calls as `workers` side by side, each in its own thread.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def at_once(self) -> int: ...

    @property
    def workers(self) -> int: ...

    def compare(self, questions: Sequence[Question]) -> list[Verdict]:
        """A verdict each, in order. What goes wrong with one question is its verdict of None; an error of
        `helptune.errors` says that no question can be answered.
        """
        ...


def hash_of(*facts: object) -> str:
    """Sixteen hexadecimal digits; `facts` are JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def question_key(judge: Judge, question: Question) -> str:
    """What a verdict may depend on: under the same key it need not be asked for again."""
    messages = [asdict(message) for message in question.conversation.messages]
    answers = [(answer.text, answer.ended, answer.tokens) for answer in (question.first, question.second)]
    return hash_of(judge.name, judge.version, messages, answers)
