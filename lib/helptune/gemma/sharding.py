"""How the model lies on many devices: one mesh of three axes, and one table from shape letter to mesh axis.

Rows of a batch are cut over `data` and `fsdp`; the frozen weights over `fsdp` (fully sharded data parallelism, ZeRO-3,
Rajbhandari et al. 2020, arXiv:1910.02054) and `tensor` (Shoeybi et al. 2019, arXiv:1909.08053). XLA inserts the
communication from these placements (GSPMD, Xu et al. 2021, arXiv:2105.04663); `constrain` states the few it must keep.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from helptune.errors import SettingError
from helptune.gemma.base import Base, block_shapes
from helptune.gemma.config import GemmaConfig
from helptune.gemma.quantize import BITS, GROUP, check_precision, dtype_of, quantize_base
from helptune.shapes import AnyArray, Array

MESH_AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")
"""The axes that cut the rows of a batch."""
VOCABULARY = ("tensor", "fsdp")
"""The axes that cut the words of the embedding. Its width stays whole: the loss then moves positions to the words, some
megabytes, and never words to the positions, which would be the whole embedding for each chunk."""

AXIS_OF = {"D": "fsdp", "Q": "tensor", "KV": "tensor", "M": "tensor", "V": VOCABULARY, "-": None}
"""Shape letter -> the mesh axes that cut it. Q and KV are cut between heads; "-" is left whole."""
LETTERS = {
    "embedding": "V -",
    "q": "D Q", "k": "D KV", "v": "D KV", "o": "Q D",
    "gate": "D M", "up": "D M", "down": "M D",
}  # fmt: skip
"""Leaf -> the letters of its shape. Leaves that are not here, the norms, are left whole."""


def make_mesh(shape: Sequence[int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh (data, fsdp, tensor) of `devices`, by default all there are, in all processes of the run.

    Raises SettingError unless the shape uses every device exactly once.
    """
    devices = jax.devices() if devices is None else devices
    if len(shape) != len(MESH_AXES) or math.prod(shape) != len(devices):
        raise SettingError(
            f"mesh {_text(shape)}: data x fsdp x tensor must be the number of devices, {len(devices)}; "
            f"for example {_text((1, len(devices), 1))}"
        )
    return jax.make_mesh(tuple(shape), MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def check_mesh(config: GemmaConfig, shape: Sequence[int], precision: str = "bfloat16") -> None:
    """Raises SettingError when a mesh (data, fsdp, tensor) does not divide the model: what, and which shapes would.

    A quantized matrix is cut between the groups that share a scale.
    """
    _check(config, shape, GROUP if precision in BITS else 1)


def base_specs(config: GemmaConfig, mesh: Mesh | AbstractMesh) -> dict[str, P]:
    """Leaf -> how its shape is cut, for every leaf of `block_shapes` (without L), "embedding" and "final_norm".

    Key and value heads are left whole when `tensor` does not divide them. The codes and scales of a quantized leaf are
    cut as the matrix they stand for.
    """
    axis_of = AXIS_OF | ({"KV": None} if config.kv_heads % mesh.shape["tensor"] else {})
    leaves = ("embedding", "final_norm", *block_shapes(config))
    return {leaf: P(*(axis_of[letter] for letter in LETTERS.get(leaf, "").split())) for leaf in leaves}


def base_shardings(base: Base, mesh: Mesh | AbstractMesh) -> Base:
    """The sharding of every array of `base`, in its structure."""
    specs = base_specs(base.config, mesh)

    def place(leaf: Any, *spec: Any) -> Any:
        return jax.tree.map(lambda _: NamedSharding(mesh, P(*spec)), leaf)

    blocks = {name: place(leaf, None, *specs[name]) for name, leaf in base.blocks.items()}
    embedding, final_norm = place(base.embedding, *specs["embedding"]), place(base.final_norm)
    return Base(embedding, blocks, final_norm, base.config)  # type: ignore[arg-type]


def shard_base(base: Base, mesh: Mesh) -> Base:
    """`base`, held whole by every process, cut over the mesh. Raises SettingError when the mesh does not divide it."""
    _check(base.config, tuple(mesh.shape.values()), getattr(base.blocks["q"], "group", 1))
    base = replace(base, apart=None)  # a layout for one device
    return jax.tree.map(put, base, base_shardings(base, mesh))


def put(leaf: AnyArray, sharding: NamedSharding) -> Array:
    """An array that every process holds whole, cut over the devices of all of them."""
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every process holds whole, whole on every device."""
    return jax.tree.map(lambda leaf: put(leaf, NamedSharding(mesh, P())), tree)


def place_rows(batch: Any, mesh: Mesh) -> Any:
    """Arrays [..., B, T] that every process holds whole, their rows cut over the mesh."""
    return jax.tree.map(lambda x: put(x, NamedSharding(mesh, P(*(None,) * (x.ndim - 2), ROWS))), batch)


def on_mesh(tree: Any) -> Any:
    """Arrays [..., B, T], their rows cut over the mesh that `jax.set_mesh` has set, if any."""
    mesh = jax.sharding.get_mesh()
    return tree if mesh.empty else place_rows(tree, mesh)


def row_parts() -> int:
    """In how many parts the mesh that `jax.set_mesh` has set cuts the rows of a batch."""
    mesh = jax.sharding.get_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in ROWS)


def abstract_base(config: GemmaConfig, precision: str, mesh: Mesh | AbstractMesh | None = None) -> Base:
    """Shapes, dtypes and, with a mesh, shardings of a base of that precision: to compile for it and to load it."""
    check_precision(precision)
    dtype = dtype_of(precision)

    def struct(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    blocks = {name: struct(config.layers, *shape) for name, shape in block_shapes(config).items()}
    whole = Base(struct(config.vocab, config.width), blocks, struct(config.width), config)
    base = whole if precision == dtype else jax.eval_shape(lambda b: quantize_base(b, precision), whole)
    if mesh is None:
        return base
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        base,
        base_shardings(base, mesh),
    )


def current_mesh() -> Any:
    """The mesh set by `jax.set_mesh` around this code, None without one or when it has a single device."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or mesh.size == 1 else mesh


def constrain(x: Array, *spec: Any) -> Array:
    """`x` cut so over the current mesh; unchanged without one. An axis that does not divide its part is left whole."""
    mesh = current_mesh()
    if mesh is None:
        return x
    fitting = [axes if n % _size(mesh, axes) == 0 else None for n, axes in zip(x.shape, spec, strict=False)]
    return jax.lax.with_sharding_constraint(x, P(*fitting))


def _size(mesh: Any, axes: str | tuple[str, ...] | None) -> int:
    names = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[name] for name in names)


def _check(config: GemmaConfig, shape: Sequence[int], group: int) -> None:
    if problems := _indivisible(config, shape, group):
        count = math.prod(shape)
        fitting = [_text(s) for s in mesh_shapes(count) if not _indivisible(config, s, group)]
        raise SettingError(
            f"mesh {_text(shape)} does not divide {config.name}: {'; '.join(problems)}. "
            f"With {count} devices these do: {' or '.join(fitting)}"
        )


def _indivisible(config: GemmaConfig, shape: Sequence[int], group: int) -> list[str]:
    _, fsdp, tensor = shape
    groups = f" in groups of {group}" if group > 1 else ""
    parts = [
        (f"width={config.width}{groups}", config.width, f"fsdp={fsdp}", fsdp * group),
        (f"heads={config.heads}", config.heads, f"tensor={tensor}", tensor),
        (f"q_width={config.q_width}{groups}", config.q_width, f"tensor={tensor}", tensor * group),
        (f"mlp_width={config.mlp_width}{groups}", config.mlp_width, f"tensor={tensor}", tensor * group),
        (f"vocab={config.vocab}", config.vocab, f"fsdp x tensor={fsdp * tensor}", fsdp * tensor),
    ]
    return [f"{what} cannot be cut in {axis}" for what, size, axis, unit in parts if size % unit]


def mesh_shapes(count: int) -> list[tuple[int, int, int]]:
    """All meshes of `count` devices, fsdp as large as possible first."""
    divisors = [n for n in range(count, 0, -1) if count % n == 0]
    return [(count // (f * t), f, t) for f in divisors for t in reversed(divisors) if count % (f * t) == 0]


def _text(shape: Sequence[int]) -> str:
    return ",".join(str(size) for size in shape)
