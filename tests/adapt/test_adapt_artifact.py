"""Laws of an adapter on disk: it comes back bit for bit, and never fits what it was not trained for."""

import json

import jax
import numpy as np
import pytest

from helptune.adapt.artifact import CARD, WEIGHTS, AdapterCard, load_adapter, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError
from helptune.gemma.config import tiny

MODEL, SHA = tiny(3), "a1b2" * 16
LORA = LoraConfig(rank=4, alpha=12.0, dropout=0.05, sites=("q", "down"), rank_stabilized=True)


@pytest.fixture
def adapters(trained):
    return trained(LORA, MODEL)


@pytest.fixture
def folder(tmp_path, adapters):
    """An adapter on disk, saved without mistakes."""
    save_adapter(tmp_path / "adapter", adapters, AdapterCard(MODEL.name, SHA, LORA, step=30, eval_loss=1.25))
    return tmp_path / "adapter"


def edit_card(folder, **fields):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | fields))


def test_an_adapter_comes_back_bit_for_bit(folder, adapters):
    loaded, card = load_adapter(folder, MODEL, SHA)
    assert card == AdapterCard(MODEL.name, SHA, LORA, step=30, eval_loss=1.25)
    assert jax.tree.structure(loaded) == jax.tree.structure(adapters)
    jax.tree.map(np.testing.assert_array_equal, loaded, adapters)


def test_saving_again_replaces_the_adapter_and_leaves_two_files(folder, adapters):
    newer = jax.tree.map(lambda leaf: leaf + 1, adapters)
    save_adapter(folder, newer, AdapterCard(MODEL.name, SHA, LORA, step=45))
    loaded, card = load_adapter(folder, MODEL, SHA)
    assert card.step == 45
    jax.tree.map(np.testing.assert_array_equal, loaded, newer)
    assert sorted(p.name for p in folder.iterdir()) == [CARD, WEIGHTS]


def test_an_adapter_of_another_model_is_refused(folder):
    with pytest.raises(AdapterError, match="trained for base model 'tiny-3', here it is 'tiny-1'"):
        load_adapter(folder, tiny(1), SHA)


def test_an_adapter_of_other_base_weights_is_refused(folder):
    with pytest.raises(AdapterError, match=rf"base weights \(sha256\) '{SHA}', here it is 'ffff'"):
        load_adapter(folder, MODEL, "ffff")


def test_an_adapter_of_another_chat_template_is_refused(folder):
    edit_card(folder, template_hash="0123456789abcdef")
    with pytest.raises(AdapterError, match="chat template '0123456789abcdef', here it is"):
        load_adapter(folder, MODEL, SHA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"q": a["q"]}, r"tensors down\.a, down\.b are missing or not listed"),
        (lambda a: a | {"k": a["q"]}, r"tensors k\.a, k\.b are missing or not listed"),
        (lambda a: {**a, "q": {"a": a["q"]["a"]}}, r"tensors q\.b are missing"),
        (lambda a: jax.tree.map(lambda leaf: leaf[:2], a), r"q\.a has shape \(2, 32, 4\), rank 4 on tiny-3 needs"),
    ],
    ids=["site missing", "site too many", "half a pair", "fewer layers"],
)
def test_tensors_that_do_not_match_the_card_are_named(tmp_path, adapters, change, message):
    save_adapter(tmp_path, change(adapters), AdapterCard(MODEL.name, SHA, LORA))
    with pytest.raises(AdapterError, match=message):
        load_adapter(tmp_path, MODEL, SHA)


def test_matrices_of_another_rank_are_refused_with_both_shapes(tmp_path, adapters):
    save_adapter(tmp_path, adapters, AdapterCard(MODEL.name, SHA, LoraConfig(rank=8, sites=LORA.sites)))
    with pytest.raises(AdapterError, match=r"q\.a has shape \(4, 32, 4\), rank 8 on tiny-3 needs \(4, 32, 8\)"):
        load_adapter(tmp_path, MODEL, SHA)


@pytest.mark.parametrize("where", [0.0, 0.01, 0.5, 0.999])
def test_one_flipped_bit_anywhere_in_the_weights_is_noticed(folder, where):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[int(where * len(data))] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(AdapterError, match=rf"{WEIGHTS}: damaged, its sha256 is .* says"):
        load_adapter(folder, MODEL, SHA)


@pytest.mark.parametrize("kept", [0, 5, 1_000])
def test_truncated_weights_are_noticed_even_without_a_checksum(folder, kept):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
    edit_card(folder, adapter_sha256="")
    with pytest.raises(AdapterError, match=rf"{WEIGHTS}: missing or damaged"):
        load_adapter(folder, MODEL, SHA)


def test_missing_weights_are_named(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match=rf"{WEIGHTS}: missing or damaged"):
        load_adapter(folder, MODEL, SHA)


def test_a_folder_without_an_adapter_is_named(tmp_path):
    with pytest.raises(AdapterError, match=r"nowhere: not an adapter folder, adapter\.json is missing"):
        load_adapter(tmp_path / "nowhere", MODEL, SHA)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"base": "tiny-3", "base_sha',
        "[]",
        '{"base": "tiny-3"}',
        '{"base": "tiny-3", "base_sha256": "", "lora": {"rank": 0, "sites": ["q"]}}',
        '{"base": "tiny-3", "base_sha256": "", "lora": {"sites": ["q"]}, "colour": "red"}',
        '{"base": "tiny-3", "base_sha256": "", "lora": "rank 16"}',
        '{"base": 5, "base_sha256": "", "lora": {"sites": ["q"]}}',
        '{"base": "tiny-3", "base_sha256": "", "lora": {"sites": ["q"]}, "eval_loss": "low"}',
    ],
    ids=[
        "empty",
        "cut",
        "not an object",
        "no lora",
        "rank 0",
        "unknown field",
        "lora not an object",
        "base no text",
        "loss no number",
    ],
)
def test_a_broken_card_is_named(folder, content):
    (folder / CARD).write_text(content)
    with pytest.raises(AdapterError, match=rf"{CARD}: not a valid adapter card"):
        load_adapter(folder, MODEL, SHA)
