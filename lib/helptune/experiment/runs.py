"""A run is a directory.

It holds `config.json`, `environment.json`, `metrics.jsonl`, `checkpoints/`, `adapter/`, `eval/` and `report.html`;
every number in the report can be traced to one of the other files.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from helptune.errors import RunError
from helptune.experiment.config import RunConfig, differences, read_config, to_json
from helptune.experiment.environment import environment
from helptune.experiment.watch import LOG
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
    elif folder.exists() and (not folder.is_dir() or any(_is_foreign(name) for name in os.listdir(folder))):
        raise RunError(f"{folder} is not empty and not a run (no config.json); choose another --run directory")
    try:
        write_text(path, to_json(config))
        if not (folder / "environment.json").exists():  # where it began: repeating the command changes no evidence
            write_text(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's directory. Raises RunError when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: missing or damaged ({error}); run `helptune finetune` with this --run again"
        ) from error


def _is_foreign(name: str) -> bool:
    """Not hidden, and not what a run may hold before its configuration: what its process says."""
    return not name.startswith(".") and name != LOG
