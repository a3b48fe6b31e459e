"""Tensors that lie in files, and how a part of a leaf is read from one: only the bytes that part needs.

Every format is opened as the same thing, a mapping from name to `Stored`; the table of `table.py` says which part of
which tensor a leaf is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from helptune.gemma.config import GemmaConfig
from helptune.gemma.table import LEAF_AXES, Row, groups, sizes

Box = tuple[slice, ...]
_BAND = 32


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet.

    `read` takes one slice an axis and returns that part; `sample` returns a few bytes that stand for the content.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Box], np.ndarray]
    sample: Callable[[], bytes]


Tensors = Mapping[str, Stored]


def read_leaf(tensor: Stored, row: Row, config: GemmaConfig, box: Box) -> np.ndarray:
    """The part `box` of one layer of a leaf, in the leaf's own axes (`LEAF_AXES`) and the file's dtype.

    A box that cuts through a head reads the whole head and drops the rest of it.
    """
    size, leaf_groups = sizes(config), groups(LEAF_AXES[row.leaf])
    span = {letter: (0, size[letter]) for group in leaf_groups for letter in group}
    cut = []
    for group, wanted in zip(leaf_groups, box, strict=True):
        inner = math.prod(size[letter] for letter in group[1:])
        start, stop, _ = wanted.indices(size[group[0]] * inner)
        low, high = start // inner, -(-stop // inner)
        span[group[0]] = (low, high)
        cut.append(slice(start - low * inner, stop - low * inner))

    stored_box, order = [], ""
    for group in groups(row.axes):
        if group.isdigit():
            stored_box.append(slice(int(group), int(group) + 1))
        else:
            inner = math.prod(size[letter] for letter in group[1:])
            stored_box.append(slice(span[group[0]][0] * inner, span[group[0]][1] * inner))
            order += group

    length = {letter: high - low for letter, (low, high) in span.items()}
    values = tensor.read(tuple(stored_box)).reshape([length[letter] for letter in order])
    values = values.transpose([order.index(letter) for group in leaf_groups for letter in group])
    values = values.reshape([math.prod(length[letter] for letter in group) for group in leaf_groups])[tuple(cut)]
    return _contiguous(values - np.asarray(row.plus, values.dtype) if row.plus else values)


def _contiguous(values: np.ndarray) -> np.ndarray:
    """A transposed matrix is copied in narrow bands, three times as fast as at once: both ends stay in the cache."""
    if values.flags.c_contiguous or values.ndim < 2:
        return np.ascontiguousarray(values)
    copy = np.empty(values.shape, values.dtype)
    for start in range(0, values.shape[1], _BAND):
        copy[:, start : start + _BAND] = values[:, start : start + _BAND]
    return copy
