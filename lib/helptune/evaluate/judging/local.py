"""A judge on this machine: a base, or one with an adapter, asked in its chat format which answer is better, A or B.

It writes nothing. Its verdict is the letter that the answers make more probable, by the log odds log p(A) - log p(B)
after the prompt: one forward pass without decoding, and no reply that could be misread. A small model prefers a letter
whatever stands behind it, so what it says of two answers that are the same is taken off first (after Zhao et al. 2021,
"Calibrate Before Use", arXiv:2102.09690). It has no word for a tie; where the two orders contradict each other there
is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import batched

from helptune.data.conversation import load_curated
from helptune.errors import ContextError
from helptune.evaluate.answers import Answer
from helptune.evaluate.judging.judge import Question, Verdict, hash_of
from helptune.evaluate.judging.rubric import LETTER_REPLY, RUBRIC, prompt_text
from helptune.evaluate.likelihood import likelihoods
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH, render
from helptune.gemma.model import Adapter
from helptune.gemma.tokenizer import Tokenizer

_SAME = 8
"""Conversations behind the prior."""


@dataclass(frozen=True, eq=False)
class LocalJudge:
    """`weights` names base, adapter and precision by their hashes: under other ones its votes are not these votes.

    `prior` is the mean log odds of two answers that are the same.
    """

    name: str
    base: Base
    tokenizer: Tokenizer
    weights: str
    adapter: Adapter | None = None
    prior: float = 0.0
    at_once: int = 16
    workers: int = 1

    @property
    def version(self) -> str:
        return hash_of(self.weights, self.prior, TEMPLATE_HASH, RUBRIC, LETTER_REPLY)

    def compare(self, questions: Sequence[Question]) -> list[Verdict]:
        """A question longer than the context gets no verdict."""
        return [self._verdict(odds) for odds in self.log_odds(questions)]

    def log_odds(self, questions: Sequence[Question]) -> list[float | None]:
        """log p(A) - log p(B) after each question's prompt; None for one longer than the context."""
        prompts = [self._prompt(question) for question in questions]
        letters = [self.tokenizer.encode(letter) for letter in "AB"]
        fitting = [i for i, prompt in enumerate(prompts) if len(prompt) < self.base.config.context]
        pairs = [(prompts[i], letter) for i in fitting for letter in letters]
        found = batched(likelihoods(self.base, self.tokenizer, pairs, self.adapter), 2)
        odds = {i: a.logprob - b.logprob for i, (a, b) in zip(fitting, found, strict=True)}
        return [odds.get(i) for i in range(len(prompts))]

    def _prompt(self, question: Question) -> list[int]:
        message = {"role": "user", "content": prompt_text(question, LETTER_REPLY)}
        return render([message], self.tokenizer, self.base.config, reply=True)[0]

    def _verdict(self, log_odds: float | None) -> Verdict:
        if log_odds is None:
            return Verdict(None, f"no verdict: the prompt is longer than the context of {self.base.config.context}")
        reason = f"log p(A) - log p(B) = {log_odds:.3f}, of answers that are the same {self.prior:.3f}"
        return Verdict("tie" if log_odds == self.prior else "first" if log_odds > self.prior else "second", reason)


def local_judge(
    name: str, base: Base, tokenizer: Tokenizer, weights: str, adapter: Adapter | None = None
) -> LocalJudge:
    """The judge with its prior. Raises ContextError where none of the questions behind it fits the context."""
    judge = LocalJudge(name, base, tokenizer, weights, adapter)
    odds = [one for one in judge.log_odds(same_answers()) if one is not None]
    if not odds:
        raise ContextError(
            f"a judge of a context of {base.config.context} tokens cannot read the rubric and two answers"
        )
    return replace(judge, prior=round(sum(odds) / len(odds), 3))


def same_answers() -> list[Question]:
    """A few of the embedded training conversations, each with its reference as both answers."""
    asked = [c for c in load_curated("train") if len(c.prompt) == 1]
    chosen = asked[:: len(asked) // _SAME][:_SAME]
    references = [Answer(c.id, c.reference, True, 0) for c in chosen]
    return [Question(c, own, own) for c, own in zip(chosen, references, strict=True)]
