"""A judge on this machine: a base, or one with an adapter, asked in its chat format which answer is better.

It writes nothing. Its verdict is the letter to which it gives more probability, log p(A) - log p(B) after the prompt:
one forward pass without decoding, and no reply that could be misread. It has no word for a tie; where the two orders
contradict each other there is one. A small model mostly answers with a favourite place: `report` says how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from helptune.evaluate.judging.judge import Question, Verdict, hash_of
from helptune.evaluate.judging.rubric import LETTER_REPLY, RUBRIC, prompt_text
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH, render
from helptune.gemma.model import Adapter, forward, logits
from helptune.gemma.tokenizer import PAD, Tokenizer
from helptune.shapes import Array, Float, Int

_STEP, _TOKENS = 128, 8 * 1024
"""What lengths are rounded up to, so that few programs are compiled; tokens side by side, at most."""


@dataclass(frozen=True, eq=False)
class LocalJudge:
    """`weights` names base, adapter and precision by their hashes: under another one its votes are not these votes."""

    name: str
    base: Base
    tokenizer: Tokenizer
    weights: str
    adapter: Adapter | None = None
    at_once: int = 64
    workers: int = 1

    @property
    def version(self) -> str:
        return hash_of(self.weights, TEMPLATE_HASH, RUBRIC, LETTER_REPLY)

    def compare(self, questions: Sequence[Question]) -> list[Verdict]:
        """A question longer than the context gets no verdict."""
        prompts = [self._prompt(question) for question in questions]
        context = self.base.config.context
        verdicts = {
            i: Verdict(None, f"no verdict: a prompt of {len(prompt)} tokens exceeds the context of {context}")
            for i, prompt in enumerate(prompts)
            if len(prompt) > context
        }
        waiting = sorted((i for i in range(len(prompts)) if i not in verdicts), key=lambda i: len(prompts[i]))
        while waiting:
            length = -(-len(prompts[waiting[-1]]) // _STEP) * _STEP
            rows = max(1, _TOKENS // length)
            ids, waiting = waiting[-rows:], waiting[:-rows]
            verdicts |= dict(zip(ids, self._verdicts([prompts[i] for i in ids], rows, length), strict=True))
        return [verdicts[i] for i in range(len(prompts))]

    def _prompt(self, question: Question) -> list[int]:
        message = {"role": "user", "content": prompt_text(question, LETTER_REPLY)}
        return render([message], self.tokenizer, self.base.config, reply=True)[0]

    def _verdicts(self, prompts: Sequence[Sequence[int]], rows: int, length: int) -> list[Verdict]:
        tokens, lengths = np.full((rows, length), PAD), np.ones(rows, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)], lengths[row] = prompt, len(prompt)
        letters = np.array([_one_token(self.tokenizer, letter) for letter in "AB"])
        found = np.asarray(_letter_log_probs(self.base, self.adapter, tokens, lengths, letters))[: len(prompts)]
        return [_verdict(float(a), float(b)) for a, b in found]


def _verdict(a: float, b: float) -> Verdict:
    reason = f"log p(A) - log p(B) = {a - b:.3f}; p(A) + p(B) = {np.exp(a) + np.exp(b):.3f}"
    return Verdict("tie" if a == b else "first" if a > b else "second", reason)


def _one_token(tokenizer: Tokenizer, letter: str) -> int:
    (token,) = tokenizer.encode(letter)
    return token


@jax.jit
def _letter_log_probs(
    base: Base,
    adapter: Adapter | None,
    tokens: Int[Array, "B T"],
    lengths: Int[Array, "B"],
    letters: Int[Array, "2"],
) -> Float[Array, "B 2"]:
    """log p of each of the letters as the token after the prompt; the vocabulary is seen from there alone."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = forward(base, tokens, positions, (positions < lengths[:, None]).astype(jnp.int32), adapter)
    last = jnp.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)[:, 0]
    return jax.nn.log_softmax(logits(base, last))[:, letters]
