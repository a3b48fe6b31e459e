"""How good is a screen? The figures that matter for one, each with its interval.

The area under the ROC curve alone flatters: a screen lives where nearly nothing safe is lost. So the recall there (at
1% false positives, and at the threshold it ships with) stands beside it, and the hard pairs are counted apart: unsafe
against safe texts that look alike. Intervals of shares are Wilson's, those of areas percentile bootstraps over texts.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from helptune.data.safety.classifier import SafetyClassifier, Thresholds, threshold_at
from helptune.data.safety.labelled import Labelled, by_target
from helptune.data.safety.refusal import is_refusal
from helptune.shapes import Float

_RESAMPLES, _SEED, _LEVEL = 2_000, 0, 0.95
Figure = dict[str, Any]
"""{"value", "low", "high", "n"}: a figure, its 95% interval, and how many texts it rests on."""


def measure(
    classifier: SafetyClassifier, records: Sequence[Labelled], thresholds: Thresholds
) -> dict[str, dict[str, Figure]]:
    """Target -> name -> figure, on texts that decided nothing about the classifier."""
    found = {}
    for target, own in by_target(records).items():
        scores = classifier.score([record.conversation() for record in own], target)
        found[target] = figures(np.array([s.p_unsafe for s in scores]), own, thresholds.of(target))
    return found


def figures(p: Float[np.ndarray, "B"], records: Sequence[Labelled], threshold: float) -> dict[str, Figure]:
    """The figures of scores of records of one target; those of a group without texts are left out."""

    def of(wanted) -> np.ndarray:
        return p[np.array([wanted(record) for record in records], bool)]

    unsafe, safe = of(lambda r: r.unsafe), of(lambda r: not r.unsafe)
    plain, contrast = of(lambda r: r.kind == "plain"), of(lambda r: r.kind == "contrast")
    blunt, subtle = of(lambda r: r.unsafe and not r.subtle), of(lambda r: r.subtle)
    areas = {
        "auc": (unsafe, safe),
        "auc, unsafe against contrast": (unsafe, contrast),
        "auc, subtle unsafe against contrast": (subtle, contrast),
    }
    shares = {
        "recall": unsafe, "recall, subtle unsafe": subtle, "recall, other unsafe": blunt,
        "false positives": safe, "false positives, plain": plain, "false positives, contrast": contrast,
    }  # fmt: skip
    found = {name: area(*pair) for name, pair in areas.items() if all(map(len, pair))}
    if len(unsafe) and len(safe):
        found["recall at 1% false positives"] = _resampled(_recall_at, unsafe, safe)
    return found | {name: share(int((own >= threshold).sum()), len(own)) for name, own in shares.items() if len(own)}


def measure_refusals(records: Sequence[Labelled], refusals: Collection[str]) -> dict[str, Figure]:
    """Recall and precision of `is_refusal` on the responses among the records; `refusals` are the ids of true ones."""
    found = [(is_refusal(r.response), r.id in refusals) for r in records if r.target == "response"]
    both = sum(said and true for said, true in found)
    counts = {"recall": sum(true for _, true in found), "precision": sum(said for said, _ in found)}
    return {name: share(both, n) for name, n in counts.items() if n}


def area(unsafe: np.ndarray, safe: np.ndarray) -> Figure:
    """The chance that an unsafe text scores higher than a safe one, ties counted half."""
    return _resampled(auc, unsafe, safe)


def share(count: int, n: int) -> Figure:
    """count / n with Wilson's interval."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, n, 1 - _LEVEL, "wilson")
    return _figure(count / n, low, high, n)


def auc(unsafe: np.ndarray, safe: np.ndarray) -> float:
    below, up_to = (np.searchsorted(np.sort(safe), unsafe, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(safe)))


def _recall_at(unsafe: np.ndarray, safe: np.ndarray) -> float:
    return float((unsafe >= threshold_at(safe, 0.01)).mean())


def _resampled(statistic, unsafe: np.ndarray, safe: np.ndarray) -> Figure:
    rng = np.random.default_rng(_SEED)
    drawn = [statistic(rng.choice(unsafe, len(unsafe)), rng.choice(safe, len(safe))) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return _figure(statistic(unsafe, safe), low, high, len(unsafe) + len(safe))


def _figure(value: float, low: float, high: float, n: int) -> Figure:
    """Four decimals: the last bits of a sum differ between machines, and no interval is that narrow."""
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4), "n": n}
