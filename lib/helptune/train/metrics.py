"""What a run writes down as it goes: `metrics.jsonl`, one JSON object a line, the source of every curve.

Training steps have a "loss", measurements of the held-back set an "eval_loss", sample answers of the model of that
moment "samples"; the first line tells how many "steps" are planned, and a run that ends before them says why in
"stopped". Every line has the "step" it follows. What is no number, as in the step a run broke off at, is null: JSON has
no NaN.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from helptune.errors import RunError
from helptune.files import write_text
from helptune.train.distributed import is_main


def log(path: Path, record: dict) -> None:
    if not is_main():
        return
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_numbers(record), allow_nan=False) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`: training steps have a "loss", measurements of the held-back set an "eval_loss"."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: missing or damaged ({error}); run `helptune finetune` with this --run again"
        ) from error


def truncate(path: Path, last_step: int) -> None:
    """Forget what was logged after the step a run resumes from, and a line cut short by a kill."""
    if is_main() and path.exists():
        kept = [line for line in path.read_text().splitlines() if _step(line) <= last_step]
        with disk_errors(path):
            write_text(path, "".join(line + "\n" for line in kept))


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: cannot be written ({error}). Make room on the disk and run the same command again to go on "
            "from the last checkpoint"
        ) from error


def _numbers(value: Any) -> Any:
    """`value` with null for whatever in it is no number."""
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
