"""Behavioural consistency: is the same request answered the same when it is worded, ordered or seeded in another way?

The unit is the group. Its figure is the share of pairs of its answers that agree; correctness stands beside it, because
a model that says "yes" to everything is consistent too. After the checklist's invariance tests (Ribeiro et al. 2020,
arXiv:2005.04118), with decidable answers in place of a judge.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import norm

from helptune.data.conversation import Conversation, Message
from helptune.evaluate.answers import Answer
from helptune.evaluate.closed import said
from helptune.evaluate.sets.groups import Group
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import wilson
from helptune.evaluate.table import Problem, Row

PART = "consistency"
VARIATIONS = ("paraphrase", "order", "seed")
CLAIM = 0.9
TEMPERATURE, SEEDS = 0.7, (1,)
"""How the original is asked again: sampled, once with each seed."""
MAX_NEW_TOKENS = 48
"""Enough for any closed answer; one that has not ended by then is endless, and agrees with nothing."""


@dataclass(frozen=True)
class Round:
    """Conversations to be answered together: greedily at temperature 0, else sampled with `seed`."""

    temperature: float
    seed: int
    conversations: tuple[Conversation, ...]


@dataclass(frozen=True)
class _Variant:
    """One request of a group: its `variation` is "original" or one of VARIATIONS."""

    id: str
    variation: str
    text: str


def rounds(groups: Sequence[Group], seeds: Sequence[int] = SEEDS) -> list[Round]:
    """What has to be answered: every wording greedily, then the originals once more with each seed."""
    written = tuple(_conversation(group, variant) for group in groups for variant in _variants(group, ()))
    again = (tuple(_conversation(group, _seeded(group, seed)) for group in groups) for seed in seeds)
    sampled = [Round(TEMPERATURE, seed, conversations) for seed, conversations in zip(seeds, again, strict=True)]
    return [Round(0.0, 0, written), *sampled]


def _variants(group: Group, seeds: Sequence[int]) -> list[_Variant]:
    """The original first."""
    found = [_Variant(f"{group.id}/original", "original", group.original)]
    for variation, texts in (("paraphrase", group.paraphrases), ("order", group.reordered)):
        found += [_Variant(f"{group.id}/{variation}-{n}", variation, text) for n, text in enumerate(texts, start=1)]
    return found + [_seeded(group, seed) for seed in seeds]


def _seeded(group: Group, seed: int) -> _Variant:
    return _Variant(f"{group.id}/seed-{seed}", "seed", group.original)


def _conversation(group: Group, variant: _Variant) -> Conversation:
    messages = (Message("user", variant.text), Message("assistant", group.answer))
    return Conversation(variant.id, "helptune-consistency", "Apache-2.0", messages)


def measure_consistency(
    groups: Sequence[Group], answers: Mapping[str, Mapping[str, Answer]], seeds: Sequence[int] = SEEDS
) -> tuple[list[Row], list[Problem]]:
    """A row for each request of `rounds` and model; `answers` are those of a model by request id.

    Metrics: `correct`, and for what is not the original `agrees` with the original's answer (0 or 1). The row of the
    original also carries the group's `pairs`, the share of pairs of its answers that agree, and `unanimous`. An answer
    that is empty, endless or undecided agrees with nothing, not even with another such. One that is missing is a
    Problem; what needs it is None.
    """
    rows, problems = list[Row](), list[Problem]()
    for model, own in answers.items():
        for group in groups:
            variants = _variants(group, seeds)
            missing = [variant.id for variant in variants if variant.id not in own]
            problems += [Problem(PART, one, "the answer is missing", model) for one in missing]
            found = {v.id: _said(own[v.id], group, v) for v in variants if v.id in own}
            rows += _rows(model, group, variants, found)
    return rows, problems


def _said(answer: Answer, group: Group, variant: _Variant) -> str | None:
    return said(answer.text, group.form, group.options, variant.text) if answer.ended else None


def _rows(model: str, group: Group, variants: Sequence[_Variant], found: Mapping[str, str | None]) -> list[Row]:
    original = variants[0].id
    rows = []
    for variant in variants:
        known = variant.id in found
        metrics = {"correct": float(found[variant.id] == group.answer) if known else None}
        if variant.id == original:
            pairs = [float(_agree(a, b)) for a, b in combinations(found.values(), 2)]
            whole = len(found) == len(variants)
            metrics["pairs"] = sum(pairs) / len(pairs) if whole else None
            metrics["unanimous"] = float(all(pairs)) if whole else None
        else:
            both = known and original in found
            metrics["agrees"] = float(_agree(found[original], found[variant.id])) if both else None
        labels = {"kind": group.kind, "variation": variant.variation}
        rows.append(Row(PART, variant.id, model, metrics, group.id, labels))
    return rows


def _agree(a: str | None, b: str | None) -> bool:
    return a is not None and a == b


@dataclass(frozen=True)
class Consistency:
    """One model. All intervals are Wilson's over groups, and a group of which anything is missing is missing.

    `lower` and `upper` are one-sided bounds of `pairs` with such groups as failed, and as passed.
    A share within a group counts as a fraction of a success, which makes its interval too wide rather than too narrow:
    no variable between 0 and 1 varies more than a coin of the same mean.
    """

    model: str
    pairs: Estimate
    lower: Estimate
    upper: Estimate
    unanimous: Estimate
    correct: Estimate
    by_variation: Mapping[str, Estimate]
    by_kind: Mapping[str, Estimate]


def consistency(rows: Iterable[Row], model: str, *, level: float = 0.95) -> Consistency:
    """What the rows of `measure_consistency` say about `model`; `by_variation` is agreement with the original."""
    own = [row for row in rows if row.part == PART and row.model == model]
    originals = [row for row in own if row.labels["variation"] == "original"]
    pairs, n = [row.metrics["pairs"] for row in originals], len(originals)
    agreed = sum(share or 0.0 for share in pairs)
    unknown = pairs.count(None)
    kinds = dict.fromkeys(row.labels["kind"] for row in originals)
    return Consistency(
        model,
        pairs=_over_groups(originals, "pairs", level),
        lower=wilson(agreed, n, level=level, side="lower"),
        upper=wilson(agreed + unknown, n, level=level, side="upper"),
        unanimous=_over_groups(originals, "unanimous", level),
        correct=_over_groups(own, "correct", level),
        by_variation={
            one: _over_groups([row for row in own if row.labels["variation"] == one], "agrees", level)
            for one in VARIATIONS
        },
        by_kind={
            kind: _over_groups([row for row in originals if row.labels["kind"] == kind], "pairs", level)
            for kind in kinds
        },
    )


def _over_groups(rows: Sequence[Row], metric: str, level: float) -> Estimate:
    """The mean over groups of a group's mean."""
    by_group: dict[str, list[float | None]] = {}
    for row in rows:
        by_group.setdefault(row.cluster, []).append(row.metrics[metric])
    known = [[v for v in values if v is not None] for values in by_group.values() if None not in values]
    shares = [sum(values) / len(values) for values in known]
    return wilson(sum(shares), len(shares), level=level, missing=len(by_group) - len(shares))


def verdict(found: Consistency, claim: float = CLAIM) -> str:
    """Whether agreement above `claim` is shown, in words. What is missing counts against either answer."""
    low, high = found.lower.low, found.upper.high
    if low is None or high is None:
        return f"not measurable: {found.lower.why or found.upper.why}"
    level = f"{found.lower.level:.0%}"
    if low > claim:
        return f"met: agreement is above {claim:.0%} (one-sided {level} lower bound {low:.1%})"
    if high < claim:
        return f"not met: agreement is below {claim:.0%} (one-sided {level} upper bound {high:.1%})"
    more = _more_groups(found, claim)
    return f"inconclusive: the one-sided {level} bounds {low:.1%} and {high:.1%} lie on either side of {claim:.0%}" + (
        f"; if agreement stays as it is, about {more} more groups would settle it" if more > 0 else ""
    )


def _more_groups(found: Consistency, claim: float) -> int:
    """Until Wilson's bound, which inverts the score test, clears the claim at the rate seen; 0 if it is the claim."""
    if found.pairs.value is None or found.pairs.value == claim:
        return 0
    z = float(norm.ppf(found.lower.level))
    return math.ceil(z**2 * claim * (1 - claim) / (found.pairs.value - claim) ** 2) - found.pairs.n
