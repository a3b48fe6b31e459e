"""Laws of what notebook 02 plays with: an update of full rank is an adapter as LoRA is, a picture a thin matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.adapt.merge import product
from helptune.data.packing import Batch
from helptune.gemma.base import init_base, site_shapes
from helptune.gemma.config import tiny
from helptune.gemma.model import forward
from helptune.plots.lora import by_rank, memory_bars, over_ranks, side_by_side
from helptune.plots.style import blank
from helptune.toys.full_update import FullUpdate, mean_nll, train_update
from helptune.toys.landscape import landscape

BASE = init_base(tiny(), jax.random.key(0))
TOKENS = np.array([[2, 5, 7, 11, 13, 17]])
POSITIONS, ONE = np.arange(6)[None], np.ones((1, 6), np.int32)


def hidden(adapter=None):
    return forward(BASE, TOKENS, POSITIONS, ONE, adapter)[0]


def batch():
    return Batch(TOKENS, np.roll(TOKENS, -1), ONE.astype(np.float32), POSITIONS, ONE)


def test_the_product_of_a_lora_is_an_update_that_does_the_same():
    config = LoraConfig(rank=4, alpha=8.0, sites=("q", "v"))
    pairs = init_adapters(config, BASE.config, jax.random.key(1))
    pairs = {site: pair | {"b": jax.random.normal(jax.random.key(2), pair["b"].shape)} for site, pair in pairs.items()}
    whole = {site: product(pair, config.scale) for site, pair in pairs.items()}
    np.testing.assert_allclose(hidden(FullUpdate(whole)), hidden(attach(pairs, config)), atol=1e-4)


def test_training_starts_at_the_base_and_lowers_the_loss():
    zero = {"v": jnp.zeros((BASE.config.layers, *site_shapes(BASE.config)["v"]))}
    before = mean_nll(BASE, zero, batch())
    np.testing.assert_array_equal(hidden(FullUpdate(zero)), hidden())
    update, losses = train_update(BASE, [batch()] * 20, ("v",), 0.01)
    assert losses[0] == pytest.approx(float(before), rel=1e-5)
    assert mean_nll(BASE, update, batch()) < losses[0] - 0.1
    assert {site: change.shape for site, change in update.items()} == {"v": zero["v"].shape}


def test_a_landscape_is_bright_between_0_and_1_and_nearly_thin():
    picture = landscape()
    values = np.linalg.svd(picture, compute_uv=False)
    assert picture.shape == (64, 96)
    assert 0 <= picture.min() < picture.max() <= 1
    assert np.sum(values[8:] ** 2) < 0.01 * np.sum(values**2) < np.sum(values**2)


def test_pictures_of_low_rank_say_what_they_show():
    picture = landscape()
    two = side_by_side(blank(), picture, picture, ("whole", "thin"))
    assert [text.get_text() for text in two.texts] == ["whole", "thin"]
    lines = by_rank(blank(), [1, 2], np.ones((3, 2)), [4, 8, 16])
    assert [line.get_label() for line in lines.lines] == ["4", "8", "16"]
    kept = over_ranks(blank(), [1, 2, 3, 4], {"update": [1, 2, 3, 4], "chance": [0, 0, 0, 0]})
    assert [line.get_label() for line in kept.lines] == ["update", "chance"]
    assert [label.get_text() for label in kept.get_xticklabels()] == ["1", "2", "4"]
    bars = memory_bars(blank(), [1.0, 1.0], [1e9, 1e6], ["full", "LoRA"])
    assert max(patch.get_x() + patch.get_width() for patch in bars.patches) == pytest.approx(1 + 16)
