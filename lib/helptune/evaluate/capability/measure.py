"""From likelihoods to rows: which ending a model finds likeliest, what it would write, how much prose surprises it.

Plain texts without a chat format, the same for every model. Chosen before anything was measured: the likeliest ending
is that of the highest log-likelihood per character, the `acc_norm` of lm-evaluation-harness, for a longer ending is not
less true. The `acc` of plain log-likelihoods is reported beside it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from helptune.evaluate.capability.arithmetic import arithmetic
from helptune.evaluate.capability.items import Choice, Exact, Passage, load_choices, load_passages
from helptune.evaluate.table import Row
from helptune.gemma.tokenizer import BOS, Tokenizer

CAPABILITY, TEXT = "capability", "text"
"""Parts of the table."""
ENDS = ("\n", "\n\n")
"""What may end a sum: a tuned model likes an empty line, which says nothing about the sum."""

type Item = Choice | Exact | Passage
type Pair = tuple[list[int], list[int]]
"""Tokens of a context, and of what continues it."""


class Likely(Protocol):
    """A continuation's log p in nats, and whether greedy decoding would write exactly it: `likelihood.Likelihood`."""

    @property
    def logprob(self) -> float: ...

    @property
    def greedy(self) -> bool: ...


type Score = Callable[[Sequence[Pair]], Sequence[Likely]]
"""One model: `lambda pairs: likelihoods(base, tokenizer, pairs, adapter)`."""


def measure_capability(model: str, tokenizer: Tokenizer, score: Score, items: Sequence[Item] = ()) -> list[Row]:
    """A row an item, of all shipped ones unless others are given, in their order.

    Choices and sums are of part "capability", labels {"task"}: choices have metrics {"correct", "correct_raw"}, a tie
    being wrong, sums {"correct", "strict"} (ended by one line break). Prose is of part "text", metrics {"nll",
    "tokens"} (nats per token, lower is better; None where it is not finite), labels {"genre"}: perplexity is
    exp of the mean of nll weighted by tokens.
    """
    items = items or shipped_items()
    pairs = [pairs_of(item, tokenizer) for item in items]
    found = iter(score([pair for own in pairs for pair in own]))
    return [_row(model, item, own, [next(found) for _ in own]) for item, own in zip(items, pairs, strict=True)]


def shipped_items() -> list[Item]:
    return [*load_choices(), *arithmetic(), *load_passages()]


def pairs_of(item: Item, tokenizer: Tokenizer) -> list[Pair]:
    """What has to be scored of an item; a choice has one pair for each ending, the right one first."""
    match item:
        case Choice():
            stem = [BOS, *tokenizer.encode(item.stem)]
            return [(stem, tokenizer.encode(f" {ending}")) for ending in item.endings]
        case Exact():
            stem = [BOS, *tokenizer.encode(item.stem)]
            return [(stem, tokenizer.encode(f" {item.answer}{end}")) for end in ENDS]
        case Passage():
            return [([BOS], tokenizer.encode(item.text))]


def _row(model: str, item: Item, pairs: Sequence[Pair], found: Sequence[Likely]) -> Row:
    match item:
        case Choice():
            raw = [one.logprob for one in found]
            each = [one.logprob / len(ending) for one, ending in zip(found, item.endings, strict=True)]
            metrics: dict[str, float | None] = {"correct": _first_is_best(each), "correct_raw": _first_is_best(raw)}
            return Row(CAPABILITY, item.id, model, metrics, item.id, {"task": item.task})
        case Exact():
            metrics = {"correct": float(any(one.greedy for one in found)), "strict": float(found[0].greedy)}
            return Row(CAPABILITY, item.id, model, metrics, item.id, {"task": item.task})
        case Passage():
            tokens = len(pairs[0][1])
            nll = -found[0].logprob / tokens
            metrics = {"nll": nll if math.isfinite(nll) else None, "tokens": tokens}
            return Row(TEXT, item.id, model, metrics, item.id, {"genre": item.genre})


def _first_is_best(scores: Sequence[float]) -> float:
    return float(all(scores[0] > other for other in scores[1:]))
