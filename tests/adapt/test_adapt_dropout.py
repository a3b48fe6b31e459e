"""Laws of LoRA dropout: it exists only where a key is given, drops the share it says, and keeps the mean.

With A and B both the identity and a scale of 1, what the adapter adds is exactly dropout(x).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach
from helptune.adapt.lora import LoraConfig
from helptune.gemma.base import SITES, init_base
from helptune.gemma.config import tiny

WIDTH, LAYERS = 64, 3


def dropped(x, rate, key, site="q", layer=0):
    config = LoraConfig(rank=WIDTH, alpha=WIDTH, dropout=rate)
    identity = jnp.tile(jnp.eye(WIDTH), (LAYERS, 1, 1))
    lora = attach({site: {"a": identity, "b": identity} for site in SITES}, config, key)
    return lora.delta(jax.tree.map(lambda leaf: leaf[layer], lora.layers), site, x, x)


@pytest.fixture(scope="module")
def base():
    return init_base(tiny(3), jax.random.key(0))


def test_without_a_key_dropout_changes_no_bit(base, hidden, trained):
    adapters = trained(LoraConfig(rank=4), base.config)
    evaluated = hidden(base, attach(adapters, LoraConfig(rank=4, dropout=0.5)))
    np.testing.assert_array_equal(evaluated, hidden(base, attach(adapters, LoraConfig(rank=4))))


def test_with_a_key_dropout_acts_and_another_key_acts_otherwise(base, hidden, trained):
    config = LoraConfig(rank=4, dropout=0.5)
    adapters = trained(config, base.config)
    none, one, same, other = (
        hidden(base, attach(adapters, config, key)) for key in (None, *map(jax.random.key, (0, 0, 1)))
    )
    assert not np.array_equal(one, none)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    out = dropped(jnp.ones((8, 512, WIDTH)), rate, jax.random.key(0))
    assert float((out == 0).mean()) == pytest.approx(rate, abs=1 / 512 + 0.002)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=0.02)


def test_each_layer_and_site_drops_elements_of_its_own():
    x, key = jnp.ones((1, 8, WIDTH)), jax.random.key(0)
    masks = [np.asarray(dropped(x, 0.5, key, site, layer)) for site in SITES for layer in range(LAYERS)]
    assert len({mask.tobytes() for mask in masks}) == len(SITES) * LAYERS


@pytest.mark.parametrize("rate", [1e-4, 0.9999])
def test_every_allowed_rate_gives_finite_numbers(rate):
    assert np.isfinite(dropped(jnp.ones((1, 64, WIDTH)), rate, jax.random.key(0))).all()
