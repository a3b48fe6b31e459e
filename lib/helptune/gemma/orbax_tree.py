"""An Orbax checkpoint, as the Gemma models are published on Kaggle and saved by Flax programs.

It is read with TensorStore, the layer below Orbax: a key-value store, which is a folder of files or one packed by
OCDBT, and in it a Zarr array for each leaf. So the flat trees of Kaggle, the nested ones of the `gemma` package and
those of 2024 without `_METADATA` are all read the same way, any slice alone.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from helptune.errors import WeightsError
from helptune.gemma.stored import Box, Stored

_MARKS = ("manifest.ocdbt", "_METADATA", "checkpoint")
_DRIVERS = {"/.zarray": "zarr", "/zarr.json": "zarr3"}
_CHUNK_CACHE = 2**29
"""Bytes of decoded chunks kept: Kaggle's arrays are one chunk each, of which the devices of a host read parts."""
_SAMPLE = 256


def find_orbax(folder: Path) -> Path | None:
    """The tree: `folder`, or the one folder in it that is a tree (Kaggle puts it beside `tokenizer.model`), or None.

    Raises WeightsError when there are several to choose from.
    """
    trees = [path for path in (folder, *sorted(folder.iterdir())) if any((path / mark).is_file() for mark in _MARKS)]
    if folder in trees or len(trees) == 1:
        return trees[0]
    if trees:
        raise WeightsError(f"{folder}: holds several checkpoints; give one of {', '.join(p.name for p in trees)}")
    return None


def open_orbax(folder: Path) -> dict[str, Stored]:
    """Every array of the tree by its name in the ORBAX table; of the values only the last byte of each part is read.

    Raises WeightsError for a folder that cannot be read, holds no arrays, or has a part missing or cut short. (In a
    tree that is not packed, a part cut short is found when it is read.)
    """
    base = f"file://{folder.resolve()}/"
    packed = (folder / "manifest.ocdbt").is_file()
    context = ts.Context({"cache_pool": {"total_bytes_limit": _CHUNK_CACHE}})
    with _named(str(folder)):
        files = ts.KvStore.open({"driver": "ocdbt", "base": base} if packed else base).result()
        keys = [key.decode() for key in files.list().result()]
        drivers = {
            key.removesuffix(end): driver for end, driver in _DRIVERS.items() for key in keys if key.endswith(end)
        }
        stores = {name: files / f"{name}/" for name in drivers}
        specs = {name: {"driver": drivers[name], "kvstore": stores[name].spec().to_json()} for name in drivers}
        opening = {name: ts.open(spec, read=True, open=True, context=context) for name, spec in specs.items()}
        arrays = {name: array.result() for name, array in opening.items()}
    if not arrays:
        raise WeightsError(f"{folder}: holds no Zarr arrays, so it is no Orbax checkpoint this program reads")
    return {_table_name(name): _stored(f"{folder}: {name}", array, stores[name]) for name, array in arrays.items()}


def _table_name(name: str) -> str:
    """Kaggle's `transformer/layer_0/attn/q_einsum.w` and the nested `layer_0.attn.q_einsum.w` are the same leaf."""
    return name.replace(".", "/").removeprefix("params/").removeprefix("transformer/").removesuffix("/w")


def _stored(where: str, array: ts.TensorStore, store: ts.KvStore) -> Stored:
    with _named(where):
        parts = sorted(key for key in store.list().result() if not key.startswith((b".z", b"zarr.json")))
        chunk: Any = array.chunk_layout.write_chunk.shape
        needed = math.prod([-(-length // step) for length, step in zip(array.shape, chunk, strict=True)])
        if len(parts) != needed:
            raise ValueError(f"{len(parts)} of its {needed} parts are there")
        last_bytes = [store.read(part, byte_range=slice(-1, None)) for part in parts]
        if not all(last_byte.result().value for last_byte in last_bytes):
            raise ValueError("the file of its values is gone")

    def read(box: Box) -> np.ndarray:
        with _named(where):
            return array[box].read().result()

    def sample() -> bytes:
        with _named(where):
            return b"".join(_head(store, part) for part in parts)

    return Stored(tuple(array.shape), array.dtype.name, read, sample)


def _head(store: ts.KvStore, part: bytes) -> bytes:
    try:
        return store.read(part, byte_range=slice(0, _SAMPLE)).result().value
    except ValueError:  # shorter than that
        return store.read(part).result().value


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """TensorStore reports every damage as ValueError; here it gets the name of the place and the advice."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise WeightsError(f"{where}: missing parts or damaged ({error}); fetch the checkpoint again") from error
