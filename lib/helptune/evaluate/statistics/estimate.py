"""A figure with what makes it believable: its interval, the observations and clusters behind it, and what is missing.

The unit of an evaluation is the prompt. Observations that share one (votes, samples, paraphrases) hang together, so
each says to which cluster it belongs, and an interval counts clusters (Miller, "Adding error bars to evals", 2024,
arXiv:2411.00640).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """`value` is None where it is undefined, `low` and `high` where the interval is; `why` then says why.

    `n` observations were counted, in `clusters` clusters. `missing` counts those that should have been there and were
    not: they are never left out in silence, and whoever claims something from the figure must answer for them.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    clusters: int = 0
    missing: int = 0
    method: str = ""
    level: float = 0.95
    why: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.why:
            raise ValueError("an estimate without a value says why")

    @property
    def counted(self) -> str:
        """How many observations it rests on: `216`, or `210 of 216` where some are missing."""
        return f"{self.n} of {self.n + self.missing}" if self.missing else str(self.n)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same items: the difference `b - a` (positive: b is higher), how surprising, how large.

    `p` is two-sided. `effect` is a standardized size with its own interval, named in `effect_name` (paired d_z, Cohen's
    h). `design_effect` is the variance of the difference over what it were if observations were independent.
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    p: float | None
    test: str
    effect: Estimate
    effect_name: str
    design_effect: float | None = None
