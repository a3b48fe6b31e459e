"""How a run is asked to stop: Ctrl-C, SIGTERM, or a file named `stop` in its directory, heeded after the current step.

The file is for whoever cannot send a signal: a button in a notebook, another terminal on the machine of the run.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

STOP = "stop"


def request_stop(run: Path) -> None:
    """Ask the run that works in this directory to stop after its current step, with a checkpoint."""
    (run / STOP).touch()


def stop_requested(run: Path) -> bool:
    return (run / STOP).exists()


def withdraw_stop(run: Path) -> None:
    """Once it is heeded; and when a process takes the lock of the run, which an older request does not mean."""
    (run / STOP).unlink(missing_ok=True)


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Within the block, Ctrl-C and SIGTERM set the event instead of ending the process; a second Ctrl-C ends it."""
    asked, old = threading.Event(), {}

    def ask(number, frame):
        if asked.is_set():
            signal.default_int_handler(number, frame)
        asked.set()
        print("\nstopping after this step; once more to stop at once", file=sys.stderr, flush=True)

    if threading.current_thread() is threading.main_thread():
        old = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
