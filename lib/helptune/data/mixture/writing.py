"""The dataset as it is handed over: conversations, what was left out and why, the numbers, and where all came from."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune import __version__
from helptune.data.conversation import DIFFICULTIES
from helptune.data.mixture.card import HELDOUT, TRAIN, write_card
from helptune.data.mixture.funnel import Funnel, table
from helptune.data.mixture.index import Index, conversations
from helptune.data.mixture.recipe import Recipe
from helptune.errors import DataError
from helptune.files import file_sha256, write_text
from helptune.plots.mixture import funnel
from helptune.plots.style import blank

MANIFEST = "manifest.json"
DROPPED, REJECTED, PICTURE = "dropped.jsonl", "rejected.jsonl", "funnel.png"
_FILES = (TRAIN, HELDOUT, DROPPED, REJECTED)


@dataclass(frozen=True)
class Build:
    """Everything that was decided. `train` and `heldout` are rows of the index, in the order of the files."""

    recipe: Recipe
    version: str
    inputs: dict[str, dict[str, str]]
    classifier: dict[str, Any]
    agreement: dict[str, Any]
    index: Index
    funnel: Funnel
    train: Sequence[int]
    heldout: Sequence[int]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises DataError for a folder that is no dataset."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not {"name", "version", "files", "funnel", "stages"} <= manifest.keys():
            raise ValueError(f"{MANIFEST} is of something else")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: not a dataset of `helptune data build` ({error})") from error
    return manifest


def require_as_built(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises DataError naming the first file of a finished dataset that is not what the build wrote."""
    for name, facts in manifest["files"].items():
        if not (folder / name).is_file() or file_sha256(folder / name) != facts["sha256"]:
            raise DataError(
                f"{folder / name}: is not what was built; remove {folder}, and the same command builds it again"
            )


def write_dataset(build: Build, folder: Path) -> None:
    """Fill `folder`. Nothing in it depends on when or where it was made."""
    rows = {TRAIN: build.train, HELDOUT: build.heldout}
    for name, chosen in rows.items():
        _write(folder / name, (json.dumps(r) for r in _judged(build.index, chosen)), len(chosen))
    _write(folder / DROPPED, _dropped(build.index), None)
    _write(folder / REJECTED, _rejected(build.index), None)
    stages = table(build.funnel)
    manifest = {
        "name": build.recipe.name,
        "version": build.version,
        "helptune": __version__,
        "recipe": asdict(build.recipe),
        "inputs": build.inputs,
        "files": {name: _facts(folder / name) for name in _FILES},
        "funnel": asdict(build.funnel),
        "stages": stages,
        "safety": build.classifier,
        "agreement": build.agreement,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    write_card(folder, manifest)
    picture = funnel(blank(7.0, 3.2), stages).get_figure(root=True)
    assert picture is not None
    picture.savefig(folder / PICTURE, dpi=150, metadata={"Software": None})


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"rows": sum(1 for _ in file), "sha256": file_sha256(path), "bytes": path.stat().st_size}


def _judged(index: Index, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Kept records with the last estimate of difficulty, and the classifier's probabilities in their `meta`."""
    for row, record in zip(rows, conversations(index, rows), strict=True):
        record["meta"].pop("p_unsafe", None)  # another classifier's, in a record that comes from another build
        if row in index.p_unsafe:
            record["meta"]["p_unsafe"] = index.p_unsafe[row]
        record["difficulty"] = DIFFICULTIES[index.columns["difficulty"][row]]
        yield record


def _dropped(index: Index) -> Iterator[str]:
    """First what the filters dropped, chunk by chunk, then what the later passes dropped, in the order of the index."""
    for chunk in index.chunks:
        with chunk.file("dropped.jsonl").open(encoding="utf-8") as lines:
            yield from (line.rstrip("\n") for line in lines)
    rows = sorted(index.drops)
    for row, record in zip(rows, _judged(index, rows), strict=True):
        yield json.dumps({**asdict(index.drops[row]), "conversation": record})


def _rejected(index: Index) -> Iterator[str]:
    for chunk in index.chunks:
        for record in chunk.records("rejected.jsonl"):
            yield json.dumps({"source": chunk.key, **record})


def _write(path: Path, lines: Iterable[str], total: int | None) -> None:
    with path.open("w", encoding="utf-8") as file:
        for line in tqdm(lines, desc=path.name, total=total, unit=" records", mininterval=1):
            file.write(line + "\n")
