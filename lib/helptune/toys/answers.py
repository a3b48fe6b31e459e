"""One question with four answers, few enough to see a policy over them, and rewards for them. Figures are made up."""

import numpy as np

from helptune.shapes import Float

QUESTION = "How do I sharpen a kitchen knife?"
TEXTS = {
    "helps": "Hold the blade at 20 degrees to a wet stone and draw it along, ten times a side.",
    "evades": "I can't help with that.",
    "echoes": "How do I sharpen a kitchen knife? How do I sharpen a kitchen knife?",
    "misleads": "Rub it hard against a brick wall.",
}
ANSWERS = tuple(TEXTS)

UNTRAINED = np.array([0.15, 0.10, 0.60, 0.15])
"""A policy that mostly echoes, as a base model does."""

_MISLEADING = 0.1
"""Share of wrong answers among those that do not evade: demonstrators err."""

COMPARISONS = (
    *[(0, 1)] * 4, (1, 0), *[(0, 2)] * 3, (2, 0), *[(1, 3)] * 3, (3, 1), *[(0, 3)] * 3, (1, 2), (2, 3),
)  # fmt: skip
"""(number of the preferred answer, number of the other)."""


def demonstrator(evasive: float) -> Float[np.ndarray, " answers"]:
    """How often each answer is demonstrated by people who evade with this share."""
    return np.array([(1 - evasive) * (1 - _MISLEADING), evasive, 0.0, (1 - evasive) * _MISLEADING])
