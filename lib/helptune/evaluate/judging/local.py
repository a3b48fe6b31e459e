"""A judge on this machine: a base, or one with an adapter, asked in its chat format which answer is better, A or B.

It writes nothing. Its verdict is the letter that the answers make more probable, by the log odds log p(A) - log p(B)
after the prompt: one forward pass without decoding, and no reply that could be misread. A small model prefers a letter
whatever stands behind it, so what it says of two answers that are the same is taken off first (after Zhao et al. 2021,
"Calibrate Before Use", arXiv:2102.09690). It has no word for a tie; where the two orders contradict each other there
is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile

import jax
import jax.numpy as jnp
import numpy as np

from helptune.data.conversation import load_curated
from helptune.errors import ContextError
from helptune.evaluate.answers import Answer
from helptune.evaluate.judging.judge import Question, Verdict, hash_of
from helptune.evaluate.judging.rubric import LETTER_REPLY, RUBRIC, prompt_text
from helptune.gemma.attention import KVCache, empty_cache
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH, render
from helptune.gemma.model import Adapter, forward, logits
from helptune.gemma.tokenizer import PAD, Tokenizer
from helptune.shapes import Array, Float, Int

_STEP, _ROWS, _TOKENS = 128, 16, 8 * 1024
"""What lengths are rounded up to, so that few programs are compiled; prompts and tokens side by side, at most."""
_SAME = 8
"""Conversations behind the prior."""


@dataclass(frozen=True, eq=False)
class LocalJudge:
    """`weights` names base, adapter and precision by their hashes: under other ones its votes are not these votes.

    `rubric` are the tokens with which every prompt begins, computed once a batch; `prior` the mean log odds of two
    answers that are the same.
    """

    name: str
    base: Base
    tokenizer: Tokenizer
    weights: str
    adapter: Adapter | None
    rubric: tuple[int, ...]
    prior: float = 0.0
    at_once: int = 64
    workers: int = 1

    @property
    def version(self) -> str:
        return hash_of(self.weights, self.prior, TEMPLATE_HASH, RUBRIC, LETTER_REPLY)

    def compare(self, questions: Sequence[Question]) -> list[Verdict]:
        """A question longer than the context gets no verdict."""
        return [self._verdict(odds) for odds in self.log_odds(questions)]

    def log_odds(self, questions: Sequence[Question]) -> list[float | None]:
        """log p(A) - log p(B) after each question's prompt; None for one longer than the context."""
        prompts = [_prompt(prompt_text(question, LETTER_REPLY), self.base, self.tokenizer) for question in questions]
        found = dict[int, float]()
        fitting = (i for i, prompt in enumerate(prompts) if len(prompt) <= self.base.config.context)
        waiting = sorted(fitting, key=lambda i: len(prompts[i]))
        while waiting:
            length = -(-(len(prompts[waiting[-1]]) - len(self.rubric)) // _STEP) * _STEP
            rows = max(1, min(_ROWS, _TOKENS // length))
            ids, waiting = waiting[-rows:], waiting[:-rows]
            found |= zip(ids, self._log_odds([prompts[i] for i in ids], length).tolist(), strict=True)
        return [found.get(i) for i in range(len(prompts))]

    def _verdict(self, log_odds: float | None) -> Verdict:
        if log_odds is None:
            return Verdict(None, f"no verdict: the prompt is longer than the context of {self.base.config.context}")
        reason = f"log p(A) - log p(B) = {log_odds:.3f}, of answers that are the same {self.prior:.3f}"
        return Verdict("tie" if log_odds == self.prior else "first" if log_odds > self.prior else "second", reason)

    def _log_odds(self, prompts: Sequence[Sequence[int]], length: int) -> Float[np.ndarray, " B"]:
        """Of one batch; what a prompt holds beyond the rubric is padded to `length`."""
        shared, rows = len(self.rubric), 1 << (len(prompts) - 1).bit_length()
        tokens, lengths = np.full((rows, length), PAD), np.ones(rows, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt) - shared], lengths[row] = prompt[shared:], len(prompt) - shared
        letters = np.array([_one_token(self.tokenizer, letter) for letter in "AB"])
        rubric = np.array([self.rubric])
        return np.asarray(_letter_log_odds(self.base, self.adapter, rubric, tokens, lengths, letters))[: len(prompts)]


def local_judge(
    name: str, base: Base, tokenizer: Tokenizer, weights: str, adapter: Adapter | None = None
) -> LocalJudge:
    """The judge with its prior. Raises ContextError where none of the questions behind it fits the context."""
    asked = same_answers()
    # What a prompt shares with the bare rubric, it shares with any other.
    alone, prompt = (_prompt(text, base, tokenizer) for text in (RUBRIC, prompt_text(asked[0], LETTER_REPLY)))
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(alone, prompt, strict=False))
    judge = LocalJudge(name, base, tokenizer, weights, adapter, tuple(token for token, _ in shared))
    odds = [one for one in judge.log_odds(asked) if one is not None]
    if not odds:
        raise ContextError(
            f"a judge of a context of {base.config.context} tokens cannot read the rubric and two answers"
        )
    return replace(judge, prior=round(float(np.mean(odds)), 3))


def same_answers() -> list[Question]:
    """A few of the embedded training conversations, each with its reference as both answers."""
    asked = [c for c in load_curated("train") if len(c.prompt) == 1]
    chosen = asked[:: len(asked) // _SAME][:_SAME]
    references = [Answer(c.id, c.reference, True, 0) for c in chosen]
    return [Question(c, own, own) for c, own in zip(chosen, references, strict=True)]


def _prompt(text: str, base: Base, tokenizer: Tokenizer) -> list[int]:
    return render([{"role": "user", "content": text}], tokenizer, base.config, reply=True)[0]


def _one_token(tokenizer: Tokenizer, letter: str) -> int:
    (token,) = tokenizer.encode(letter)
    return token


@jax.jit
def _letter_log_odds(
    base: Base,
    adapter: Adapter | None,
    rubric: Int[Array, "1 P"],
    tokens: Int[Array, "B T"],
    lengths: Int[Array, "B"],
    letters: Int[Array, "2"],
) -> Float[Array, "B"]:
    """log p of the first letter less that of the second, as the token after rubric and tokens.

    The difference of two log probabilities is that of their scores, so two rows of the vocabulary are enough.
    """
    rows, length = tokens.shape
    shared = rubric.shape[1]
    cache = empty_cache(base.config, 1, shared + length, base.dtype)
    places = jnp.arange(shared + length)
    _, cache = forward(base, rubric, places[None, :shared], jnp.ones_like(rubric), adapter, cache)
    segments = (places[:length] < lengths[:, None]).astype(jnp.int32)
    positions = jnp.broadcast_to(places[shared:], tokens.shape)
    hidden, _ = forward(base, tokens, positions, segments, adapter, _for_all(cache, rows))
    last = jnp.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)[:, 0]
    scores = logits(replace(base, embedding=jnp.asarray(base.embedding)[letters], head=None), last)
    return scores[:, 0] - scores[:, 1]


def _for_all(cache: KVCache | None, rows: int) -> KVCache:
    """The cache of one row for so many."""
    assert cache is not None
    repeat = partial(jnp.repeat, repeats=rows)
    return replace(
        cache,
        k=repeat(cache.k, axis=1),
        v=repeat(cache.v, axis=1),
        positions=repeat(cache.positions, axis=0),
        segments=repeat(cache.segments, axis=0),
    )
