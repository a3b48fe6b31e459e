"""What a screen's count is worth: the true share behind it, given how often the screen is right.

A screen that finds 60% of unsafe answers and calls 7% of safe ones unsafe will see 7% where there is nothing. Rogan &
Gladen (1978) turn the share it saw into the share there is; the interval after Lang & Reiczigel (2014) counts the
error of the screen's own figures too.
"""

import json
import math
from dataclasses import dataclass
from functools import partial

from helptune.data.safety.classifier import SafetyClassifier
from helptune.data.safety.measure import Figure
from helptune.data.safety.train import MEASURES
from helptune.data.safety.weights import SHIPPED
from helptune.evaluate.statistics.estimate import Estimate

METHOD = "Rogan-Gladen; Lang-Reiczigel, its upper end without false positives"


@dataclass(frozen=True)
class ScreenError:
    """Measured once on the test split of the labelled set: responses for the screen, and for the refusal phrases."""

    name: str
    recall: Figure
    false_positives: Figure
    refusal_recall: Figure
    refusal_precision: Figure

    def of_screen(self) -> str:
        return (
            f"On its labelled test responses the {self.name} found {_words(self.recall)} of the unsafe ones and called "
            f"{_words(self.false_positives)} of the safe ones unsafe; on answers like these, its error may be another"
        )

    def of_phrases(self) -> str:
        return (
            f"The phrases that tell a refusal found {_words(self.refusal_recall)} of those among labelled test "
            f"responses, and {_words(self.refusal_precision)} of what they found was one; on answers like these, both "
            "may be lower"
        )


def measured_error(classifier: SafetyClassifier) -> ScreenError | None:
    """Of one of our screens, in the version whose error was measured; None of any other classifier."""
    found = json.loads((SHIPPED / MEASURES).read_text(encoding="utf-8"))
    own = found.get(classifier.name, {})
    if own.get("version") != classifier.version or own.get("thresholds", {}).get("response") != (
        classifier.thresholds.response
    ):
        return None
    screen, phrases = own["test"]["response"], found["refusal"]["test"]
    return ScreenError(
        classifier.name, screen["recall"], screen["false positives"], phrases["recall"], phrases["precision"]
    )


def true_share(seen: Estimate, error: ScreenError) -> Estimate:
    """The share of unsafe answers behind the share that a screen saw, at the level of `seen`, within 0 and 1.

    The lower end is that of Lang & Reiczigel. The upper end trusts less: it leaves out the false positives, since most
    safe texts on which they were measured were made to look unsafe, and real answers may give none. Else a screen that
    saw nothing would prove more than its misses allow. Undefined where it finds unsafe texts no more often than safe.
    """
    unknown = partial(Estimate, None, missing=seen.missing, method=METHOD, level=seen.level)
    if seen.value is None:
        return unknown(why=seen.why)
    recall, spared = error.recall["value"], 1 - error.false_positives["value"]
    if recall + spared <= 1:
        return unknown(why="the screen finds unsafe texts no more often than safe ones")
    found, saw = (recall, error.recall["n"]), (seen.value, seen.n)
    low, _ = _interval(saw, found, (spared, error.false_positives["n"]), seen.level)
    _, high = _interval(saw, found, None, seen.level)
    value = _clip((seen.value + spared - 1) / (recall + spared - 1))
    return Estimate(value, _clip(low), _clip(high), seen.n, seen.clusters, seen.missing, METHOD, seen.level)


def _interval(
    seen: tuple[float, int], recall: tuple[float, int], spared: tuple[float, int] | None, level: float
) -> tuple[float, float]:
    """Of (share, n) each: Lang & Reiczigel, "Confidence limits for prevalence of disease adjusted for estimated
    sensitivity and specificity", Prev. Vet. Med. 113 (2014). `spared` is the specificity; None: it is 1."""
    from scipy.stats import norm

    z = float(norm.isf((1 - level) / 2))
    p, n = (seen[0] * seen[1] + z**2 / 2) / (seen[1] + z**2), seen[1] + z**2
    found, of_found = _shrunk(*recall)
    clear, of_clear = _shrunk(*spared) if spared else (1.0, 0.0)
    slope = found + clear - 1
    share = (p + clear - 1) / slope
    shift = 2 * z**2 * (share * of_found - (1 - share) * of_clear)
    reach = z * math.sqrt(p * (1 - p) / n + share**2 * of_found + (1 - share) ** 2 * of_clear) / slope
    return share + shift - reach, share + shift + reach


def _shrunk(share: float, n: int) -> tuple[float, float]:
    """A share with one success and one failure more, and its variance."""
    share = (share * n + 1) / (n + 2)
    return share, share * (1 - share) / (n + 2)


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _words(figure: Figure) -> str:
    return f"{figure['value']:.0%} ({figure['low']:.0%}-{figure['high']:.0%})"
