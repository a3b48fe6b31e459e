"""What the adapter tests share: a small text, and adapters that do something."""

import jax
import jax.numpy as jnp
import pytest

from helptune.adapt.adapters import init_adapters
from helptune.gemma.model import forward

_forward = jax.jit(forward)


@pytest.fixture
def text():
    """(tokens, positions, segments) of two rows of twelve tokens."""
    tokens = jax.random.randint(jax.random.key(1), (2, 12), 3, 512)
    return tokens, jnp.broadcast_to(jnp.arange(12), (2, 12)), jnp.ones((2, 12), jnp.int32)


@pytest.fixture
def hidden(text):
    """base, adapter -> final hidden states of the text, compiled once for each kind of adapter."""
    return lambda base, adapter=None: _forward(base, *text, adapter)[0]


@pytest.fixture
def trained():
    """config, model -> adapters as after training: B is no longer zero."""

    def make(config, model, seed=2):
        adapters = init_adapters(config, model, jax.random.key(seed))
        return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(seed), leaf.shape), adapters)

    return make
