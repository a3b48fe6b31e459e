"""A run is a directory.

It holds `config.json`, `environment.json`, `metrics.jsonl`, `checkpoints/`, `adapter/`, `eval/` and `report.html`;
every number in the report can be traced to one of the other files.
"""

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from helptune.errors import RunError
from helptune.experiment.config import RunConfig, differences, read_config, to_json

PACKAGES = ("helptune", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece", "gguf")


def open_run(folder: Path, config: RunConfig) -> None:
    """Create the run's directory, or go on with it when it holds this very configuration.

    Raises RunError when it holds another one: two experiments never share a directory.
    """
    path = folder / "config.json"
    if path.exists():
        changed = differences(read_config(path), config)
        if changed:
            raise RunError(
                f"{folder} already holds a run with another configuration ({'; '.join(changed)}). "
                "Choose another --run directory, or delete this one to start over"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty and not a run (no config.json); choose another --run directory")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(config))
        (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error})") from error


def environment() -> dict[str, Any]:
    """Versions and machine, for the report: what a reader needs to repeat the run."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's directory. Raises RunError when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: missing or damaged ({error}); run `helptune finetune` with this --run again"
        ) from error
