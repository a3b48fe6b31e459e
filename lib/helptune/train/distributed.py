"""One run on many hosts: every process runs the same program on its part of the mesh, and process 0 writes.

The processes find each other by `jax.distributed` (https://docs.jax.dev/en/latest/multi_process.html). None can go on
alone: when a host dies the others end with a message, and the run goes on from its last checkpoint once all are started
again. The run's folder must be one that all hosts share.
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from helptune.errors import Interrupted, RunError, SettingError

ADDRESS, COUNT, ID, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JOB_COMPLETION_INDEX"
"""Where process 0 listens (host:port), how many processes there are, and which one this is: from 0. Kubernetes sets the
last of these in the pods of an indexed Job; it counts where JAX_PROCESS_ID is not set."""

_GONE = "a host of this run is gone; start all processes again to go on"
_last_words = _GONE


def place(environ: Mapping[str, str]) -> tuple[str, int, int] | None:
    """(coordinator address, processes, id of this one) from the environment, None for a run of one process.

    Raises SettingError naming the variable that is missing or does not fit.
    """
    if not any(name in environ for name in (ADDRESS, COUNT, ID)):
        return None
    own = ID if ID in environ else INDEX
    if missing := [name for name in (ADDRESS, COUNT, own) if not environ.get(name)]:
        names = " and ".join(f"{ID} (or {INDEX})" if name == INDEX else name for name in missing)
        raise SettingError(
            f"{names} not set: a run of several processes needs {ADDRESS}=host:port of process 0, {COUNT}, and {ID} "
            f"from 0 on; unset them all to run one process"
        )
    host, _, port = environ[ADDRESS].rpartition(":")
    if not host or not port.isdecimal():
        raise SettingError(f"{ADDRESS}={environ[ADDRESS]!r}: must be host:port of process 0, such as 10.0.0.1:1234")
    numbers = {name: environ[name] for name in (COUNT, own)}
    if wrong := [f"{name}={text!r}" for name, text in numbers.items() if not text.isdecimal()]:
        raise SettingError(f"{', '.join(wrong)}: must be a whole number")
    count, process = (int(text) for text in numbers.values())
    if process >= count:
        raise SettingError(f"{own}={process}: with {COUNT}={count} the processes are 0 to {count - 1}")
    return environ[ADDRESS], count, process


def initialize(join_seconds: int = 300, heartbeat_seconds: int = 30) -> None:
    """Join the other processes of the run that the environment describes; nothing to do for a run of one.

    Call it before anything is computed. A process that is silent for `heartbeat_seconds` counts as gone. Raises
    SettingError for an environment that does not fit, RunError when not all have joined after `join_seconds`.
    """
    if (found := place(os.environ)) is None:
        return
    address, count, process = found
    _end_with_last_words()
    say_if_a_host_dies(
        f"process {process} of {count} could not join the others at {address} within {join_seconds} s, or lost them: "
        f"start all {count} processes, with the same {ADDRESS} and {COUNT}"
    )
    try:
        jax.distributed.initialize(
            address, count, process, cluster_detection_method="deactivate", initialization_timeout=join_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds, shutdown_timeout_seconds=heartbeat_seconds,
        )  # fmt: skip
    except jax.errors.JaxRuntimeError as error:
        atexit.register(_leave_at_once)
        raise RunError(_last_words) from error
    say_if_a_host_dies(_GONE)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process: the same answer in all of them."""
    return bool(_of_all(flag).any())


def check_shared(name: str, value: int) -> None:
    """Raises RunError unless all processes read the same `value` from the run's folder."""
    if len(set(found := _of_all(value).tolist())) > 1:
        raise RunError(f"the hosts of this run find different {name}s ({found}): its folder must be one they all share")


def from_main(value: Callable[[], Any]) -> Any:
    """What `value` gives in process 0, which alone calls it, as JSON brings it to all processes."""
    if jax.process_count() == 1:
        return value()
    from jax.experimental.multihost_utils import broadcast_one_to_all

    text = np.frombuffer(json.dumps(value()).encode() if is_main() else b"", np.uint8)
    size = int(broadcast_one_to_all(np.asarray(len(text))))
    return json.loads(bytes(broadcast_one_to_all(np.resize(text, size) if is_main() else np.zeros(size, np.uint8))))


@contextlib.contextmanager
def all_hosts_needed() -> Iterator[None]:
    """Within the block, a failure here ends this process without waiting for the others, and a failure of another host
    is raised as RunError with the text given to `say_if_a_host_dies`.
    """
    try:
        yield
    except Interrupted:  # all processes stop together
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        atexit.register(_leave_at_once)
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise RunError(_last_words) from error
        raise


def say_if_a_host_dies(words: str) -> None:
    """What this process says last when another host is gone."""
    global _last_words
    _last_words = words


def _of_all(value: int | bool) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray([value]) if jax.process_count() == 1 else multihost_utils.process_allgather(np.asarray(value))


def _leave_at_once() -> None:
    # JAX would wait for processes that are gone, or that wait for this one.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _speak_and_end(_number):
    os.write(2, f"\nerror: {_last_words}\n".encode())
    os._exit(1)


def _end_with_last_words() -> None:
    """JAX notices the death of a host whatever this process is doing, and then aborts it from a thread of its own:
    neither an exception nor a Python signal handler would be reached, so the handler is the C library's.
    """
    ctypes.CDLL(None).signal(signal.SIGABRT, _speak_and_end)
