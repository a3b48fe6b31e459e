"""What an evaluation found, computed from the files of its `eval/` alone: so the report can always be made again.

`rows.jsonl` holds what was measured of each model on each item, `problems.jsonl` what could not be, `votes.jsonl` whose
answer was preferred, `screen.json` how often the safety classifier errs, and `cost.json` what training cost. All
figures, and every sentence about them, come from these.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from helptune.adapt.mixed import BASE
from helptune.compare.engine import Compared, compare
from helptune.errors import DataError, RunError
from helptune.evaluate.answers import read_answers
from helptune.evaluate.calibration import Calibration, calibrate
from helptune.evaluate.consistency import Consistency, consistency
from helptune.evaluate.judging.run import VOTES as JUDGED
from helptune.evaluate.preference import Preference, win_rate
from helptune.evaluate.safety.screen import ScreenError
from helptune.evaluate.table import Problem, Row, read_problems, read_rows
from helptune.evaluate.votes import Vote, VoteSet, read_votes
from helptune.experiment.acceptance import Criterion, sheet
from helptune.experiment.cost import METHODS
from helptune.experiment.evidence import FEW_SHOT, MODELS, TUNED
from helptune.files import write_text

VOTES, COST, SCREEN, EVALUATION = "votes.jsonl", "cost.json", "screen.json", "evaluation.json"
AGAINST = (BASE, FEW_SHOT)
"""What the tuned model is set beside: its base as it is, and prompted fairly."""
_COST = ("what", "unit", *METHODS, "how")
"""What is told of each cost, beside their ratio."""


@dataclass(frozen=True)
class Findings:
    """`compared` has the tuned model, or each adapter, against each of AGAINST; `machines` has one entry a judge."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    compared: tuple[Compared, ...]
    people: Preference | None
    machines: tuple[Preference, ...]
    calibration: Calibration | None
    consistency: Mapping[str, Consistency]
    costs: tuple[Mapping[str, Any], ...]
    sheet: tuple[Criterion, ...]

    def of(self, model: str) -> list[Row]:
        return [row for row in self.rows if row.model == model]


def read_findings(folder: Path) -> Findings:
    """Of a run's `eval/`. Raises RunError for a file that is missing or damaged."""
    rows, problems = read_rows(folder), read_problems(folder)
    models = tuple(dict.fromkeys(row.model for row in rows))
    votes = votes_about(folder, models, {row.item for row in rows if row.part == "helpful"})
    costs = _costs(folder / COST)
    of = {model: [row for row in rows if row.model == model] for model in models}
    compared = [
        compare(of[a], of[b], (MODELS[a], MODELS.get(b, b)), [p for p in problems if p.where in ("", a, b)])
        for b in models
        for a in AGAINST
        if b not in AGAINST and a in of
    ]
    people = _preference(votes, "human", rows)
    judges = dict.fromkeys(vote.rater for vote in votes.votes if vote.kind == "machine")
    machines = [_preference(replace(votes, votes=_of_judge(votes, name)), "machine", rows) for name in judges]
    found = tuple(one for one in machines if one is not None)
    consistent = {model: consistency(rows, model) for model in models}
    filled = []
    if TUNED in of and "base" in of:
        filled = sheet(rows, problems, people, found, consistent.get(TUNED), costs, _screen(folder))
    return Findings(
        models, tuple(rows), (*problems, *votes.problems), tuple(compared), people, found,
        _calibration(votes, rows), consistent, tuple(costs), tuple(filled),
    )  # fmt: skip


def write_findings(folder: Path, found: Findings) -> None:
    """`evaluation.json`: every figure that is told, for whoever reads JSON. The rows are in their own file."""
    write_text(folder / EVALUATION, to_json(replace(found, rows=())) + "\n")


def to_json(found: Any) -> str:
    """A dataclass with all that is in it; a pair of names that is a key becomes `a, b`."""
    return json.dumps(_plain(found), indent=1)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else ", ".join(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return value.item() if hasattr(value, "item") else value


def _preference(votes: VoteSet, kind: Any, rows: list[Row]) -> Preference | None:
    """Of the tuned model over the base, where anybody of this kind voted; a prompt that nobody voted on is missing."""
    own, lost = votes.between(TUNED, "base", kind)
    if not own and not (lost and kind == "human"):
        return None
    lengths = {
        model: {
            row.item: float(row.metrics.get("words") or 0)
            for row in rows
            if (row.part, row.model) == ("helpful", model)
        }
        for model in (TUNED, "base")
    }
    return win_rate(votes, TUNED, "base", kind, items=list(lengths[TUNED]), lengths=lengths)


def _of_judge(votes: VoteSet, name: str) -> tuple[Vote, ...]:
    return tuple(vote for vote in votes.votes if vote.rater == name)


def votes_about(folder: Path, models: Collection[str], items: Collection[str]) -> VoteSet:
    """Those that were given, and those of judges, about the answers there are now."""
    paths = [path for path in (folder / VOTES, folder / JUDGED) if path.exists()]
    texts = {model: {one.id: one.text for one in read_answers(folder / f"{model}.jsonl")} for model in models}
    return read_votes(*paths, models=models, items=items, texts=texts)


def _screen(folder: Path) -> ScreenError | None:
    """The measured error of the classifier that was used, where it is known."""
    path = folder / SCREEN
    if not path.exists():
        return None
    try:
        return ScreenError(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: damaged ({error}); run `helptune evaluate` again") from error


def _calibration(votes: VoteSet, rows: list[Row]) -> Calibration | None:
    """Of the score to people's votes, where there are enough of them; it changes no figure, and is told beside them."""
    try:
        return calibrate(votes, rows, TUNED, "base", "human")
    except DataError:  # too few
        return None


def _costs(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text())["measured"]
        return [{name: row[name] for name in _COST} | {"ratio": float(row["ratio"])} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: not what `helptune bench cost --json` writes ({error}): delete it, and evaluate again"
        ) from error
