"""The table of names and shapes against the published models, and reading parts of a leaf through it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from gemma_layouts import MODELS
from hypothesis import given
from hypothesis import strategies as st

from helptune.errors import SettingError
from helptune.gemma.base import block_shapes
from helptune.gemma.config import gemma3_1b, gemma3_270m, gemma_2b, gemma_7b, named
from helptune.gemma.stored import Stored, read_leaf
from helptune.gemma.table import GGUF, HUGGING_FACE, LEAF_AXES, ORBAX, groups, rows_for, sizes, stored_shapes

PUBLISHED = [gemma_2b(), gemma_7b(), gemma3_270m(), gemma3_1b()]
TABLES = {"Hugging Face": HUGGING_FACE, "Orbax": ORBAX, "GGUF": GGUF}
CASES = [(table, config, leaf) for table in TABLES for config in MODELS for leaf in rows_for(TABLES[table], config)]


def values_in_files(config):
    """Largest count of values the tensors of each format may hold."""
    return {
        name: sum(max(math.prod(shape) for shape in allowed) for allowed in stored_shapes(table, config).values())
        for name, table in TABLES.items()
    }


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda config: config.name)
def test_every_format_holds_exactly_the_parameters_of_the_model(config):
    counts = values_in_files(config)
    padding = 0 if config.post_norms else 128 * config.width
    assert counts == {
        "Hugging Face": config.parameters, "GGUF": config.parameters, "Orbax": config.parameters + padding,
    }  # fmt: skip


def test_gemma_7b_holds_8_537_680_896_parameters_in_254_tensors():
    assert values_in_files(gemma_7b())["Hugging Face"] == 8_537_680_896
    assert len(stored_shapes(HUGGING_FACE, gemma_7b())) == 254


@pytest.mark.parametrize(
    ("table", "config", "name", "shape"),
    [
        ("Orbax", gemma_7b(), "embedder/input_embedding", (256_128, 3072)),
        ("Orbax", gemma_7b(), "layer_27/attn/qkv_einsum", (3, 16, 3072, 256)),
        ("Orbax", gemma_7b(), "layer_0/attn/attn_vec_einsum", (16, 256, 3072)),
        ("Orbax", gemma_7b(), "layer_0/mlp/gating_einsum", (2, 3072, 24_576)),
        ("Orbax", gemma_7b(), "layer_0/mlp/linear", (24_576, 3072)),
        ("Orbax", gemma_2b(), "layer_17/attn/q_einsum", (8, 2048, 256)),
        ("Orbax", gemma_2b(), "layer_17/attn/kv_einsum", (2, 1, 2048, 256)),
        ("Orbax", gemma3_1b(), "layer_25/mlp/gating_einsum", (2, 6912, 1152)),
        ("Orbax", gemma3_1b(), "embedder/input_embedding", (262_144, 1152)),
        ("Hugging Face", gemma_7b(), "model.embed_tokens.weight", (256_000, 3072)),
        ("Hugging Face", gemma_7b(), "model.layers.27.self_attn.q_proj.weight", (4096, 3072)),
        ("Hugging Face", gemma_7b(), "model.layers.27.self_attn.o_proj.weight", (3072, 4096)),
        ("Hugging Face", gemma3_270m(), "model.layers.17.mlp.down_proj.weight", (640, 2048)),
        ("GGUF", gemma3_270m(), "blk.17.attn_k_norm.weight", (256,)),
    ],
)
def test_a_published_tensor_has_the_published_shape(table, config, name, shape):
    assert shape in stored_shapes(TABLES[table], config)[name]


def test_one_hugging_face_name_means_two_norms():
    """The classic mistake: in Gemma 1 `post_attention_layernorm` stands before the MLP."""
    name = "model.layers.{i}.post_attention_layernorm.weight"
    leaves = [
        [leaf for leaf, row in rows_for(HUGGING_FACE, c).items() if row.name == name] for c in (gemma_7b(), gemma3_1b())
    ]
    assert leaves == [["pre_mlp_norm"], ["post_attention_norm"]]


@pytest.mark.parametrize("config", [*PUBLISHED, *MODELS], ids=lambda config: config.name)
@pytest.mark.parametrize("table", TABLES)
def test_every_leaf_of_a_model_has_one_row(table, config):
    held = [row.leaf for row in TABLES[table] if row.only(config)]
    leaves = {"embedding", "final_norm", *block_shapes(config)}
    assert sorted(leaf for leaf in held if leaf in leaves) == sorted(leaves)


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
def test_the_axes_of_a_leaf_are_the_shape_the_model_multiplies_by(config):
    size = sizes(config)
    for leaf, shape in block_shapes(config).items():
        assert tuple(math.prod(size[a] for a in group) for group in groups(LEAF_AXES[leaf])) == shape


@given(st.data())
def test_a_part_of_a_leaf_equals_that_part_of_the_whole(data):
    """For any box, also one that cuts through a head; and nothing that the box does not need is read."""
    table, config, leaf = data.draw(st.sampled_from(CASES))
    row = rows_for(TABLES[table], config)[leaf]
    (shape, *_) = stored_shapes(TABLES[table], config)[row.name.format(i=0)]
    values, read = np.arange(math.prod(shape)).reshape(shape), []

    def reader(box):
        read.append(values[box].size)
        return values[box]

    tensor = Stored(shape, "float32", reader, sample=bytes)
    lengths = [math.prod(sizes(config)[a] for a in group) for group in groups(LEAF_AXES[leaf])]
    ends = [sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in lengths]
    box = tuple(slice(*pair) for pair in ends)
    whole = read_leaf(tensor, row, config, tuple(slice(None) for _ in lengths))
    part = read_leaf(tensor, row, config, box)
    np.testing.assert_array_equal(part, whole[box])
    assert (
        part.size
        <= read[1]
        <= math.prod(
            min(stop - start + 2 * (config.head_width - 1), n) for (start, stop), n in zip(ends, lengths, strict=True)
        )
    )


@pytest.mark.parametrize("name", ["gemma-2b", "gemma-7b", "gemma-3-270m", "gemma-3-1b"])
def test_an_instruction_tuned_model_has_the_shapes_of_its_base(name):
    assert named(f"{name}-it") == replace(named(name), name=f"{name}-it")


@pytest.mark.parametrize("name", ["gemma-9b", "", "-it", "Gemma-7b", "gemma-7b-it-it", "llama-7b"])
def test_an_unknown_model_is_refused_with_the_names_of_the_known_ones(name):
    with pytest.raises(SettingError, match=rf"model '{name}' is not one of gemma-2b, gemma-7b, gemma-3-270m"):
        named(name)
