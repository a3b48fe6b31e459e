"""The box around a learner's process: what it sees, how much it may use, and who ends it.

bubblewrap (`bwrap`) gives it a file system of its own in which only the system, Python, the prepared weights and, where
a notebook's own cells need it, this library can be read; no network; no view of other processes. A thread of ours ends
it when it takes too long or too much memory. Where bwrap cannot work, its own rules (worker.py) are what is left.
"""

import contextlib
import functools
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from helptune.exercises.grade import wire
from helptune.exercises.grade.view import View, arguments, environment

_GLANCE = 0.05
_GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Times are those of a clock on the wall: a busy machine needs generous ones."""

    cell_seconds: float = 120
    """For a cell, or one call of an answer. Importing JAX alone can take half a minute under load."""
    total_seconds: float = 900
    memory: int = 4 * _GIB
    output: int = 64 * 2**10
    """Bytes that are kept of what it prints."""
    disk: int = 256 * 2**20

    def of_process(self) -> dict[str, int]:
        """The kernel's limits. Address space is generous: JAX reserves more than it uses."""
        cpu = int(self.total_seconds * (os.cpu_count() or 1)) + 1
        return {
            "RLIMIT_CPU": cpu,
            "RLIMIT_AS": self.memory + 8 * _GIB,
            "RLIMIT_FSIZE": self.disk,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 512,
        }


class Ended(BaseException):
    """The learner's process is no more. Not an Exception, so that no check takes it for an error of the answer.

    `text` follows the name of what ran.
    """

    def __init__(self, hint: str, text: str):
        super().__init__(text)
        self.hint, self.text = hint, text


@functools.cache
def trouble_with_bwrap() -> str:
    """Empty when bwrap works here; else why it does not."""
    if shutil.which("bwrap") is None:
        return "bwrap is not installed (the package is called bubblewrap)"
    command = ["bwrap", *arguments(View(), Limits().disk), "--", sys.executable, "-c", ""]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"bwrap does not work here: {error}"
    told = tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"]
    return f"bwrap does not work here: {told[-1]}" if tried.returncode else ""


@dataclass
class Sandbox:
    """A running worker. `ask` sends it a request; `close` ends it, whatever it is doing. A context manager."""

    limits: Limits
    view: View = field(default_factory=View)
    boxed: bool = True
    """False: without bwrap."""

    def __post_init__(self) -> None:
        self._end: Ended | None = None
        self._kept = bytearray()
        self._allow(self.limits.cell_seconds)
        self._scratch = None if self.boxed else tempfile.TemporaryDirectory(prefix="helptune-grade-")
        theirs_in, self._requests = os.pipe()
        self._replies, theirs_out = os.pipe()
        command = self._command(theirs_in, theirs_out)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=(theirs_in, theirs_out), start_new_session=True,
            cwd=self._scratch.name if self._scratch else None,
            env=environment(self._scratch.name if self._scratch else "/tmp"),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        try:
            self.protections: list[str] = self._receive()["value"]
        except BaseException:
            self.close()
            raise

    def _command(self, requests: int, replies: int) -> list[str]:
        home = self._scratch.name if self._scratch else ""
        settings = {
            "limits": self.limits.of_process(),
            "readable": [] if self.boxed else self.view.readable(),
            "writable": [] if self.boxed else [home, "/dev/null"],
        }
        python = [sys.executable, "-P", "-s", "-m", "helptune.exercises.grade.worker"]
        worker = [*python, str(requests), str(replies), json.dumps(settings)]
        return ["bwrap", *arguments(self.view, self.limits.disk), "--", *worker] if self.boxed else worker

    def ask(self, request: dict[str, Any], seconds: float = float("inf")) -> dict[str, Any]:
        """The reply. Raises Ended when there is none, and wire.Unsendable for a request that cannot be sent."""
        message = memoryview(wire.pack(request))
        self._allow(min(seconds, self.limits.cell_seconds))
        try:
            while message:
                message = message[os.write(self._requests, message) :]
        except OSError:
            raise self._ended() from None
        return self._receive()

    def _allow(self, seconds: float) -> None:
        self._allowed, self._deadline = seconds, time.monotonic() + seconds

    def _receive(self) -> dict[str, Any]:
        try:
            text, arrays = wire.sizes(self._read(wire.HEAD.size))
            reply = wire.unpack(self._read(text), self._read(arrays))
            if not isinstance(reply, dict) or len(reply) != 1 or not set(reply) <= _REPLIES:
                raise wire.Malformed("a reply of an unknown form")
        except wire.Malformed as error:
            self._kill(Ended("garbled", f"sent back what cannot be read: {error}"))
            raise self._ended() from None
        finally:
            self._deadline = float("inf")
        return reply

    def _read(self, size: int) -> bytes:
        read = bytearray()
        while len(read) < size:
            part = os.read(self._replies, min(size - len(read), 2**20))
            if not part:
                raise self._ended()
            read += part
        return bytes(read)

    def _ended(self) -> Ended:
        """Why the process is gone: what it was killed for, or that it went by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._kill(Ended("ended", "ended its own process, or crashed it"))
        assert self._end is not None
        return self._end

    def _watch(self) -> None:
        """Keep the first of what is printed, and look at time and memory, as long as the process lives."""
        assert self._process.stdout is not None
        printed = self._process.stdout.fileno()
        members: list[psutil.Process] = []
        looked, whole = 0.0, 2 if self.boxed else 1  # bwrap and the worker
        with selectors.DefaultSelector() as selector:
            selector.register(printed, selectors.EVENT_READ)
            while selector.get_map() or self._process.poll() is None:
                if selector.select(_GLANCE):
                    part = os.read(printed, 2**16)
                    if not part:
                        selector.unregister(printed)
                    self._kept += part[: max(0, self.limits.output - len(self._kept))]
                now = time.monotonic()
                if now - looked < _GLANCE:
                    continue
                looked = now
                if now > self._deadline:
                    self._kill(Ended("too_slow", f"took longer than {self._allowed:.3g} s, and was stopped"))
                members = members if len(members) >= whole else family(self._process.pid)
                if sum(map(_own_memory, members)) > self.limits.memory:
                    most = self.limits.memory / _GIB
                    self._kill(Ended("too_much_memory", f"used more than {most:.3g} GiB of memory, and was stopped"))

    def _kill(self, why: Ended) -> None:
        self._end = self._end or why
        for member in reversed(family(self._process.pid)):
            with contextlib.suppress(psutil.Error):
                member.kill()

    @property
    def output(self) -> str:
        return self._kept.decode(errors="replace")

    def close(self) -> None:
        self._kill(Ended("closed", "is over"))
        self._process.wait()
        self._watcher.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        for handle in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                os.close(handle)
        if self._scratch:
            self._scratch.cleanup()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_REPLIES = {"value", "raised", "missing", "unsendable"}


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _own_memory(process: psutil.Process) -> int:
    """Bytes that are not a file's: those of mapped weights are shared and can be dropped."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        sizes = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "RssShmem", "VmSwap")))
        return sum(int(size.split()[0]) * 1024 for size in sizes.values())
    except (OSError, ValueError):
        pass
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
