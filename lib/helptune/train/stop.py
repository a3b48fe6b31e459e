"""How a run is asked to stop: Ctrl-C or SIGTERM, heeded after the current step."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
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
