"""Raters made by rule, whose noise is known: what do kappa and alpha make of it? For notebook 05; no person rated."""

import numpy as np

from helptune.data.agreement.ratings import Ratings

TOP = 4
"""Ratings are 0 to 4, as HelpSteer2's."""


def noisy_raters(noise: float, raters: int = 2, items: int = 200, seed: int = 0) -> Ratings:
    """Each sees an item's quality, uniform over the scale, plus normal noise of `noise` points, and rounds."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(-0.5, TOP + 0.5, size=(items, 1))
    return _ratings(quality + noise * rng.standard_normal((items, raters)))


def dice_raters(raters: int = 2, items: int = 200, seed: int = 0) -> Ratings:
    """They do not look at the items at all."""
    return _ratings(np.random.default_rng(seed).uniform(-0.5, TOP + 0.5, size=(items, raters)))


def _ratings(values: np.ndarray) -> Ratings:
    whole = np.clip(np.rint(values), 0, TOP).astype(np.int8)
    items, raters = (tuple(f"{name}-{i}" for i in range(size)) for name, size in zip("ir", whole.shape, strict=True))
    return Ratings("helpfulness", items, raters, whole)
