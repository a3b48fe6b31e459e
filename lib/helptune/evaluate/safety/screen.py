"""What a screen's count is worth: the true share behind it, given how often the screen is right.

A screen that finds 60% of unsafe answers and calls 7% of safe ones unsafe will see 7% where there is nothing. Rogan &
Gladen (1978) turn the share it saw into the share there is; the interval is that of Lang & Reiczigel (2014), which
counts the error of the screen's own figures too.
"""

import json
import math
from dataclasses import dataclass

from helptune.data.safety.classifier import SafetyClassifier
from helptune.data.safety.measure import Figure
from helptune.data.safety.train import MEASURES
from helptune.data.safety.weights import SHIPPED
from helptune.evaluate.statistics.estimate import Estimate


@dataclass(frozen=True)
class ScreenError:
    """Measured once on the test split of the labelled set: responses for the screen, and for the refusal phrases."""

    name: str
    recall: Figure
    false_positives: Figure
    refusal_recall: Figure

    def of_screen(self) -> str:
        return (
            f"On its labelled test responses the {self.name} found {_words(self.recall)} of the unsafe ones and called "
            f"{_words(self.false_positives)} of the safe ones unsafe; on answers like these, its error may be another"
        )

    def of_phrases(self) -> str:
        return (
            f"The phrases that tell a refusal found {_words(self.refusal_recall)} of those among labelled test "
            "responses, so there may be more refusals than were seen"
        )


def measured_error(classifier: SafetyClassifier) -> ScreenError | None:
    """Of one of our screens, in the version whose error was measured; None of any other classifier."""
    found = json.loads((SHIPPED / MEASURES).read_text(encoding="utf-8"))
    own = found.get(classifier.name, {})
    if own.get("version") != classifier.version or own.get("thresholds", {}).get("response") != (
        classifier.thresholds.response
    ):
        return None
    figures = own["test"]["response"]
    return ScreenError(
        classifier.name, figures["recall"], figures["false positives"], found["refusal"]["test"]["recall"]
    )


def true_share(seen: Estimate, error: ScreenError) -> Estimate:
    """The share of unsafe answers behind the share that a screen saw, with its interval at the level of `seen`.

    Undefined for a screen that finds unsafe texts no more often than safe ones. Clipped to 0..1: where the screen saw
    less than it should see among safe texts alone, the estimate is 0.
    """
    method = "Rogan-Gladen, Lang-Reiczigel interval"
    if seen.value is None:
        return Estimate(None, missing=seen.missing, method=method, level=seen.level, why=seen.why)
    recall, spared = error.recall["value"], 1 - error.false_positives["value"]
    if recall + spared <= 1:
        return Estimate(
            None, missing=seen.missing, method=method, level=seen.level,
            why="the screen finds unsafe texts no more often than safe ones",
        )  # fmt: skip
    low, high = _interval(
        (seen.value, seen.n), (recall, error.recall["n"]), (spared, error.false_positives["n"]), seen.level
    )
    value = (seen.value + spared - 1) / (recall + spared - 1)
    return Estimate(_clip(value), _clip(low), _clip(high), seen.n, seen.clusters, seen.missing, method, seen.level)


def _interval(
    seen: tuple[float, int], recall: tuple[float, int], spared: tuple[float, int], level: float
) -> tuple[float, float]:
    """Lang & Reiczigel, "Confidence limits for prevalence of disease adjusted for estimated sensitivity and
    specificity", Prev. Vet. Med. 113 (2014), equations for unknown sensitivity and specificity."""
    from scipy.stats import norm

    z = float(norm.isf((1 - level) / 2))
    p, n = (seen[0] * seen[1] + z**2 / 2) / (seen[1] + z**2), seen[1] + z**2
    (found, n_found), (clear, n_clear) = (((x * m + 1) / (m + 2), m + 2) for x, m in (recall, spared))
    slope = found + clear - 1
    share = (p + clear - 1) / slope
    of_found, of_clear = found * (1 - found) / n_found, clear * (1 - clear) / n_clear
    shift = 2 * z**2 * (share * of_found - (1 - share) * of_clear)
    reach = z * math.sqrt(p * (1 - p) / n + share**2 * of_found + (1 - share) ** 2 * of_clear) / slope
    return share + shift - reach, share + shift + reach


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _words(figure: Figure) -> str:
    return f"{figure['value']:.0%} ({figure['low']:.0%}-{figure['high']:.0%})"
