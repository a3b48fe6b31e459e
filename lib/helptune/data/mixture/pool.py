"""Work on chunks in several processes, in bounded memory, with nothing left running whatever happens to the parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from helptune.errors import DataError

Work = Callable[[Callable, Iterable[tuple]], Iterator]
"""(function, argument tuples) -> its results, as they come."""


@contextmanager
def worker_processes(count: int) -> Iterator[Work]:
    """A function that maps over `count` processes, taking arguments only as fast as they are worked off.

    Results come in any order. Raises DataError when a process is killed, which is what a machine without memory does.
    """
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_end_with_the_parent)

    def each(function: Callable, arguments: Iterable[tuple]) -> Iterator:
        waiting: set[Future] = set()
        try:
            for given in arguments:
                waiting.add(pool.submit(function, *given))
                if len(waiting) >= 2 * count:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in waiting)
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed, most likely for lack of memory: give fewer --workers; "
                "the same command goes on where it stopped"
            ) from error

    try:
        yield each
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_the_parent() -> None:
    """A worker waits for work from a parent that was killed, forever; so a thread waits for the parent's end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
