"""Hugging Face folders: read back equal in any sharding, and every way in which they can be wrong is named."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gemma_layouts import MODELS, assert_same_leaves, hugging_face_tensors, write_hugging_face

from helptune.errors import SettingError, WeightsError
from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import checkpoint_sha256, load_checkpoint, load_checkpoint_tokenizer
from helptune.gemma.config import gemma3_270m, gemma_7b, tiny
from helptune.gemma.quantize import quantize_base
from helptune.gemma.table import HUGGING_FACE, stored_shapes

NORM, GATE = "model.layers.1.input_layernorm.weight", "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture(scope="module")
def base():
    return init_base(tiny(3), jax.random.key(0))


@pytest.fixture
def folder(base, tmp_path):
    return write_hugging_face(tmp_path / "model", base, shards=3)


def rewrite(folder, base, **changes):
    """The folder with some tensors replaced, or removed where the value is None."""
    tensors = hugging_face_tensors(base) | changes
    shutil.rmtree(folder)
    return write_hugging_face(folder, base, tensors={name: w for name, w in tensors.items() if w is not None})


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
def test_a_folder_reads_back_equal(config, shards, tmp_path):
    base = init_base(config, jax.random.key(1))
    assert_same_leaves(load_checkpoint(write_hugging_face(tmp_path / "m", base, shards), config, "float32"), base)


@pytest.mark.parametrize("stored", ["bfloat16", "float16", "float32"])
def test_values_are_rounded_once_to_the_asked_dtype(stored, base, tmp_path):
    written = jax.tree.map(lambda leaf: leaf.astype(stored), base)
    found = load_checkpoint(write_hugging_face(tmp_path / "m", written), base.config, "bfloat16")
    assert_same_leaves(found, jax.tree.map(lambda leaf: leaf.astype("bfloat16"), written))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantizing_while_loading_equals_quantizing_the_loaded_model(precision, folder, base):
    found = load_checkpoint(folder, base.config, precision)
    whole = quantize_base(base, precision)
    assert_same_leaves(found.blocks["gate"], whole.blocks["gate"])
    rest = jax.tree.map(lambda leaf: leaf.astype("bfloat16") if leaf.dtype == jnp.float32 else leaf, whole)
    assert_same_leaves(found, rest)


def test_an_unknown_precision_is_refused(folder, base):
    with pytest.raises(SettingError, match="precision 'int2'"):
        load_checkpoint(folder, base.config, "int2")


def test_every_truncation_of_a_shard_is_found(folder, base):
    path = folder / "model-00002-of-00003.safetensors"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=rf"{path}: truncated or damaged, {length:,} bytes are there"):
            load_checkpoint(folder, base.config)


def test_a_pointer_in_the_place_of_a_shard_is_named(folder, base):
    """What a clone without Git LFS holds; fetching it again in the same way would give the same."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (folder / "model-00002-of-00003.safetensors").write_text(pointer)
    with pytest.raises(WeightsError, match=r"model-00002-of-00003\.safetensors: only a Git LFS pointer"):
        load_checkpoint(folder, base.config)


def test_a_missing_shard_is_named(folder, base):
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"1 of 3 shards named in .* are missing: model-00002-of-00003\.safetensors"):
        load_checkpoint(folder, base.config)


@pytest.mark.parametrize("text", [None, "", "[]", '{"weight_map": [1]}', "{}"])
def test_a_missing_or_damaged_index_is_named(text, folder, base):
    index = folder / "model.safetensors.index.json"
    index.unlink()
    if text is not None:
        index.write_text(text)
    with pytest.raises(WeightsError, match=rf"{index}: missing or not an index"):
        load_checkpoint(folder, base.config)


def test_a_shard_that_is_not_the_one_the_index_names_is_found(folder, base):
    shutil.copy(folder / "model-00001-of-00003.safetensors", folder / "model-00003-of-00003.safetensors")
    with pytest.raises(WeightsError, match=r"model-00003-of-00003\.safetensors: .* and the shard do not agree"):
        load_checkpoint(folder, base.config)


@pytest.mark.parametrize("name", [NORM, GATE, "model.norm.weight", "model.embed_tokens.weight"])
def test_a_missing_tensor_is_named(name, folder, base):
    with pytest.raises(WeightsError, match=rf"not the weights of tiny-3\. Tensors 1 missing: {name}"):
        load_checkpoint(rewrite(folder, base, **{name: None}), base.config)


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.4.input_layernorm.weight"])
def test_an_extra_tensor_is_named(name, folder, base):
    """A head of its own too: transformers writes none for Gemma, so such a model was changed."""
    with pytest.raises(WeightsError, match=f"1 extra: {name}"):
        load_checkpoint(rewrite(folder, base, **{name: np.zeros((512, 32), np.float32)}), base.config)


def test_a_misshapen_tensor_is_named_with_both_shapes(folder, base):
    with pytest.raises(WeightsError, match=rf"1 misshapen: {GATE} \(32, 64\), expected \(64, 32\)"):
        load_checkpoint(rewrite(folder, base, **{GATE: np.zeros((32, 64), np.float32)}), base.config)


@pytest.mark.parametrize(("dtype", "name"), [("int8", "I8"), ("float64", "F64"), ("int32", "I32")])
def test_a_tensor_of_another_dtype_is_named(dtype, name, folder, base):
    with pytest.raises(WeightsError, match=f"1 of another dtype: {GATE} {name}, expected bfloat16, float16, float32"):
        load_checkpoint(rewrite(folder, base, **{GATE: np.zeros((64, 32), dtype)}), base.config)


def test_all_faults_are_listed_at_once(folder, base):
    faulty = rewrite(folder, base, **{NORM: None, "model.norm.weight": np.zeros(31, np.float32), "x": np.zeros(1)})
    with pytest.raises(WeightsError, match=r"1 missing: .*1 extra: x; 1 misshapen: model\.norm\.weight \(31,\)"):
        load_checkpoint(faulty, base.config)


@pytest.mark.parametrize(("held", "asked"), [(tiny(1), tiny(3)), (tiny(3), tiny(1))], ids=["1 as 3", "3 as 1"])
@pytest.mark.parametrize("with_config", [True, False])
def test_one_generation_is_not_taken_for_the_other(held, asked, with_config, tmp_path):
    folder = write_hugging_face(tmp_path / "m", init_base(held, jax.random.key(0)))
    family = {"tiny-1": "gemma", "tiny-3": "gemma3_text"}[held.name]
    message = rf"config\.json describes {family} \(\d layers, width 32\), not {asked.name}: .*qk_norm"
    if not with_config:
        (folder / "config.json").unlink()
        message = rf"not the weights of {asked.name}; by their names these are those of a Gemma {held.name[-1]}"
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(folder, asked)


def test_another_published_model_is_recognized_by_its_tensors(tmp_path):
    """The header alone tells: the values here are holes in a sparse file, and nobody reads them."""
    config, offset, header = gemma3_270m(), 0, {}
    for name, (shape,) in stored_shapes(HUGGING_FACE, config).items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    with pytest.raises(WeightsError, match="not the weights of gemma-7b; these are those of gemma-3-270m: name that"):
        load_checkpoint(tmp_path, gemma_7b())


def test_a_folder_of_another_family_is_named(folder, base):
    config = folder / "config.json"
    config.write_text(config.read_text().replace("gemma3_text", "llama"))
    with pytest.raises(WeightsError, match=r"config\.json: model_type is 'llama', this program reads gemma"):
        load_checkpoint(folder, base.config)


@pytest.mark.parametrize("kind", ["nowhere", "empty", "file"])
def test_a_folder_without_weights_is_named(kind, tmp_path, base):
    path = tmp_path / kind
    if kind == "empty":
        path.mkdir()
    if kind == "file":
        path.write_text("not a folder")
    with pytest.raises(WeightsError, match=f"{path}: (no such folder|holds neither)"):
        load_checkpoint(path, base.config)


def test_the_identity_of_a_base_is_its_values_not_its_files(base, tmp_path):
    one, five = (checkpoint_sha256(write_hugging_face(tmp_path / str(n), base, n)) for n in (1, 5))
    assert one == five


@pytest.mark.parametrize("name", [NORM, GATE])
def test_a_trained_tensor_changes_the_identity(name, base, folder):
    before, changed = checkpoint_sha256(folder), hugging_face_tensors(base)[name] * 1.01
    assert checkpoint_sha256(rewrite(folder, base, **{name: changed})) != before


def test_a_missing_tokenizer_is_named(folder):
    with pytest.raises(WeightsError, match=rf"{folder / 'tokenizer.model'}: not a readable"):
        load_checkpoint_tokenizer(folder)
