"""The golden comparison: hidden states after any number of layers, and one measure of how far two of them differ."""

from dataclasses import replace

import jax.numpy as jnp

from helptune.gemma.model import forward

DEPTHS = (1, 2, 6, 12, 18)  # after the first layers, after each global one (layers 5, 11 and 17)
GOLDEN_TOLERANCE = 1e-5  # float32 against DeepMind's implementation: 0.7e-6 to 2.0e-6 measured


def hidden_states(base, ids):
    """[T, D] of one text, traced afresh on every call, so that a patched function of the model takes effect."""
    positions = jnp.arange(len(ids))[None]
    return forward(base, jnp.array([ids]), positions, jnp.ones_like(positions))[0][0]


def first_layers(base, count):
    return base.replace(
        config=replace(base.config, layers=count), blocks={name: leaf[:count] for name, leaf in base.blocks.items()}
    )


def relative_difference(ours, theirs):
    """Length of the difference over the length of the reference."""
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))
