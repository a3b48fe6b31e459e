"""From tensors in files to a `Base` in its place: checked first, then read part by part onto the devices.

As in jax-ml's `jax-llm-examples`, every leaf knows its shape and its sharding before a byte is read. So each process
reads only the parts that its own devices hold, and quantizes them as they are read: the host never holds more than its
part of one leaf.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from helptune.errors import WeightsError
from helptune.gemma.base import SITES, Base, block_shapes
from helptune.gemma.config import PUBLISHED, GemmaConfig
from helptune.gemma.quantize import BITS, dtype_of, quantize
from helptune.gemma.sharding import base_specs
from helptune.gemma.stored import Box, Stored, Tensors, read_leaf
from helptune.gemma.table import LEAF_AXES, Row, Table, groups, names, rows_for, stored_shapes

_READABLE = ("bfloat16", "float16", "float32")


def check(tensors: Tensors, table: Table, config: GemmaConfig, where: object) -> None:
    """Raises one WeightsError that lists what is missing, extra, misshapen or of a dtype that is no float.

    The output head is the embedding again, so a file with an `lm_head.weight` of its own holds another model.
    """
    needed = stored_shapes(table, config)
    shared = [name for name in needed if name in tensors]
    faults = {
        "missing": [name for name in needed if name not in tensors],
        "extra": [name for name in tensors if name not in needed],
        "misshapen": [
            f"{name} {tensors[name].shape}, expected {' or '.join(map(str, sorted(needed[name])))}"
            for name in shared
            if tensors[name].shape not in needed[name]
        ],
        "of another dtype": [
            f"{name} {tensors[name].dtype}, expected {', '.join(_READABLE)}"
            for name in shared
            if tensors[name].dtype not in _READABLE
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{len(found)} {kind}: {_first(found)}" for kind, found in faults.items() if found)
        looks_like = _looks_like(tensors, table, config)
        raise WeightsError(f"{where}: not the weights of {config.name}{looks_like}. Tensors {listed}")


def _first(found: list[str]) -> str:
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _looks_like(tensors: Tensors, table: Table, asked: GemmaConfig) -> str:
    """The published model whose tensors these are, or the other generation, as the end of a sentence."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for config in PUBLISHED:
        needed = stored_shapes(table, config)
        if set(needed) == set(shapes) and all(shapes[name] in needed[name] for name in needed):
            return f"; these are those of {config.name}: name that model instead"
    kinds = {re.sub(r"(?<=[._])\d+(?=[./])", "{i}", name) for name in tensors}
    for config in PUBLISHED:
        if config.post_norms != asked.post_norms and kinds == {row.name for row in rows_for(table, config).values()}:
            return f"; by their names these are those of a Gemma {3 if config.post_norms else 1}"
    return ""


def load(tensors: Tensors, table: Table, config: GemmaConfig, precision: str, mesh: Mesh | None = None) -> Base:
    """The checked tensors as a Base: on the first device, or on `mesh` as `base_specs` cuts every leaf.

    With precision int8 or int4 the seven sites are quantized layer by layer from the values in the file, the rest is
    bfloat16. The mesh is one that `check_mesh` passes. Raises SettingError when a matrix has no whole groups.
    """
    dtype = jnp.dtype(dtype_of(precision))
    rows, blocks = rows_for(table, config), block_shapes(config)
    shapes = {"embedding": (config.vocab, config.width), "final_norm": (config.width,)}
    shapes |= {name: (config.layers, *shape) for name, shape in blocks.items()}
    shardings = _shardings(config, mesh)
    quantized = SITES if precision in BITS else ()

    def leaf(name: str) -> Any:
        def convert(values: np.ndarray) -> Any:
            return quantize(values, BITS[precision]) if name in quantized else values.astype(dtype, copy=False)

        layers = [tensors[stored] for stored in names(rows[name], config)]
        return _place(rows[name], layers, config, shapes[name], shardings[name], convert)

    return Base(leaf("embedding"), {name: leaf(name) for name in blocks}, leaf("final_norm"), config)


def _shardings(config: GemmaConfig, mesh: Mesh | None) -> dict[str, Sharding]:
    """Leaf -> where it goes, L included."""
    if mesh is None:
        whole = SingleDeviceSharding(jax.local_devices()[0])
        return dict.fromkeys(("embedding", "final_norm", *block_shapes(config)), whole)
    specs = {
        name: (None, *spec) if name in block_shapes(config) else spec for name, spec in base_specs(config, mesh).items()
    }
    return {name: NamedSharding(mesh, PartitionSpec(*spec)) for name, spec in specs.items()}


def _place(
    row: Row,
    layers: Sequence[Stored],
    config: GemmaConfig,
    shape: tuple[int, ...],
    sharding: Sharding,
    convert: Callable[[np.ndarray], Any],
) -> Any:
    """One leaf of the given shape, `convert` applied to each layer of each part that this process needs.

    `convert` may make several arrays of one matrix (codes and scales); each is cut as the matrix is.
    """
    boxes: Mapping[jax.Device, Any] = sharding.addressable_devices_indices_map(shape)
    distinct = list(dict.fromkeys(boxes.values()))
    inner = slice(len(shape) - len(groups(LEAF_AXES[row.leaf])), None)  # without L

    def parts(box: Box) -> Iterator[Any]:
        return (convert(read_leaf(layer, row, config, box[inner])) for layer in layers)

    # Layers outside, parts inside: the parts of one layer come out of the same decoded piece of the file.
    stacks = _stack(zip(*map(parts, distinct), strict=True), len(layers))
    if inner.start == 0:
        stacks = jax.tree.map(lambda stack: stack[0], stacks)

    def assemble(*local: np.ndarray) -> jax.Array:
        pieces = [jax.device_put(local[distinct.index(box)], device) for device, box in boxes.items()]
        counts = [whole // part for whole, part in zip(shape, sharding.shard_shape(shape), strict=True)]
        whole_shape = tuple(n * count for n, count in zip(local[0].shape, counts, strict=True))
        return jax.make_array_from_single_device_arrays(whole_shape, sharding, pieces)

    return jax.block_until_ready(jax.tree.map(assemble, *stacks))


def _stack(layers: Iterator[Any], count: int) -> Any:
    """`count` trees of arrays as one tree with a leading axis, filled one after the other."""
    stack = None
    for i, layer in enumerate(layers):
        if stack is None:
            stack = jax.tree.map(lambda part: np.empty((count, *part.shape), part.dtype), layer)
        for into, part in zip(jax.tree.leaves(stack), jax.tree.leaves(layer), strict=True):
            into[i] = part
    return stack
