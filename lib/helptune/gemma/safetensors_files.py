"""A Hugging Face folder: one `model.safetensors`, or shards and the index that says which tensor lies in which.

The format is a JSON header with names, dtypes, shapes and offsets, then the bytes: any slice can be read alone.
"""

import json
from pathlib import Path

import numpy as np
import safetensors

from helptune.errors import WeightsError
from helptune.gemma.stored import Box, Stored

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def is_safetensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or (folder / INDEX).is_file()


def open_safetensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder by name; nothing but headers is read.

    Raises WeightsError for a missing or damaged index, a shard that is missing or shorter than its header says, and a
    tensor that is not in the shard the index names.
    """
    if (folder / SINGLE).is_file():
        return _open_file(folder / SINGLE)
    places = _read_index(folder / INDEX)
    shards = sorted(set(places.values()))
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        raise WeightsError(
            f"{folder}: {len(missing)} of {len(shards)} shards named in {INDEX} are missing: "
            f"{', '.join(missing[:4])}; fetch them again"
        )
    tensors: dict[str, Stored] = {}
    for shard in shards:
        found, named = _open_file(folder / shard), {name for name, place in places.items() if place == shard}
        if set(found) != named:
            odd = sorted(set(found) ^ named)
            raise WeightsError(f"{folder / shard}: {', '.join(odd[:4])}: {INDEX} and the shard do not agree")
        tensors |= found
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(shard) for name, shard in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: missing or not an index of shards ({error!r}); fetch it again") from error


def _open_file(path: Path) -> dict[str, Stored]:
    try:
        file = safetensors.safe_open(path, framework="np")
        return {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (OSError, safetensors.SafetensorError) as error:
        with path.open("rb") as start:
            if start.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise WeightsError(f"{path}: only a Git LFS pointer to the weights; run git lfs pull") from error
        size = path.stat().st_size
        raise WeightsError(
            f"{path}: truncated or damaged, {size:,} bytes are there ({error}); fetch it again"
        ) from error


def _stored(file, name: str) -> Stored:
    view = file.get_slice(name)
    shape, dtype = tuple(view.get_shape()), view.get_dtype()

    def read(box: Box) -> np.ndarray:
        return view[box]

    def sample() -> bytes:
        rows = (0, shape[0] // 2, shape[0] - 1) if len(shape) > 1 else (slice(None),)
        return b"".join(np.asarray(view[row]).tobytes() for row in rows)

    return Stored(shape, _DTYPES.get(dtype, dtype), read, sample)
