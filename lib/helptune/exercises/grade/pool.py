"""A few graders at work, each on one task at a time; one that hangs or dies is replaced, and the batch goes on."""

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from helptune.errors import DataError
from helptune.exercises.grade.grader import Settings, Task, serve
from helptune.exercises.grade.sandbox import family

_KEY_SECONDS = 1800
"""For a grader to run a key's cells, on a busy machine."""


class _Grader:
    def __init__(self, settings: Settings):
        self._settings, self.task = settings, None
        self.deadline = float("inf")
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen as the end of the connection

    task: Task | None

    def give(self, task: Task) -> None:
        self.task, self.deadline = task, time.monotonic() + _KEY_SECONDS
        self.connection.send(task)

    def hear(self) -> tuple[str, Any]:
        """What it says. ("died", words) when it says nothing any more."""
        try:
            said, told = self.connection.recv()
        except (EOFError, OSError):
            return "died", "the grader's own process ended while it checked this"
        if said == "started":
            limits = self._settings.limits
            self.deadline = time.monotonic() + limits.total_seconds + 2 * limits.cell_seconds
        return said, told

    @property
    def lives(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        """With all that it started."""
        for member in reversed(family(self._process.pid or 0)):
            with contextlib.suppress(psutil.Error):
                member.kill()
        self._process.join()
        self.connection.close()


def graded(tasks: Iterator[Task], settings: Settings, jobs: int) -> Iterator[tuple[Task, dict[str, Any] | str]]:
    """Each task with its result, or with the words of why there is none. Raises DataError for a key that is unfit."""
    graders: list[_Grader] = []
    waiting = next(tasks, None)
    try:
        while True:
            while waiting is not None and (free := _free(graders, settings, jobs)):
                free.give(waiting)
                waiting = next(tasks, None)
            busy = [grader for grader in graders if grader.task is not None]
            if not busy:
                return
            heard = _next_words(busy)
            for grader in heard:
                task = grader.task
                assert task is not None
                said, told = grader.hear() if grader.deadline > time.monotonic() else ("died", _HANGS)
                if said == "failed":
                    raise DataError(told)
                if said == "started":
                    continue
                grader.task = None
                if said == "died":
                    grader.end()
                    graders.remove(grader)
                yield task, told
    finally:
        for grader in graders:
            grader.end()


_HANGS = "the check did not come to an end with what this answer gave"


def _free(graders: list[_Grader], settings: Settings, jobs: int) -> _Grader | None:
    for grader in [grader for grader in graders if grader.task is None]:
        if grader.lives:
            return grader
        grader.end()
        graders.remove(grader)
    if len(graders) < jobs:
        graders.append(_Grader(settings))
        return graders[-1]
    return None


def _next_words(busy: list[_Grader]) -> list[_Grader]:
    """Those that have something to say, or are late."""
    while True:
        soonest = min(grader.deadline for grader in busy) - time.monotonic()
        connections: list[Connection] = [grader.connection for grader in busy]
        ready = wait(connections, timeout=min(max(soonest, 0), 3600))
        late = [grader for grader in busy if grader.deadline <= time.monotonic()]
        if heard := [grader for grader in busy if grader.connection in ready or grader in late]:
            return heard
