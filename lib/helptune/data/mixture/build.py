"""From a recipe to a dataset: read and filter, drop repeats, keep evaluation prompts out, judge, balance, write.

Each pass leaves its results on a shelf beside the dataset, `.NAME.building`, under a name made from everything those
results depend on. So the same command goes on after any interruption, a changed weight does not repeat the filters, and
a changed input file is read again. The dataset itself appears when it is whole.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import batched, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune import __version__
from helptune.data.decontaminate import set_path
from helptune.data.filters import FILTERS
from helptune.data.mixture.chunks import CHUNK, Chunk
from helptune.data.mixture.decide import decontaminate, drop_duplicates
from helptune.data.mixture.funnel import funnel
from helptune.data.mixture.index import Index, gather
from helptune.data.mixture.judge import IN_WORKERS, judge, limits_of
from helptune.data.mixture.pool import Work, worker_processes
from helptune.data.mixture.recipe import Recipe, SourceSpec, fingerprint, to_json
from helptune.data.mixture.select import select
from helptune.data.mixture.sift import Rules, check_filters, sift
from helptune.data.mixture.writing import MANIFEST, Build, write_dataset
from helptune.data.sources.record import MALFORMED, Read
from helptune.data.sources.table import SOURCES, SourceInfo
from helptune.errors import DataError, Interrupted, SettingError
from helptune.files import file_sha256, require_vacant, write_folder, write_text
from helptune.lock import working_alone


def build(recipe: Recipe, home: Path, out: Path, workers: int = 2) -> dict[str, Any]:
    """Build or go on building the dataset of `recipe` in `out`; returns its manifest.

    Relative paths of the recipe are below `home`. Raises SettingError for a recipe that cannot be carried out, before
    anything is read; DataError for an input that cannot be read, too many malformed records, evaluation prompts among
    the data, or raters who do not agree; Interrupted after Ctrl-C.
    """
    check(recipe, home)
    inputs = {spec.key: fingerprints(spec, home) for spec in recipe.source}
    version = fingerprint(to_json(recipe), json.dumps(inputs), __version__)
    if (out / MANIFEST).exists():
        manifest = json.loads((out / MANIFEST).read_text())
        if manifest["version"] == version:
            return manifest
    require_vacant(out)
    work = out.with_name(f".{out.name}.building")
    work.mkdir(parents=True, exist_ok=True)
    try:
        with working_alone(work):
            index = _passes(recipe, home, work, inputs, workers)
            made = Build(recipe, version, inputs, limits_of(recipe.safety), index, select(index, recipe))
            write_folder(out, partial(write_dataset, made))
            shutil.rmtree(work)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; the same command goes on from here") from stop
    return json.loads((out / MANIFEST).read_text())


def check(recipe: Recipe, home: Path) -> None:
    """Raises SettingError for what can be known before a record is read."""
    check_filters(recipe.skip, recipe.filters)
    for spec in recipe.source:
        info = source_info(spec)
        if info.share_alike and not recipe.share_alike:
            raise SettingError(
                f"source {spec.key!r}: its licence, {info.license}, binds what is made from it; "
                "say share_alike = true to make a dataset under that licence"
            )
        if spec.path and not (home / spec.path).exists():
            raise SettingError(f"source {spec.key!r}: {home / spec.path} does not exist")
    for name in recipe.decontamination.sets:
        set_path(name, home)


def set_path(name: str, home: Path) -> Path:
    """The file of a hashed evaluation set: a shipped one by its name, another by its path."""
    if (shipped := EVALUATION_SETS / f"{name}.json").is_file():
        return shipped
    if (home / name).is_file():
        return home / name
    names = ", ".join(sorted(path.stem for path in EVALUATION_SETS.glob("*.json")))
    raise SettingError(f"decontamination.sets: {name!r} is no file, and not one of {names}")
