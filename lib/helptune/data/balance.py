"""Which records of a large pool to keep: at most so many of a kind and of a source, and sources in given proportions.

Records are put in an order that depends on nothing but their ids and the seed, and each rule keeps a beginning of it.
So the choice does not depend on how the records came in, and another record changes little: it takes its own place, and
at most moves the last of its kind out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from helptune.errors import DataError, SettingError

KEPT, OVER_CELL, OVER_SOURCE, OVER_WEIGHT = range(4)
REASONS = ("", "over_cell_cap", "over_source_cap", "over_source_weight")
"""The reason code of each verdict."""


@dataclass(frozen=True)
class Pool:
    """What the choice looks at, one entry a record. `quality` is higher for better, and NaN where nobody rated."""

    ids: Sequence[str]
    sources: Sequence[str]
    categories: Sequence[str]
    difficulties: Sequence[str]
    quality: Float[np.ndarray, " N"] | None = None


@dataclass(frozen=True)
class Rules:
    """Caps are numbers of records; None is no cap.

    `weights` are proportions of the sources, to any sum. `size` is the total they share; without it, it is the largest
    for which no source is asked for more than it has. Without `weights` every source gives all it has.
    """

    cell_cap: int | None = None
    """Of each (category, difficulty); records without labels are a cell too."""
    source_caps: Mapping[str, int] = field(default_factory=dict)
    """Of the sources that have one."""
    weights: Mapping[str, float] | None = None
    size: int | None = None
    best_first: bool = False
    """Order by quality, and by seed only among equals."""
    seed: int = 0


def choose(pool: Pool, rules: Rules) -> Int[np.ndarray, " N"]:
    """A verdict for each record, in the order given: KEPT, OVER_CELL, OVER_SOURCE or OVER_WEIGHT.

    The caps are applied first, cells before sources, then the weights to what is left. Raises DataError for an id that
    comes twice and for weights that do not name every source, SettingError for a `size` that cannot be had.
    """
    order = _order(pool, rules)
    sources, names = _codes(pool.sources)
    verdict = np.zeros(len(pool.ids), np.int8)
    if rules.cell_cap is not None:
        (categories, _), (difficulties, levels) = _codes(pool.categories), _codes(pool.difficulties)
        cells = categories * max(1, len(levels)) + difficulties
        verdict[order[_place(cells[order]) >= rules.cell_cap]] = OVER_CELL
    order = order[verdict[order] == KEPT]
    if rules.source_caps:
        caps = np.array([rules.source_caps.get(name, len(order)) for name in names], np.int64)
        verdict[order[_place(sources[order]) >= caps[sources[order]]]] = OVER_SOURCE
        order = order[verdict[order] == KEPT]
    if rules.weights is not None:
        have = np.bincount(sources[order], minlength=len(names))
        asked = quotas(dict(zip(names, have.tolist(), strict=True)), rules.weights, rules.size)
        quota = np.array([asked[name] for name in names], np.int64)
        verdict[order[_place(sources[order]) >= quota[sources[order]]]] = OVER_WEIGHT
    elif rules.size is not None:
        raise SettingError("a size is shared out by weights, and there are none; give weights too")
    return verdict


def quotas(have: Mapping[str, int], weights: Mapping[str, float], size: int | None = None) -> dict[str, int]:
    """Records of each source: its part of the total, rounded so that all add up (Hamilton's largest remainders).

    Raises DataError for a source that `weights` does not name, or that has a weight and no record; SettingError for a
    weight below zero, or a `size` for which a source has too few.
    """
    if unnamed := sorted(set(have) - set(weights)):
        raise DataError(f"source {unnamed[0]!r} has no weight; give it one (0 leaves it out)")
    if wrong := sorted(name for name, w in weights.items() if not 0 <= w < float("inf")):
        raise SettingError(f"the weight of {wrong[0]!r} is {weights[wrong[0]]}; it must be a number from 0 up")
    wanted = {name: w for name, w in sorted(weights.items()) if w > 0}
    if not wanted:
        raise SettingError("all weights are 0; give one source at least a weight above 0")
    if empty := [name for name in wanted if not have.get(name)]:
        raise DataError(f"source {empty[0]!r} has a weight and no record; leave it out")
    share = {name: w / sum(wanted.values()) for name, w in wanted.items()}
    scarcest = min(share, key=lambda name: have[name] / share[name])
    largest = int(have[scarcest] / share[scarcest] + 1e-9)
    if size is not None and size > largest:
        raise SettingError(
            f"size {size:,} cannot be had: source {scarcest!r} has {have[scarcest]:,}; at most {largest:,}"
        )
    return dict.fromkeys(have, 0) | _rounded(share, largest if size is None else size)


def _rounded(share: Mapping[str, float], total: int) -> dict[str, int]:
    exact = {name: part * total for name, part in share.items()}
    floor = {name: int(x + 1e-9) for name, x in exact.items()}
    left = total - sum(floor.values())
    for name in sorted(exact, key=lambda name: (floor[name] - exact[name], name))[:left]:
        floor[name] += 1
    return floor


def _order(pool: Pool, rules: Rules) -> Int[np.ndarray, " N"]:
    keys = seeded_keys(pool.ids, rules.seed)
    if rules.best_first:
        if pool.quality is None:
            raise SettingError("best_first needs the quality of the records, and there is none")
        order = np.lexsort((keys, -pool.quality))  # NaN, unrated, comes last
    else:
        order = np.argsort(keys, kind="stable")
    ordered = np.sort(keys)
    if (ordered[1:] == ordered[:-1]).any() and len(set(pool.ids)) < len(pool.ids):
        twice = Counter(pool.ids).most_common(1)[0][0]
        raise DataError(f"id {twice!r} comes twice; ids tell the records of a pool apart")
    return order


def seeded_keys(ids: Sequence[str], seed: int) -> UInt64[np.ndarray, " N"]:
    """A number for each id, by which to sort: a shuffle that a new record does not change."""
    salt = blake2b(str(seed).encode(), digest_size=8)
    digests = bytearray()
    for id in ids:
        hashed = salt.copy()
        hashed.update(b":" + id.encode())
        digests += hashed.digest()
    return np.frombuffer(digests, "<u8")


def _codes(labels: Sequence[str]) -> tuple[Int[np.ndarray, " N"], list[str]]:
    """Each label's index among the sorted distinct ones."""
    names = sorted(set(labels))
    index = {name: i for i, name in enumerate(names)}
    return np.fromiter((index[label] for label in labels), np.int64, len(labels)), names


def _place(groups: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """How many of its own group stand before each entry."""
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    first: Bool[np.ndarray, " N"] = np.ones(len(groups), bool)
    first[1:] = sorted_groups[1:] != sorted_groups[:-1]
    start = np.maximum.accumulate(np.where(first, np.arange(len(groups)), 0))
    place = np.empty(len(groups), np.int64)
    place[order] = np.arange(len(groups)) - start
    return place
