"""The last pass: how many of each source, category and difficulty get in, which are held out, and in what order."""

import numpy as np

from helptune.data.balance import KEPT, REASONS, Pool, Rules, choose, seeded_keys
from helptune.data.conversation import DIFFICULTIES
from helptune.data.mixture.index import Drop, Index
from helptune.data.mixture.recipe import Recipe
from helptune.errors import SettingError

_HELDOUT = 1
"""Added to the seed: which conversations are held out has nothing to do with which are chosen first."""


def select(index: Index, recipe: Recipe) -> tuple[list[int], list[int]]:
    """(training, held-out) rows in the order in which they are written; what is left over is marked as dropped.

    Raises DataError or SettingError where the weights, the size or the held-out number cannot be had.
    """
    alive = np.array(index.alive, np.int64)
    keys = [spec.key for spec in recipe.source]
    ids = [index.ids[row] for row in alive]
    pool = Pool(
        ids=ids,
        sources=[keys[number] for number in index.columns["source"][alive]],
        categories=[index.categories[row] for row in alive],
        difficulties=[DIFFICULTIES[number] for number in index.columns["difficulty"][alive]],
        quality=index.columns["quality"][alive],
    )
    weights = {spec.key: spec.weight for spec in recipe.source}
    rules = Rules(
        cell_cap=recipe.balance.per_cell or None,
        source_caps={spec.key: spec.cap for spec in recipe.source if spec.cap},
        weights=weights if any(weights.values()) else None,
        size=recipe.size or None,
        best_first=recipe.balance.by == "quality",
        seed=recipe.seed,
    )
    verdicts = choose(pool, rules)
    for row, verdict in zip(alive[verdicts != KEPT], verdicts[verdicts != KEPT], strict=True):
        index.drops[int(row)] = Drop("balance", REASONS[verdict], "the recipe wants no more of this kind")
    kept = alive[verdicts == KEPT]
    shuffled = kept[np.argsort(seeded_keys([index.ids[row] for row in kept], recipe.seed))]
    out = _held_out(index.columns["opening"][shuffled], recipe.heldout, recipe.seed + _HELDOUT)
    return shuffled[~out].tolist(), shuffled[out].tolist()


def _held_out(openings: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which of the chosen conversations, given by how they begin, are held out: at most `count`, as [N] booleans.

    All that begin with one question go together: a held-out prompt whose other answer was learned tests memory.
    """
    if count and count >= len(openings):
        raise SettingError(
            f"heldout: {count:,} of the {len(openings):,} conversations that were chosen leaves none to train on; "
            "hold out fewer"
        )
    names, group, sizes = np.unique(openings, return_inverse=True, return_counts=True)
    chosen, left = np.zeros(len(names), bool), count
    for number in np.argsort(seeded_keys([str(name) for name in names], seed)):
        if sizes[number] <= left:
            chosen[number] = True
            left -= sizes[number]
    if count and not chosen.any():
        raise SettingError(
            f"heldout: {count:,} is less than any prompt has answers, {sizes.min():,} at least, and these are held "
            "out together; hold out more"
        )
    return chosen[group]
