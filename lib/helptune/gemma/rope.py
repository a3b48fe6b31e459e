"""Rotary position embedding: a head's halves are rotated by an angle that grows with position.

Su et al. 2021, arXiv:2104.09864, in the half-rotation layout of Gemma: feature i is paired with i + H/2.
"""

import jax.numpy as jnp

from helptune.shapes import AnyArray, Array, Float, Int


def rope_tables(positions: Int[AnyArray, "B T"], head_width: int, base: float) -> Float[Array, "2 B T h"]:
    """Sine and cosine of position / base**(2 i / H) for i < H/2, in float32."""
    exponent = jnp.arange(head_width // 2, dtype=jnp.float32) * (2.0 / head_width)
    angles = positions[..., None].astype(jnp.float32) / base**exponent
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)])


def rotate(x: Float[Array, "B T heads H"], rope: Float[Array, "2 B T h"]) -> Float[Array, "B T heads H"]:
    """Rotate each (i, i + H/2) pair of every head by its angle; computed in float32, returned in x's dtype."""
    sin, cos = rope[:, :, :, None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
