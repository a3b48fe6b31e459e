"""The last pass: how many of each source, category and difficulty get in, which are held out, and in what order."""

import numpy as np

from helptune.data.balance import KEPT, REASONS, Pool, Rules, choose, seeded_keys
from helptune.data.conversation import DIFFICULTIES
from helptune.data.mixture.index import Drop, Index
from helptune.data.mixture.recipe import Recipe

_HELDOUT = 1
"""Added to the seed: which conversations are held out has nothing to do with which are chosen first."""


def select(index: Index, recipe: Recipe) -> tuple[list[int], list[int]]:
    """(training, held-out) rows in the order in which they are written; what is left over is marked as dropped.

    Raises DataError or SettingError where the weights or the size cannot be had.
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
    held = kept[np.argsort(_keys(index, kept, recipe.seed + _HELDOUT))][: recipe.heldout]
    shuffled = kept[np.argsort(_keys(index, kept, recipe.seed))]
    out = np.isin(shuffled, held)
    return shuffled[~out].tolist(), shuffled[out].tolist()


def _keys(index: Index, rows: np.ndarray, seed: int) -> np.ndarray:
    return seeded_keys([index.ids[row] for row in rows], seed)
