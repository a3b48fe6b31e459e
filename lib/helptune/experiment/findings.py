"""What an evaluation found, computed from the files of its `eval/` alone: so the report can always be made again.

`rows.jsonl` holds what was measured of each model on each item, `problems.jsonl` what could not be, `votes.jsonl` whose
answer was preferred, and `cost.json` what training cost. All figures, and every sentence about them, come from these.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from helptune.compare.engine import Compared, compare
from helptune.errors import RunError
from helptune.evaluate.consistency import Consistency, consistency
from helptune.evaluate.preference import Preference, win_rate
from helptune.evaluate.table import Problem, Row, read_problems, read_rows
from helptune.evaluate.votes import VoteSet, read_votes
from helptune.experiment.acceptance import Criterion, sheet
from helptune.files import write_text

VOTES, COST, EVALUATION = "votes.jsonl", "cost.json", "evaluation.json"
TUNED = "tuned"
AGAINST = ("base", "few_shot")
"""What the tuned model is set beside: its base as it is, and prompted fairly."""


@dataclass(frozen=True)
class Findings:
    """`compared` has the tuned model against each of AGAINST that was evaluated too."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    compared: tuple[Compared, ...]
    people: Preference | None
    machines: Preference | None
    consistency: Mapping[str, Consistency]
    costs: tuple[Mapping[str, Any], ...]
    sheet: tuple[Criterion, ...]

    def of(self, model: str) -> list[Row]:
        return [row for row in self.rows if row.model == model]


def read_findings(folder: Path) -> Findings:
    """Of a run's `eval/`. Raises RunError for a file that is missing or damaged."""
    rows, problems = read_rows(folder), read_problems(folder)
    models = tuple(dict.fromkeys(row.model for row in rows))
    votes = read_votes(folder / VOTES) if (folder / VOTES).exists() else VoteSet(())
    costs = _costs(folder / COST)
    of = {model: [row for row in rows if row.model == model] for model in models}
    compared = [compare(of[a], of[TUNED], (a, TUNED), problems) for a in AGAINST if TUNED in of and a in of]
    people, machines = (_preference(votes, kind, rows) for kind in ("human", "machine"))
    consistent = {model: consistency(rows, model) for model in models}
    filled = sheet(rows, problems, people, machines, consistent.get(TUNED), costs) if compared else []
    return Findings(
        models, tuple(rows), (*problems, *votes.problems), tuple(compared), people, machines, consistent, tuple(costs),
        tuple(filled),
    )  # fmt: skip


def write_findings(folder: Path, found: Findings) -> None:
    """`evaluation.json`: every figure that is told, for whoever reads JSON. The rows are in their own file."""
    figures = {f.name: getattr(found, f.name) for f in fields(Findings) if f.name not in ("rows", "problems")}
    text = json.dumps({**figures, "problems": len(found.problems)}, indent=1, default=_plain) + "\n"
    write_text(folder / EVALUATION, text)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return value.item()


def _preference(votes: VoteSet, kind: Any, rows: list[Row]) -> Preference | None:
    """Of the tuned model over the base, where anybody of this kind was asked."""
    own, lost = votes.between(TUNED, "base", kind)
    if not own and not lost:
        return None
    lengths = {
        model: {
            row.item: float(row.metrics.get("words") or 0)
            for row in rows
            if (row.part, row.model) == ("helpful", model)
        }
        for model in (TUNED, "base")
    }
    return win_rate(votes, TUNED, "base", kind, lengths=lengths)


def _costs(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text())["measured"]
        return [{**row, "ratio": float(row["ratio"])} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: not what `helptune bench cost --json` writes ({error}): delete it, and evaluate again"
        ) from error
