"""Laws of a directory of named adapters: each comes back under its name, and a bad name or member is pointed at."""

import jax
import numpy as np
import pytest

from helptune.adapt.artifact import CARD, AdapterCard, save_adapter
from helptune.adapt.collection import add, cards, is_collection, load_collection
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError
from helptune.gemma.config import tiny

LORA = LoraConfig(rank=2, sites=("q",))


@pytest.fixture
def folder(tmp_path, trained):
    for seed, name in enumerate(("terse", "formal-2")):
        add(tmp_path, name, trained(LORA, tiny(3), seed), AdapterCard("tiny-3", "a1", LORA, step=seed))
    return tmp_path


def test_every_adapter_comes_back_under_its_name(folder, trained):
    loaded = load_collection(folder, tiny(3), "a1")
    assert {name: card.step for name, (_, card) in loaded.items()} == {"formal-2": 1, "terse": 0}
    jax.tree.map(np.testing.assert_array_equal, loaded["terse"][0], trained(LORA, tiny(3), 0))


def test_cards_are_read_without_the_weights(folder):
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    assert list(cards(folder)) == ["formal-2", "terse"]


def test_a_single_adapter_is_no_collection(folder, trained):
    assert is_collection(folder)
    assert not is_collection(folder / "terse")
    save_adapter(folder, trained(LORA, tiny(3)), AdapterCard("tiny-3", "a1", LORA))
    assert not is_collection(folder)


@pytest.mark.parametrize("name", ["", "base", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path, trained, name):
    with pytest.raises(AdapterError, match="use up to 64 letters"):
        add(tmp_path, name, trained(LORA, tiny(3)), AdapterCard("tiny-3", "a1", LORA))
    assert not list(tmp_path.iterdir())


def test_a_damaged_member_is_named(folder):
    (folder / "terse" / CARD).write_text("{")
    with pytest.raises(AdapterError, match=r"terse/adapter\.json: not a valid adapter card"):
        load_collection(folder, tiny(3), "a1")


def test_a_folder_without_adapters_is_named(tmp_path):
    with pytest.raises(AdapterError, match="no adapters here"):
        cards(tmp_path)
