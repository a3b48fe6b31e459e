"""Aligned columns of numbers, and the cluster each observation belongs to: what every figure is computed from.

Rows with a hole (None, or a number that is not finite) are counted and set aside, never filled in silence. Sums are
kept by cluster, since all that a mean, its variance and a draw of clusters need are those sums.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from helptune.errors import SettingError
from helptune.shapes import Float, Int

type Values = Sequence[float | None] | np.ndarray
type Clusters = Sequence[Hashable] | np.ndarray


@dataclass(frozen=True, eq=False)
class Observations:
    columns: Float[np.ndarray, "columns n"]
    cluster: Int[np.ndarray, " n"]
    """The number of each observation's cluster."""
    clusters: int
    missing: int

    @property
    def n(self) -> int:
        return self.columns.shape[1]

    @property
    def repeats(self) -> bool:
        """Whether any two observations share a cluster."""
        return self.clusters < self.n

    def means(self) -> Float[np.ndarray, " columns"]:
        """NaN where nothing was observed."""
        return self.columns.mean(axis=1) if self.n else np.full(len(self.columns), np.nan)

    def sums(self, columns: Float[np.ndarray, "columns n"] | None = None) -> Float[np.ndarray, "columns clusters"]:
        """The sum over each cluster, of the columns or of others aligned to them."""
        chosen = self.columns if columns is None else columns
        return np.stack([np.bincount(self.cluster, column, self.clusters) for column in chosen])

    def varies(self, column: int = 0) -> bool:
        """Whether a column's values differ by more than rounding does."""
        values = self.columns[column]
        return bool(np.ptp(values) > 1e-12 * max(1.0, np.abs(values).max()))

    def contrast(self, *weights: float) -> "Observations":
        """One column instead of several: their weighted sum, as (-1, 1) is the paired difference."""
        return replace(self, columns=np.array([weights]) @ self.columns)

    def covariance(self) -> Float[np.ndarray, "columns columns"]:
        """Cluster-robust covariance of the means: CR1, which is s^2/n where each observation is its own cluster.

        Liang & Zeger 1986; with the small-sample factor G/(G - 1) of G clusters, as statsmodels' `cluster` has it.
        """
        scores = self.sums(self.columns - self.means()[:, None])
        return self.clusters / (self.clusters - 1) * (scores @ scores.T) / self.n**2

    def design_effect(self, column: int = 0) -> float | None:
        """Variance of a column's mean over what it were if observations were independent; None without variance."""
        if self.clusters < 2 or not self.varies(column):
            return None
        return float(self.covariance()[column, column] / (self.columns[column].var(ddof=1) / self.n))


def observe(columns: Sequence[Values], clusters: Clusters | None = None, missing: int = 0) -> Observations:
    """Rows that are whole in every column; the others are added to `missing`. Without clusters, each row is its own.

    Raises SettingError where columns and clusters are not as long as one another.
    """
    arrays = np.stack([np.asarray(column, dtype=float).reshape(-1) for column in columns]) if _same(columns) else None
    if arrays is None or (clusters is not None and len(clusters) != arrays.shape[1]):
        lengths = [len(column) for column in columns] + ([] if clusters is None else [len(clusters)])
        raise SettingError(f"columns and clusters must be aligned, found lengths {', '.join(map(str, lengths))}")
    whole = np.isfinite(arrays).all(axis=0)
    labels = range(arrays.shape[1]) if clusters is None else clusters
    numbers: dict[Hashable, int] = {}
    cluster = np.array(
        [numbers.setdefault(label, len(numbers)) for label, kept in zip(labels, whole, strict=True) if kept], int
    )
    return Observations(arrays[:, whole], cluster, len(numbers), missing + int((~whole).sum()))


def _same(columns: Sequence[Values]) -> bool:
    return len({len(column) for column in columns}) == 1
