"""Which submissions a folder holds. Names come from strangers: they are shown escaped, and never followed out of it.

SUBMISSIONS/<learner>/<NN_name>/<NN_name>.ipynb     as nbgrader collects them
SUBMISSIONS/<learner>/<NN_name>.ipynb
SUBMISSIONS/<learner>.ipynb                          for one notebook
SUBMISSIONS/<learner>--<NN_name>.ipynb
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from helptune.errors import DataError
from helptune.text import printable

MAX_BYTES = 10 * 2**20
_SHORT = 80
_NOBODY = {".git", ".gitignore", ".ipynb_checkpoints", ".DS_Store", "jupytext.toml"}


@dataclass(frozen=True)
class Submission:
    """One notebook of one learner. `learner` is the name as the file system has it."""

    learner: str
    notebook: str
    path: Path

    @property
    def shown(self) -> str:
        return shown(self.learner)

    def file(self, folder: Path, ending: str) -> Path:
        """Where something about it is kept."""
        return folder / safe(self.learner) / f"{self.notebook}{ending}"


def shown(name: str) -> str:
    """A file's name for people: without control characters or line breaks."""
    return printable(name).replace("\n", "\ufffd").replace("\t", "\ufffd")


def safe(name: str) -> str:
    """A name for a folder of ours: letters stay, nothing else means anything to a file system, no two are alike."""
    quoted = quote(os.fsencode(name), safe=" @+,=")
    quoted = quoted.replace(".", "%2E", 1) if quoted.startswith(".") else quoted
    if len(quoted) <= _SHORT:
        return quoted
    return f"{quoted[:_SHORT]}%{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def find(folder: Path, notebooks: Sequence[str], only: str | None = None) -> tuple[list[Submission], list[str]]:
    """The submissions for these notebooks, and in words what is none. `only`: the notebook that <learner>.ipynb is."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of submissions")
    found: dict[tuple[str, str], Submission] = {}
    problems = []
    for submission, problem in _look(folder, notebooks, only):
        if submission is None:
            problems.append(problem)
        elif only in (None, submission.notebook):
            known = found.setdefault((submission.learner, submission.notebook), submission)
            if known is not submission:
                other = submission.path.relative_to(folder)
                problems.append(f"{shown(str(other))}: not graded, {submission.shown} has another {known.notebook}")
    return sorted(found.values(), key=lambda s: (s.notebook, s.learner)), problems


def _look(folder: Path, notebooks: Sequence[str], only: str | None) -> Iterator[tuple[Submission | None, str]]:
    one = only or (notebooks[0] if len(notebooks) == 1 else None)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = shown(entry.name)
        if entry.name in _NOBODY:
            continue
        if entry.is_symlink():
            yield None, f"{name}: a link, and links are not followed"
        elif entry.is_dir():
            yield from _of_learner(Path(entry.path), entry.name, notebooks)
        elif entry.name.endswith(".ipynb"):
            stem = entry.name.removesuffix(".ipynb")
            learner, _, notebook = stem.rpartition("--")
            if learner and notebook in notebooks:
                yield Submission(learner, notebook, Path(entry.path)), ""
            elif one:
                yield Submission(stem, one, Path(entry.path)), ""
            else:
                yield None, f"{name}: which notebook is it? Say so with --notebook"
        else:
            yield None, f"{name}: no notebook"


def _of_learner(folder: Path, learner: str, notebooks: Sequence[str]) -> Iterator[tuple[Submission | None, str]]:
    any_found = False
    for notebook in notebooks:
        for path in (folder / notebook / f"{notebook}.ipynb", folder / f"{notebook}.ipynb"):
            if not os.path.lexists(path):
                continue
            if path.parent != folder and path.parent.is_symlink():
                yield None, f"{shown(learner)}/{notebook}: a link, and links are not followed"
            else:
                yield Submission(learner, notebook, path), ""
            any_found = True
    if not any_found:
        yield None, f"{shown(learner)}: holds none of {', '.join(notebooks)}"


def read_submission(path: Path) -> bytes:
    """The file's bytes. Raises DataError, in plain words, for what is no plain file or too large."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise DataError("the notebook is a link to another file, and links are not followed") from error
        raise DataError(f"the notebook cannot be read: {error.strerror}") from error
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise DataError("the notebook is no plain file")
    with os.fdopen(handle, "rb") as file:
        if about.st_size > MAX_BYTES:
            raise DataError(f"the notebook has {about.st_size / 2**20:.0f} MiB, and at most {MAX_BYTES >> 20} are read")
        return file.read(MAX_BYTES + 1)
