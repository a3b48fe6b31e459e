"""What a run is doing, read from its directory by whoever watches: this process, or another one on this machine.

`snapshot` is a pure function of the text of `metrics.jsonl` and three facts; `read_run` looks them up. Nothing here
needs JAX, so watching costs the run next to nothing. A watcher may look at any moment: at a line half written, at a log
cut back by a run that went on from a checkpoint, at a loss that is not a number, at lines it does not know. From
another machine the curves can be read, but whether the run is alive is judged by a lock that only its own machine sees.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from helptune.lock import is_worked_on
from helptune.text import printable

METRICS, LOG = "metrics.jsonl", "log.txt"
"""What a run logs; and what its process says, when it was started from a notebook."""

State = Literal["waiting", "training", "evaluating", "stopped", "finished", "failed"]
_RECENT = 20


@dataclass(frozen=True)
class Sample:
    """`ended`: the model stopped by itself before the limit of new tokens."""

    id: str
    prompt: str
    answer: str
    ended: bool


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    `steps` and `measurements` are the lines of the log with a "loss" and with an "eval_loss", one for each step, in
    order, holding finite numbers only. `base` and `latest` are the first and the last sample answers, each with its
    step. `checkpoint` is the step from which the run would go on. `doing` says what happens beside training, `reason`
    why the run ended its training itself.
    """

    state: State
    steps: tuple[Mapping[str, float], ...] = ()
    measurements: tuple[Mapping[str, float], ...] = ()
    total: int | None = None
    base: tuple[int, tuple[Sample, ...]] = (0, ())
    latest: tuple[int, tuple[Sample, ...]] = (0, ())
    checkpoint: int | None = None
    doing: str = ""
    reason: str = ""

    @property
    def step(self) -> int:
        return max((int(r["step"]) for r in (*self.steps[-1:], *self.measurements[-1:])), default=0)

    @property
    def base_loss(self) -> float | None:
        """Held-back nats per token before training."""
        return self.measurements[0]["eval_loss"] if self.measurements and not self.measurements[0]["step"] else None

    @property
    def best(self) -> tuple[int, float] | None:
        """(step, held-back loss) of the adapter that is kept."""
        found = min(self.measurements, key=lambda r: r["eval_loss"], default=None)
        return None if found is None else (int(found["step"]), found["eval_loss"])

    @property
    def speed(self) -> float | None:
        """Tokens per second, the median of recent steps; the first one compiles and does not count."""
        recent = [value for _, value in self.curve("speed")[-_RECENT:]]
        return median(recent) if recent else None

    @property
    def seconds_left(self) -> float | None:
        """Of training, as the recent steps and measurements went; None while nothing can be said."""
        times = [r["seconds"] for r in self.steps[1:][-_RECENT:] if "seconds" in r]
        if self.state != "training" or self.total is None or not times:
            return None
        left = max(self.total - self.step, 0)
        spacing = max([1, *(int(b["step"] - a["step"]) for a, b in pairwise(self.measurements))])
        measured = [r["eval_seconds"] for r in self.measurements if "eval_seconds" in r]
        to_come = -(-left // spacing) if len(self.measurements) > 1 else 1
        return left * median(times) + to_come * (median(measured) if measured else 0.0)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a quantity of `steps`; "speed" is tokens per second, without the first step."""
        if name == "speed":
            timed = [r for r in self.steps[1:] if r.get("seconds", 0) > 0 and "tokens" in r]
            return [(int(r["step"]), r["tokens"] / r["seconds"]) for r in timed]
        return [(int(r["step"]), r[name]) for r in self.steps if name in r]

    def last(self, name: str) -> float | None:
        return next((r[name] for r in reversed(self.steps) if name in r), None)


def snapshot(
    text: str, *, working: bool, begun: bool = True, complete: bool = False, checkpoint: int | None = None, doing="",
) -> Snapshot:  # fmt: skip
    """The run whose log is `text`.

    `working`: a process works on it; `begun`: it has a configuration; `complete`: it has a summary, written last. Where
    no process is left, the run was stopped if its newest checkpoint holds all that was logged, and failed otherwise.

    A run of several tasks is shown by means over its tasks: of the step's losses, and of the latest held-back losses.
    """
    lines = _lines(text)
    steps = {line["step"]: _numbers(line) | _mean_loss(line) for line in lines if {"loss", "task_losses"} & set(line)}
    measurements = {line["step"]: _numbers(line) for line in lines if "eval_loss" in line} | _task_measurements(lines)
    measured = [measurements[step] for step in sorted(measurements) if "eval_loss" in measurements[step]]
    written = [(line["step"], _samples(line["samples"])) for line in lines if "samples" in line]
    totals = [line["steps"] for line in lines if _is_count(line.get("steps"))]
    total, last = totals[-1] if totals else None, max([0, *steps, *measurements])
    reasons = [line["stopped"] for line in lines if isinstance(line.get("stopped"), str) and line["step"] >= last]
    if working:
        done = bool(reasons) or (total is not None and last >= max(total, 1))
        state: State = "evaluating" if done else "training" if steps or measurements else "waiting"
    elif complete:
        state = "finished"
    elif not begun:
        state = "waiting"
    else:
        state = "stopped" if last == (checkpoint or 0) else "failed"
    unwritten: tuple[int, tuple[Sample, ...]] = (0, ())
    return Snapshot(
        state=state,
        steps=tuple(steps[step] for step in sorted(steps)),
        measurements=tuple(measured),
        total=total,
        base=written[0] if written else unwritten,
        latest=written[-1] if written else unwritten,
        checkpoint=checkpoint,
        doing=doing,
        reason=reasons[-1] if reasons else "",
    )


def read_run(run: Path, working: bool | None = None) -> Snapshot:
    """What the directory shows now. `working` is looked up from the lock of the run unless the caller knows."""
    try:
        text = (run / METRICS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    working = is_worked_on(run) if working is None else working
    return snapshot(
        text, working=working, begun=(run / "config.json").exists(),
        complete=(run / "eval" / "summary.json").exists() or (run / "tasks.json").exists(),
        checkpoint=_newest(run / "checkpoints"), doing=_answering(run / "eval") if working else "",
    )  # fmt: skip


def status(seen: Snapshot, again: str = "the same command goes on") -> str:
    """The run in a sentence that follows its state; `again` says how one that was stopped goes on."""
    of = f"step {seen.step}" + (f" of {seen.total}" if seen.total is not None else "")
    left = "" if seen.seconds_left is None else f", about {duration(seen.seconds_left)} of training left"
    again += f" from step {seen.checkpoint}" if seen.checkpoint and seen.checkpoint != seen.step else ""
    return {
        "waiting": f"before training: {seen.doing or 'loading, or not started yet'}",
        "training": f"{of}{left}",
        "evaluating": f"trained, {of}{_because(seen)}: {seen.doing or 'held-out loss'}",
        "stopped": f"at {of}; {again}" if seen.step else f"before training; {again}",
        "finished": f"{of}{_because(seen)}",
        "failed": f"the process is gone, after {of}; {again}",
    }[seen.state]


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def log_tail(run: Path, lines: int = 12) -> str:
    """The last lines of `log.txt`; of a progress bar, which writes over itself, what it showed last.

    Nothing if the run has trained since: from a terminal, which leaves the log of an earlier attempt as it is.
    """
    try:
        if _changed(run / LOG) < _changed(run / METRICS):
            return ""
        text = (run / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")[-lines:])


def _changed(path: Path) -> int:
    """When, in nanoseconds; 0 for what is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


def _because(seen: Snapshot) -> str:
    """The log is a file that anybody may have written, and a terminal obeys what it shows."""
    return f" ({printable(seen.reason)})" if seen.reason else ""


def _lines(text: str) -> list[dict[str, Any]]:
    """Every line that is a whole JSON object with a step."""
    found = []
    for line in text.split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # half written, or not ours
            continue
        if isinstance(record, dict) and _is_count(record.get("step")):
            found.append(record)
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in line.items() if type(v) in (int, float) and abs(v) < 2**1000 and math.isfinite(v)}


def _mean_loss(line: dict[str, Any]) -> dict[str, float]:
    """The "loss" of a step of several tasks, if one of them has a number."""
    losses = _task_numbers(line, "task_losses")
    return {"loss": fmean(losses.values())} if losses else {}


def _task_measurements(lines: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Held-back loss by step, as one run's. Where a task is not measured, as once it has ended, its last one counts."""
    measured = {line["step"]: _task_numbers(line, "task_eval_losses") for line in lines if "task_eval_losses" in line}
    found: dict[int, dict[str, float]] = {}
    latest: dict[str, float] = {}
    for step in sorted(measured):
        latest |= measured[step]
        if latest:
            found[step] = {"step": step, "eval_loss": fmean(latest.values())}
    return found


def _task_numbers(line: dict[str, Any], name: str) -> dict[str, float]:
    return _numbers(line[name]) if isinstance(line.get(name), dict) else {}


def _samples(found: Any) -> tuple[Sample, ...]:
    records = [r for r in found if isinstance(r, dict)] if isinstance(found, list) else []
    text = [{name: str(r.get(name, "")) for name in ("id", "prompt", "answer")} for r in records]
    return tuple(Sample(**t, ended=r.get("ended") is True) for t, r in zip(text, records, strict=True))


def _newest(checkpoints: Path) -> int | None:
    """Orbax gives a folder its step as a name once it is complete."""
    try:
        return max((int(path.name) for path in checkpoints.iterdir() if path.name.isdecimal()), default=None)
    except OSError:
        return None


def _answering(folder: Path) -> str:
    """Which answers are being written, in the order of `finetune`."""
    written = {name: _count(folder / f"{name}.jsonl") for name in ("heldout", "base", "few_shot", "tuned")}
    total, found = written.pop("heldout"), [name for name, count in written.items() if count]
    return f"{written[found[-1]]} of {total} answers ({found[-1].replace('_', '-')})" if found and total else ""


def _count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
