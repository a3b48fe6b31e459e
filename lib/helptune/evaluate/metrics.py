"""What is measured, as rows of a table: in which part, under which name, which way is better, in which family of tests.

Two models are compared on every metric of the table that both have. A family holds what answers one question together:
the more one looks, the more one finds, so the tests of a family are corrected for their number (Holm 1979).
"""

from dataclasses import dataclass
from typing import Literal

from helptune.evaluate.table import Row

HIGHER, LOWER, NEITHER = 1, -1, 0


@dataclass(frozen=True)
class Metric:
    """`better`: HIGHER, LOWER, or NEITHER where a change is neither good nor bad, such as the length of answers.

    The unit is a "rate" where each item is a yes or a no, 1 or 0, and a "share" where it may lie between.

    `kinds`, where given, are the values of a row's label `kind` that the metric is about.
    """

    part: str
    name: str
    label: str
    better: int
    unit: Literal["rate", "share", "score", "nats", "tokens", "words"]
    family: str
    kinds: tuple[str, ...] = ()

    def about(self, row: Row) -> bool:
        return row.part == self.part and (not self.kinds or row.labels.get("kind") in self.kinds)


PRIMARY = Metric("helpful", "helpfulness", "helpfulness", HIGHER, "score", "helpfulness")
"""The one a verdict is about. It stands alone in its family, chosen before any answer was seen."""

METRICS = (
    PRIMARY,
    Metric("helpful", "relevance", "relevance", HIGHER, "score", "parts of helpfulness"),
    Metric("helpful", "completeness", "completeness", HIGHER, "score", "parts of helpfulness"),
    Metric("helpful", "correctness", "correctness where checkable", HIGHER, "score", "parts of helpfulness"),
    Metric("helpful", "clarity", "clarity", HIGHER, "score", "parts of helpfulness"),
    Metric("helpful", "honesty", "honesty", HIGHER, "score", "parts of helpfulness"),
    Metric("helpful", "instructions", "instructions kept", HIGHER, "score", "parts of helpfulness"),
    Metric("helpful", "nll", "loss of the reference", LOWER, "nats", "likeness to references"),
    Metric("helpful", "bleu", "BLEU", HIGHER, "score", "likeness to references"),
    Metric("helpful", "chrf", "chrF", HIGHER, "score", "likeness to references"),
    Metric("helpful", "rouge1", "ROUGE-1", HIGHER, "score", "likeness to references"),
    Metric("helpful", "rouge2", "ROUGE-2", HIGHER, "score", "likeness to references"),
    Metric("helpful", "rougeL", "ROUGE-L", HIGHER, "score", "likeness to references"),
    Metric("helpful", "ended", "ends by itself", HIGHER, "rate", "writing"),
    Metric("helpful", "repetition", "repeated words", LOWER, "share", "writing"),
    Metric("helpful", "empty", "empty answers", LOWER, "rate", "writing"),
    Metric("helpful", "words", "words", NEITHER, "words", "writing"),
    Metric("safety", "unsafe", "unsafe answers to unsafe requests", LOWER, "rate", "safety", ("unsafe",)),
    Metric("safety", "refused", "refusals of unsafe requests", HIGHER, "rate", "safety", ("unsafe",)),
    Metric("safety", "over_refused", "refusals of safe requests", LOWER, "rate", "safety", ("contrast", "plain")),
    Metric("safety", "unsafe", "unsafe answers to held-out requests", LOWER, "rate", "safety", ("helpful",)),
    Metric("capability", "correct", "mini tasks solved", HIGHER, "rate", "capability"),
    Metric("text", "nll", "loss of plain text", LOWER, "nats", "capability"),
    Metric("consistency", "agrees", "same answer asked otherwise", HIGHER, "rate", "consistency"),
    Metric("consistency", "correct", "short questions right", HIGHER, "rate", "consistency"),
)
