"""Orbax trees: the flat ones of Kaggle and the nested ones of the `gemma` package, old and new, whole and damaged."""

import shutil

import jax
import numpy as np
import pytest
from gemma_layouts import MODELS, assert_same_leaves, kaggle_tree, write_orbax

from helptune.errors import WeightsError
from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import checkpoint_sha256, load_checkpoint, load_checkpoint_tokenizer
from helptune.gemma.config import tiny
from helptune.gemma.reference import reference_tree
from helptune.gemma.tokenizer import model_proto


@pytest.fixture(scope="module")
def base():
    return init_base(tiny(1), jax.random.key(0))


@pytest.fixture
def folder(base, tmp_path):
    """As downloaded from Kaggle: the tree in a folder of its own."""
    write_orbax(tmp_path / "kaggle" / "7b-it", kaggle_tree(base))
    return tmp_path / "kaggle"


@pytest.mark.parametrize("handler", [{}, {"use_ocdbt": False}, {"use_zarr3": True}], ids=["packed", "files", "zarr3"])
@pytest.mark.parametrize("tree", [kaggle_tree, reference_tree])
@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
def test_a_tree_reads_back_equal(config, tree, handler, tmp_path):
    base = init_base(config, jax.random.key(1))
    assert_same_leaves(load_checkpoint(write_orbax(tmp_path / "m", tree(base), **handler), config, "float32"), base)


def test_the_padding_after_the_vocabulary_of_gemma_1_is_cut(folder, base):
    stored = kaggle_tree(base)["transformer/embedder"]["input_embedding"]
    found = load_checkpoint(folder, base.config, "float32").embedding
    assert (len(stored), len(found)) == (512 + 128, 512)


def test_the_tree_may_be_given_itself_or_by_the_folder_around_it(folder, base):
    assert_same_leaves(load_checkpoint(folder, base.config), load_checkpoint(folder / "7b-it", base.config))


@pytest.mark.parametrize("handler", [{}, {"use_ocdbt": False}], ids=["packed", "files"])
def test_a_tree_of_2024_without_metadata_reads_the_same(handler, base, tmp_path):
    """Their structure lay in a msgpack file named `checkpoint`; the arrays tell it too."""
    tree = write_orbax(tmp_path / "m", kaggle_tree(base), **handler)
    for file in ("_METADATA", "_CHECKPOINT_METADATA", "_sharding"):
        (tree / file).unlink()
    (tree / "checkpoint").write_bytes(b"\x81")
    assert_same_leaves(load_checkpoint(tree, base.config, "float32"), base)


def test_of_several_trees_one_must_be_named(folder, base):
    shutil.copytree(folder / "7b-it", folder / "7b")
    with pytest.raises(WeightsError, match=r"holds several checkpoints; give one of 7b, 7b-it"):
        load_checkpoint(folder, base.config)


@pytest.fixture(params=[True, False], ids=["packed", "files"])
def damaged(request, base, tmp_path):
    """A tree, and a way to put other bytes in the place of its largest file."""
    tree = write_orbax(tmp_path / "m", kaggle_tree(base), use_ocdbt=request.param)
    path = max((path for path in tree.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()

    def damage(kind):
        path.unlink()
        if kind != "gone":
            path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "zeros": bytes(len(whole))}[kind])
        return tree

    return damage


@pytest.mark.parametrize("kind", ["gone", "empty", "cut", "zeros"])
def test_missing_or_damaged_values_are_named(kind, damaged, base):
    with pytest.raises(WeightsError, match=r"/m: .*: missing parts or damaged .*; fetch the checkpoint again"):
        load_checkpoint(damaged(kind), base.config)


@pytest.mark.parametrize("kind", ["gone", "empty"])
def test_missing_values_are_found_before_loading(kind, damaged, base, monkeypatch):
    monkeypatch.setattr("helptune.gemma.checkpoints.load", lambda *_: pytest.fail("the loading had begun"))
    with pytest.raises(WeightsError, match="missing parts or damaged"):
        load_checkpoint(damaged(kind), base.config)


def test_a_damaged_index_is_found(folder, base):
    (folder / "7b-it" / "manifest.ocdbt").write_bytes(b"not a manifest")
    with pytest.raises(WeightsError, match="7b-it: missing parts or damaged"):
        load_checkpoint(folder, base.config)


def test_a_tree_without_arrays_is_refused(tmp_path, base):
    (tmp_path / "checkpoint").write_bytes(b"\x80")
    with pytest.raises(WeightsError, match="holds no Zarr arrays"):
        load_checkpoint(tmp_path, base.config)


@pytest.mark.parametrize(("held", "asked"), [(tiny(1), tiny(3)), (tiny(3), tiny(1))], ids=["1 as 3", "3 as 1"])
@pytest.mark.parametrize("tree", [kaggle_tree, reference_tree])
def test_one_generation_is_not_taken_for_the_other(held, asked, tree, tmp_path):
    path = write_orbax(tmp_path / "m", tree(init_base(held, jax.random.key(0))))
    generation = held.name[-1]
    with pytest.raises(WeightsError, match=rf"not the weights of {asked.name}; by their names .* Gemma {generation}"):
        load_checkpoint(path, asked)


def test_missing_extra_and_misshapen_arrays_are_named(base, tmp_path):
    tree = kaggle_tree(base)
    del tree["transformer/layer_1/mlp/linear"]
    tree["transformer/final_norm"] = {"scale": np.zeros(31, np.float32)}
    tree["SigLiPFromPatches_0/head"] = {"w": np.zeros(3, np.float32)}
    with pytest.raises(WeightsError) as error:
        load_checkpoint(write_orbax(tmp_path / "m", tree), base.config)
    for part in ("1 missing: layer_1/mlp/linear", "1 extra: SigLiP", "final_norm/scale (31,), expected (32,)"):
        assert part in str(error.value)


def test_an_array_of_another_dtype_is_named(base, tmp_path):
    tree = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.int8), kaggle_tree(base))
    with pytest.raises(WeightsError, match="of another dtype: embedder/input_embedding int8"):
        load_checkpoint(write_orbax(tmp_path / "m", tree), base.config)


def test_a_copy_has_the_same_identity_and_a_trained_tree_another(folder, base, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    tree = kaggle_tree(base)
    tree["transformer/layer_0/mlp/linear"] = {"w": tree["transformer/layer_0/mlp/linear"]["w"] * 1.01}
    trained = write_orbax(tmp_path / "trained", tree)
    assert checkpoint_sha256(folder) == checkpoint_sha256(tmp_path / "copy") != checkpoint_sha256(trained)


def test_the_tokenizer_lies_beside_the_tree(folder, monkeypatch):
    monkeypatch.chdir(folder / "7b-it")
    pieces, types = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", "a", "▁a"], [3, 3, 3, 2, 1, 1, 1]
    (folder / "tokenizer.model").write_bytes(model_proto(pieces, [0.0] * len(pieces), types))
    for path in (folder, folder / "7b-it", "."):
        assert load_checkpoint_tokenizer(path).encode(" a") == [6]
