"""What a finished run shows: the files of its directory, read and checked, and what may be said about them in words.

The verdict is computed from the figures and never says more than they do: a difference between two counts of answers is
one only when their 95% intervals are apart, and a change of the loss only when the figures beside it show it.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from helptune.adapt.mixed import BASE
from helptune.errors import RunError
from helptune.evaluate.answers import Answer, read_answers
from helptune.evaluate.statistics.intervals import wilson
from helptune.experiment.runs import read_json
from helptune.train.metrics import read_metrics

FEW_SHOT, TUNED = "few_shot", "tuned"
MODELS = {BASE: "base", FEW_SHOT: "few-shot base", TUNED: "tuned"}
"""Answer file in `eval/` -> what the report calls the model."""

HELDOUT, EXAMPLES = Path("eval", "heldout.jsonl"), Path("eval", "few_shot_examples.jsonl")
"""The conversations a run was measured on, kept with their answers."""

_AGAIN = "run `helptune finetune` with this --run again"


@dataclass(frozen=True)
class Tally:
    """How many answers of one model ended by themselves; `lengths` are the new tokens of those, `empty` had no text."""

    label: str
    ended: int
    total: int
    empty: int
    lengths: tuple[int, ...]

    @property
    def share(self) -> float:
        return self.ended / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, at 95%: it stays inside 0..1 and has a width at none and at all."""
        share = wilson(self.ended, self.total)
        return share.low or 0.0, 1.0 if share.high is None else share.high

    def __str__(self) -> str:
        return f"{self.ended} of {self.total}"


@dataclass(frozen=True)
class Evidence:
    summary: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    card: dict[str, Any]
    records: list[dict[str, Any]]
    answers: dict[str, list[Answer]]
    tallies: dict[str, Tally]

    @property
    def losses(self) -> tuple[float, float]:
        """Held-out nats per response token (base, tuned)."""
        before, after = (self.summary["heldout_loss"][name]["overall"] for name in ("base", "tuned"))
        return before, after

    @property
    def change(self) -> float:
        """Relative change of the held-out loss, to a tenth of a percent."""
        before, after = self.losses
        return round(after / before - 1, 3) if math.isfinite(after) else math.nan

    @property
    def trainable_share(self) -> float:
        return self.summary["parameters"]["trainable"] / self.summary["parameters"]["base"]

    @property
    def speed(self) -> float | None:
        """Median tokens per second over the steps after the first, which compiles."""
        speeds = [r["tokens"] / r["seconds"] for r in self.records if "seconds" in r][1:]
        return median(speeds) if speeds else None


def read_evidence(run: Path) -> Evidence:
    """All files of a finished run. Raises RunError naming the one that is missing, damaged or incomplete."""
    summary = read_json(run / "eval" / "summary.json")
    answers, tallies = {}, {}
    for name, label in MODELS.items():
        path, needed = run / "eval" / f"{name}.jsonl", summary["conversations"]["held_out"]
        answers[name] = found = read_answers(path)
        if len(found) != needed:
            raise RunError(f"{path}: {len(found)} of {needed} answers; {_AGAIN}")
        lengths = tuple(answer.tokens for answer in found if answer.ended)
        empty = sum(answer.ended and not answer.text for answer in found)
        tallies[name] = Tally(label, len(lengths), len(found), empty, lengths)
    return Evidence(
        summary=summary,
        config=read_json(run / "config.json"),
        environment=read_json(run / "environment.json"),
        card=read_json(run / "adapter" / "adapter.json"),
        records=read_metrics(run / "metrics.jsonl"),
        answers=answers,
        tallies=tallies,
    )


def verdict(evidence: Evidence) -> tuple[str, list[str]]:
    """A headline, and the sentences under it."""
    base, few_shot, tuned = (evidence.tallies[name] for name in MODELS)
    (before, after), moved = evidence.losses, _moved(evidence.change)
    losses = [evidence.summary["heldout_loss"][name]["by_category"] for name in ("base", "tuned")]
    limit = evidence.config["max_new_tokens"]
    not_lower = [name for name in losses[0] if not losses[1][name] < losses[0][name]]
    sentences = [
        f"The mean loss of the {tuned.total} held-out reference responses {moved}: "
        f"{before:.3f} nats per token with the base, {after:.3f} with the tuned model.",
        f"It {_fell_in(losses[0], not_lower)}.",
        f"Within {limit} new tokens {tuned} answers of the tuned model ended by themselves: "
        f"{_compared(tuned, base)}, {_compared(tuned, few_shot)}.",
    ]
    if tuned.empty:
        sentences.append(f"Of the answers that the tuned model ended, {tuned.empty} {_are(tuned.empty)} empty.")
    if evidence.summary["training"]["best_step"] == 0:
        sentences.append("Training never lowered the held-back loss: the adapter kept is the untrained one of step 0.")
    sentences.append(
        "This is one run with one seed, and neither figure says whether an answer is right: "
        "for that, read the answers side by side."
    )
    if not _clearly_differ(tuned, base):
        ends = "with no clear change in how many answers end by themselves"
    else:
        more = tuned.ended > base.ended
        good_or_bad_twice = (evidence.change < 0) == more
        ends = f"{'and' if good_or_bad_twice else 'but'} {'more' if more else 'fewer'} answers end by themselves"
    return f"Held-out loss {moved}, {ends}", sentences


def _moved(change: float) -> str:
    if not math.isfinite(change):
        return "is no longer a number"
    if not change:
        return "changed by less than 0.1%"
    return f"{'fell' if change < 0 else 'rose'} by {abs(change):.1%}"


def _fell_in(categories: Collection[str], except_for: Collection[str]) -> str:
    total, fell = len(categories), len(categories) - len(except_for)
    if total == fell:
        return f"fell in each of {total} categories" if total > 1 else "fell in the only category"
    return f"fell in {fell} of {total} categories, not in {', '.join(except_for)}" if fell else "fell in no category"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _clearly_differ(one: Tally, other: Tally) -> bool:
    low, high = sorted((one, other), key=lambda tally: tally.share)
    return low.interval[1] < high.interval[0]


def _compared(tuned: Tally, other: Tally) -> str:
    if tuned.ended == other.ended:
        return f"as many as of the {other.label}"
    if not _clearly_differ(tuned, other):
        return f"not clearly different from the {other.label} ({other}; the 95% intervals overlap)"
    return f"clearly {'more' if tuned.ended > other.ended else 'fewer'} than of the {other.label} ({other})"
