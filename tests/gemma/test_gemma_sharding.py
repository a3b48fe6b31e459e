"""Laws of the model on a mesh: the table says where every leaf lies, and no device ever holds more than its part."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from helptune.errors import SettingError
from helptune.gemma.base import block_shapes, init_base
from helptune.gemma.config import gemma3_270m, gemma_2b, gemma_7b, tiny
from helptune.gemma.model import REMAT, embed, forward
from helptune.gemma.quantize import PRECISIONS, Quantized
from helptune.gemma.sharding import (
    MESH_AXES,
    abstract_base,
    base_specs,
    check_mesh,
    constrain,
    make_mesh,
    shard_base,
)

VOCABULARY = ("tensor", "fsdp")


def mesh(*shape: int) -> AbstractMesh:
    """A mesh without devices: enough to say where things would lie."""
    return AbstractMesh(shape, MESH_AXES)


def bytes_of_a_device(base) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * jnp.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(base)
    )


@pytest.mark.parametrize("config", [tiny(1), tiny(3)], ids=["gemma1", "gemma3"])
def test_every_leaf_has_a_place(config):
    specs = base_specs(config, mesh(2, 2, 2))
    assert set(specs) == {"embedding", "final_norm", *block_shapes(config)}
    assert specs["q"] == specs["gate"] == P("fsdp", "tensor")
    assert specs["o"] == specs["down"] == P("tensor", "fsdp")
    assert specs["embedding"] == P(VOCABULARY, None)
    assert all(spec == P() for leaf, spec in specs.items() if leaf.endswith("norm"))


def test_key_heads_that_tensor_does_not_divide_stay_whole():
    config = gemma_2b()  # eight query heads share one key head
    assert base_specs(config, mesh(1, 1, 8))["k"] == P("fsdp", None)
    assert base_specs(config, mesh(1, 1, 1))["k"] == P("fsdp", "tensor")
    assert base_specs(gemma_7b(), mesh(1, 1, 8))["v"] == P("fsdp", "tensor")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_abstract_base_has_the_shapes_and_dtypes_of_a_real_one(precision):
    from helptune.gemma.quantize import quantize_base

    dtype = jnp.float32 if precision == "float32" else jnp.bfloat16
    base = init_base(tiny(3), jax.random.key(0), dtype)
    real = quantize_base(base, precision) if precision.startswith("int") else base
    described = abstract_base(tiny(3), precision)
    assert jax.tree.structure(described) == jax.tree.structure(real)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(described)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(real)
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 8, 1), (1, 1, 8), (1, 2, 4)])
def test_eight_devices_hold_an_eighth_of_gemma_7b_each(precision, shape):
    whole = bytes_of_a_device(abstract_base(gemma_7b(), precision, mesh(1, 1, 1)))
    part = bytes_of_a_device(abstract_base(gemma_7b(), precision, mesh(*shape)))
    assert part == pytest.approx(whole / 8, rel=1e-3)


def test_codes_and_scales_are_cut_as_the_matrix_they_stand_for():
    down = abstract_base(gemma_7b(), "int4", mesh(1, 2, 4)).blocks["down"]
    assert isinstance(down, Quantized)
    assert down.codes.sharding.spec == down.scales.sharding.spec == P(None, "tensor", "fsdp")


@pytest.mark.parametrize(
    ("config", "shape", "precision", "message"),
    [
        (gemma3_270m(), (1, 1, 8), "bfloat16", r"heads=4 cannot be cut in tensor=8.* 8,1,1"),
        (gemma_7b(), (1, 1, 32), "bfloat16", r"heads=16 cannot be cut in tensor=32"),
        (gemma_7b(), (1, 7, 1), "float32", r"width=3072 cannot be cut in fsdp=7.*do: 7,1,1"),
        (gemma3_270m(), (1, 8, 1), "int4", r"width=640 in groups of 32 cannot be cut in fsdp=8.*do: 2,4,1 or"),
    ],
)
def test_a_mesh_that_does_not_divide_the_model_is_an_error_that_names_shapes_that_do(config, shape, precision, message):
    with pytest.raises(SettingError, match=f"mesh {shape[0]},{shape[1]},{shape[2]} does not divide.*{message}"):
        check_mesh(config, shape, precision)


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 64, 1), (4, 16, 16)])
def test_gemma_7b_can_be_cut_in_all_usual_ways(shape):
    check_mesh(gemma_7b(), shape)


def test_a_mesh_uses_every_device_once():
    with pytest.raises(SettingError, match=r"mesh 2,2,2: .* must be the number of devices, 1; for example 1,1,1"):
        make_mesh((2, 2, 2), jax.devices()[:1])
    with pytest.raises(SettingError, match="mesh 1,1: "):
        make_mesh((1, 1), jax.devices()[:1])


def test_on_one_device_nothing_is_added_to_the_program(tiny_base):
    tokens = jnp.ones((1, 4), jnp.int32)
    alone = str(jax.make_jaxpr(embed)(tiny_base, tokens))
    with jax.set_mesh(make_mesh((1, 1, 1), jax.devices()[:1])):
        assert str(jax.make_jaxpr(embed)(tiny_base, tokens)) == alone
    assert "sharding_constraint" not in alone


@pytest.mark.parametrize("remat", REMAT[1:])
def test_recomputed_blocks_change_no_hidden_state(tiny_base, remat):
    tokens = jnp.arange(8, dtype=jnp.int32)[None]
    arguments = tiny_base, tokens, tokens, jnp.ones_like(tokens)
    kept, again = (jax.jit(forward, static_argnames="remat")(*arguments, remat=remat)[0] for remat in ("none", remat))
    assert jnp.array_equal(kept, again)


def on_eight_devices() -> None:
    """Run in a process of its own, that has eight devices."""
    config = replace(tiny(3, vocab=4_096), heads=8)
    base, tokens = init_base(config, jax.random.key(0)), jnp.arange(8 * 6, dtype=jnp.int32).reshape(8, 6) * 79
    expected = jax.device_get(embed(base, tokens))
    for shape in ((8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)):
        mesh = make_mesh(shape)
        cut = shard_base(base, mesh)
        for leaf, described in zip(
            jax.tree.leaves(cut), jax.tree.leaves(abstract_base(config, "float32", mesh)), strict=True
        ):
            assert leaf.sharding == described.sharding
        rows = jax.device_put(tokens, NamedSharding(mesh, P(("data", "fsdp"))))
        with jax.set_mesh(mesh):
            lookup = jax.jit(embed).lower(cut, rows).compile()
            found = lookup(cut, rows)
            assert jax.device_get(jax.jit(constrain)(jnp.ones(3))).sum() == 3
            one_row = jax.device_get(jax.jit(embed)(cut, tokens[:1]))  # what no axis divides is left whole
        assert (jax.device_get(found) == expected).all()
        assert (one_row == expected[:1]).all()
        assert found.sharding.shard_shape(found.shape) == (8 // (shape[0] * shape[1]), 6, config.width)
        table = config.vocab * config.width // (shape[1] * shape[2])
        for line in lookup.as_text().splitlines():
            if " all-gather(" in line:  # tokens travel to the table, never the table to the tokens
                assert "s32[" in line, line
        assert cut.embedding.addressable_shards[0].data.size == table
    print("all eight agree")


def test_on_eight_devices_words_are_looked_up_where_they_lie():
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    env["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    command = [sys.executable, "-c", "import test_gemma_sharding as laws; laws.on_eight_devices()"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "all eight agree" in result.stdout, result.stderr
