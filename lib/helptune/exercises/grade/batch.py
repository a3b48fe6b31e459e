"""All submissions of a class: graded in parallel, each result kept as it is done, so that a stopped batch goes on.

OUT/results/<learner>/<NN_name>.json    what was found      OUT/marks.csv       a row for each question
OUT/feedback/<learner>/<NN_name>.html   for the learner     OUT/overview.html   for the instructor
OUT/to_read.csv                         answers that a person reads
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune.errors import DataError, SettingError
from helptune.exercises.cells import cells_of, read_solutions
from helptune.exercises.grade import seccomp
from helptune.exercises.grade.feedback import write_feedback
from helptune.exercises.grade.grader import Settings, Task, not_graded
from helptune.exercises.grade.key import fingerprint
from helptune.exercises.grade.overview import write_overview
from helptune.exercises.grade.pool import graded
from helptune.exercises.grade.sandbox import Limits, trouble_with_bwrap
from helptune.exercises.grade.submissions import Submission, find, read_submission
from helptune.exercises.grade.table import read_marks, with_marks, write_marks, write_to_read
from helptune.exercises.release import solution_files
from helptune.files import write_text
from helptune.lock import working_alone

log = logging.getLogger(__name__)
RESULTS, FEEDBACK, OVERVIEW, MARKS, TO_READ = "results", "feedback", "overview.html", "marks.csv", "to_read.csv"


@dataclass(frozen=True)
class Batch:
    """What was graded: the results in order, and what could not be, in words."""

    results: list[dict[str, Any]]
    problems: list[str]
    kept: int
    """How many were there from an earlier run."""


def grade_all(
    submissions: Path,
    out: Path,
    solutions: Path,
    extra: Path | None = None,
    notebook: str | None = None,
    marks: Path | None = None,
    jobs: int = 2,
    limits: Limits | None = None,
    boxed: bool | None = None,
) -> Batch:
    """Grade a folder. Raises HelptuneError for what the instructor has to mend; never for what a learner sent."""
    if not seccomp.supported():
        raise SettingError("submissions are graded on Linux (x86_64 or aarch64): its kernel keeps strangers' code in")
    names = [path.stem for path in solution_files(solutions)]
    if notebook and notebook not in names:
        raise SettingError(f"--notebook {notebook}: {solutions} has {', '.join(names) or 'no solutions'}")
    if extra and not extra.is_dir():
        raise SettingError(f"--extra-checks {extra}: no such folder")
    given = read_marks(marks) if marks else {}
    found, problems = find(submissions, names, notebook)
    out.mkdir(parents=True, exist_ok=True)
    private = tuple(path.resolve() for path in (submissions, out, solutions, extra) if path)
    settings = Settings(solutions, extra, limits or Limits(), private, _boxed() if boxed is None else boxed)
    with working_alone(out):
        results, kept = _grade(found, out, settings, jobs)
        results = with_marks(results, given)
        write_marks(out / MARKS, results)
        write_to_read(out / TO_READ, results)
        for submission, result in zip(found, results, strict=True):
            write_feedback(submission.file(out / FEEDBACK, ".html"), result)
        write_overview(out / OVERVIEW, results, problems, [notebook] if notebook else names)
    return Batch(results, problems, kept)


def _boxed() -> bool:
    if trouble := trouble_with_bwrap():
        log.warning(
            "WARNING: %s. Submissions run with less around them: limits, no network and no new processes, but as this "
            "user. Every result is marked `unsandboxed`. Install bubblewrap, or grade in a virtual machine.",
            trouble,
        )
    return not trouble


def _grade(found: Sequence[Submission], out: Path, settings: Settings, jobs: int) -> tuple[list[dict[str, Any]], int]:
    keys = {name: _of_key(name, settings) for name in sorted({submission.notebook for submission in found})}
    places = {(s.learner, s.notebook): s.file(out / RESULTS, ".json") for s in found}
    results = {}
    for submission in found:
        kept = _kept(places[submission.learner, submission.notebook], _task(submission, keys).fingerprint)
        if kept is not None:
            results[submission.learner, submission.notebook] = kept
    already = len(results)
    left = [s for s in found if (s.learner, s.notebook) not in results]
    tasks = (_task(submission, keys) for submission in left)
    for task, told in tqdm(graded(tasks, settings, jobs), total=len(left), unit="notebook", disable=None):
        result = not_graded(task, _questions(task.notebook, settings), told) if isinstance(told, str) else told
        whole = result | {"sha256": _digest(result)}
        write_text(places[task.learner, task.notebook], json.dumps(whole, indent=1) + "\n")
        results[task.learner, task.notebook] = result
    return [results[submission.learner, submission.notebook] for submission in found], already


def _of_key(name: str, settings: Settings) -> str:
    digest = fingerprint(*settings.key_files(name))
    return f"{digest} {asdict(settings.limits)} {settings.boxed}"


def _task(submission: Submission, keys: dict[str, str]) -> Task:
    content, reason = b"", ""
    try:
        content = read_submission(submission.path)
    except DataError as error:
        reason = str(error)
    digest = hashlib.sha256(f"{keys[submission.notebook]}\0{reason}\0".encode() + content).hexdigest()
    return Task(submission.learner, submission.notebook, digest, content, reason)


def _kept(path: Path, digest: str) -> dict[str, Any] | None:
    """The result of an earlier run, when it is whole, and of the same submission, key and limits."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        whole = result.pop("sha256") == _digest(result)
        return result if whole and result["graded"] and result["fingerprint"] == digest else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _digest(result: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def _questions(name: str, settings: Settings) -> list[tuple[str, str, float]]:
    """(name, title, points) of a key, without running it."""
    cells = cells_of(read_solutions(settings.key_files(name)[0]), name)
    return [(c.question, c.question, c.points) for c in cells if c.points]
