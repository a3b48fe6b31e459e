"""A grader: a process of ours that holds a key and grades one submission after another, each in a sandbox of its own.

The batch starts a few, and ends one whose check does not come to an end with what an answer gave.
"""

import ctypes
import os
import signal
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from helptune.errors import HelptuneError, RunError
from helptune.exercises.grade.key import Key, read_key
from helptune.exercises.grade.mark import NOT_GRADED, Outcome, as_json, mark
from helptune.exercises.grade.rebuild import Rebuilt, rebuild, unreadable
from helptune.exercises.grade.sandbox import Limits, Sandbox
from helptune.exercises.grade.view import View

_DIE_WITH_PARENT = 1


@dataclass(frozen=True)
class Task:
    """A submission to grade: its content, or the reason why it has none."""

    learner: str
    notebook: str
    fingerprint: str
    content: bytes = b""
    reason: str = ""


@dataclass(frozen=True)
class Settings:
    solutions: Path
    extra: Path | None = None
    limits: Limits = field(default_factory=Limits)
    private: tuple[Path, ...] = ()
    boxed: bool = True

    def key_files(self, notebook: str) -> tuple[Path, Path | None]:
        extra = self.extra / f"{notebook}.py" if self.extra else None
        return self.solutions / notebook / f"{notebook}.py", extra if extra and extra.exists() else None


def serve(tasks: Connection, settings: Settings) -> None:
    """Answers each Task with ("started", None) once its key is ready, and then ("done", a result).

    ("failed", text) in their place: the key cannot be used. Ends when the batch does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch decides
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    os.environ |= {"MPLBACKEND": "Agg", "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS") or "cpu"}
    key: Key | None = None
    with tempfile.TemporaryDirectory(prefix="helptune-grader-") as folder:
        os.environ["HELPTUNE_PROGRESS"] = f"{folder}/progress.json"  # the instructor's own stays as it is
        while True:
            try:
                task = tasks.recv()
                if key is None or key.name != task.notebook:
                    key = None  # before the next one takes memory
                    key = read_key(*settings.key_files(task.notebook))
                tasks.send(("started", None))
                tasks.send(("done", grade(task, key, settings)))
            except EOFError:
                return
            except HelptuneError as error:
                tasks.send(("failed", str(error)))


def grade(task: Task, key: Key, settings: Settings) -> dict[str, Any]:
    started = time.monotonic()
    built = unreadable(key, task.reason) if task.reason else rebuild(task.content, key)
    view = View(key.needs_library, settings.private)
    try:
        outcomes = mark(key, built, lambda: Sandbox(settings.limits, view, settings.boxed), settings.limits)
    except RunError as error:
        return not_graded(task, [(q.name, q.title, q.points) for q in key.questions], str(error))
    return result(task, outcomes, built, settings.boxed, time.monotonic() - started)


def result(task: Task, outcomes: list[Outcome], built: Rebuilt, boxed: bool, seconds: float) -> dict[str, Any]:
    flags = [[what, detail] for what, detail in built.flags]
    flags += [[flag, outcome.question] for outcome in outcomes for flag in outcome.flags]
    return {
        "fingerprint": task.fingerprint,
        "learner": task.learner,
        "notebook": task.notebook,
        "graded": True,
        "flags": flags if boxed else [*flags, ["unsandboxed", "graded without bwrap"]],
        "reason": built.reason,
        "seconds": round(seconds, 2),
        "questions": as_json(outcomes),
    }


def not_graded(task: Task, questions: list[tuple[str, str, float]], reason: str) -> dict[str, Any]:
    """For an instructor to look at; tried again by the next run."""
    words = {"status": NOT_GRADED, "text": reason, "told": "This could not be graded; your instructor was told."}
    return {
        "fingerprint": task.fingerprint,
        "learner": task.learner,
        "notebook": task.notebook,
        "graded": False,
        "flags": [["not graded", reason]],
        "reason": "",
        "seconds": 0.0,
        "questions": as_json([Outcome(name, title, points, **words) for name, title, points in questions]),  # type: ignore[arg-type]
    }
