"""A run is a directory.

It holds `config.json`, `environment.json`, `metrics.jsonl`, `checkpoints/`, `adapter/`, `eval/` and `report.html`;
every number in the report can be traced to one of the other files.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from helptune.errors import RunError
from helptune.experiment.config import RunConfig, differences, read_config, to_json
from helptune.experiment.environment import environment
from helptune.files import write_text


def open_run(folder: Path, config: RunConfig) -> None:
    """Create the run's directory, or go on with it when it holds this very configuration.

    Only the mesh may be another one: a checkpoint written on one goes on on any. Raises RunError when anything else
    differs: two experiments never share a directory.
    """
    path = folder / "config.json"
    if path.exists():
        changed = differences(replace(read_config(path), mesh=config.mesh), config)
        if changed:
            raise RunError(
                f"{folder} already holds a run with another configuration ({'; '.join(changed)}). "
                "Choose another --run directory, or delete this one to start over"
            )
    elif folder.exists() and (not folder.is_dir() or any(not name.startswith(".") for name in os.listdir(folder))):
        raise RunError(f"{folder} is not empty and not a run (no config.json); choose another --run directory")
    try:
        write_text(path, to_json(config))
        if not (folder / "environment.json").exists():  # where it began: repeating the command changes no evidence
            write_text(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error})") from error


@contextlib.contextmanager
def working_alone(folder: Path) -> Iterator[None]:
    """Within the block no other process can enter it for the same run. Raises RunError when one is in it already.

    The lock is on the directory itself and goes with the process, however that ends.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process is working on {folder}: wait until it is done, or choose another --run directory"
            ) from error
        yield
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's directory. Raises RunError when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: missing or damaged ({error}); run `helptune finetune` with this --run again"
        ) from error
