"""Who works on a run or a build: a lock on its directory, which goes with the process that holds it, however that ends.

Only this machine sees it: a directory that several machines share is locked on each of them for itself (flock of a
directory on NFS). Of several processes of one run, process 0 alone takes it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from helptune.errors import RunError

_GLANCES = 5
"""A look at the lock takes it for microseconds; whoever wants to work tries so often, 20 ms apart."""


@contextlib.contextmanager
def working_alone(folder: Path) -> Iterator[None]:
    """Within the block no other process of this machine can enter it for the same directory.

    Raises RunError when one is in it already, and when the directory went while this one waited: whoever works in
    it may remove it, and a lock on what was removed keeps nobody out of what takes its place.
    """
    removed = RunError(f"{folder} was removed by another process that worked in it; run the command again")
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError as error:
        raise removed from error
    try:
        if not any(_lock(handle, fcntl.LOCK_EX, pause) for pause in (0, *[0.02] * _GLANCES)):
            raise RunError(
                f"another process is working on {folder}: wait until it is done, or choose another directory"
            )
        if not _is_at(handle, folder):
            raise removed
        yield
    finally:
        os.close(handle)


def is_worked_on(folder: Path) -> bool:
    """Whether a process of this machine is within `working_alone` for this directory. Watchers disturb nobody."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except FileNotFoundError:
        return False


def _lock(handle: int, kind: int, pause: float = 0.0) -> bool:
    time.sleep(pause)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
