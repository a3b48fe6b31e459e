"""A frozen matrix in 8 or 4 bits: 32 neighbours along `in` share one scale, and only weights are quantized.

Symmetric codes in small groups, as Q8_0 and Q4_0 of llama.cpp; the rounding is that of qwix, Google's quantizer for
JAX. A quantized base under adapters of full precision is QLoRA (Dettmers et al. 2023, arXiv:2305.14314), here with
evenly spaced codes in 4 bits.
"""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from helptune.errors import SettingError
from helptune.gemma.base import SITES, Base
from helptune.gemma.rows import OutputRows, rows_matmul
from helptune.shapes import AnyArray, Array, Float

PRECISIONS = ("bfloat16", "float32", "int8", "int4")
BITS = {"int8": 8, "int4": 4}
GROUP = 32
"""Weights that share a scale. On Gemma 3 270M, groups of 32, 64 and 128 cost 0.46, 0.59 and 0.70 nats per held-out
token with 4 bits. With 8 bits all cost less than 0.005, so these take the same group: it can be cut over more devices.
"""
_SMALLEST_SCALE = 2.0**-63


@struct.dataclass
class Quantized:
    """A matrix [..., in, out] as codes times scales, one scale for `group` neighbours along `in`.

    With 4 bits a byte holds two codes, plus 8 so that they are not negative: row 2i in its low half, row 2i + 1 in its
    high half. Plain bytes can be sliced, sharded and stored like any other array.
    """

    codes: AnyArray  # int8 [..., in, out], or uint8 [..., in / 2, out] with 4 bits
    scales: AnyArray  # bfloat16 [..., in / group, out]
    bits: int = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix."""
        *leading, rows, d_out = self.codes.shape
        return (*leading, rows * 8 // self.bits, d_out)

    @property
    def group(self) -> int:
        return self.shape[-2] // self.scales.shape[-2]


def check_precision(precision: str) -> None:
    """Raises SettingError for a precision the base cannot have."""
    if precision not in PRECISIONS:
        raise SettingError(f"precision {precision!r} of the base is not one of {', '.join(PRECISIONS)}")


def dtype_of(precision: str) -> str:
    """What is not quantized has this dtype, the activations too."""
    return "bfloat16" if precision in BITS else precision


def quantize(w: Float[AnyArray, "*layers I O"], bits: int, group: int = GROUP) -> Quantized:
    """The nearest codes of `w`; a numpy array gives numpy arrays. Every element is kept to half a scale.

    A part of `w` that is cut at a multiple of `group` along `in`, or anywhere along the other axes, gives that part of
    the codes and scales of the whole. Raises SettingError when `group` does not divide `in`.
    """
    *leading, d_in, d_out = w.shape
    if group < 2 or group % 2 or d_in % group:
        raise SettingError(
            f"a matrix with {d_in} inputs cannot be quantized in groups of {group}: choose an even number that divides "
            f"{d_in}"
        )
    xp: Any = np if isinstance(w, np.ndarray) else jnp
    groups = w.astype(xp.float32).reshape(*leading, d_in // group, group, d_out)
    # Half a code more than the largest one: values up to there still round to it, or saturate half a scale away.
    largest = 2 ** (bits - 1)
    scales = _rounded_up(xp.abs(groups).max(-2) * np.float32(1 / (largest - 0.5)))
    scales = xp.where(scales < _SMALLEST_SCALE, np.float32(1), scales)
    codes = xp.clip(xp.round(groups / scales[..., None, :]), -largest, largest - 1).astype(xp.int8)
    codes = codes.reshape(*leading, d_in, d_out)
    return Quantized(codes if bits == 8 else _pack(codes), scales.astype(jnp.bfloat16), bits)


def dequantize(q: Quantized, dtype: Any) -> Float[Array, "*layers I O"]:
    """Codes times scales: exact in float32, then rounded once to `dtype`."""
    *leading, d_in, d_out = q.shape
    codes = jnp.asarray(q.codes) if q.bits == 8 else _unpack(jnp.asarray(q.codes))
    groups = codes.reshape(*leading, d_in // q.group, q.group, d_out).astype(jnp.float32)
    values = groups * jnp.asarray(q.scales).astype(jnp.float32)[..., None, :]
    return values.astype(dtype).reshape(q.shape)


def matmul(x: Float[Array, "*batch I"], w: Any) -> Float[Array, "*batch O"]:
    """x @ w, where w is an array, Quantized (then differentiable in x only) or OutputRows."""
    if isinstance(w, OutputRows):
        return rows_matmul(x, w).astype(x.dtype)
    return _quantized_matmul(x, w) if isinstance(w, Quantized) else x @ w


@jax.custom_vjp
def _quantized_matmul(x, w):
    return x @ dequantize(w, x.dtype)


def _forward(x, w):
    # The codes wait for the backward pass, not the matrix: those of all layers would be a whole unquantized model.
    return _quantized_matmul(x, w), w


def _backward(w, dy):
    return jnp.einsum("...O,IO->...I", dy, dequantize(w, dy.dtype)), None


_quantized_matmul.defvjp(_forward, _backward)


def quantize_base(base: Base, precision: str, group: int = GROUP) -> Base:
    """The base with its seven projections as int8 or int4; embedding and norms stay as they are.

    Raises SettingError for another precision, or for a base that is quantized already.
    """
    if precision not in BITS:
        raise SettingError(f"a base is quantized to one of {', '.join(BITS)}, not to {precision!r}")
    if (found := precision_of(base)) in BITS:
        raise SettingError(f"the base is already {found}: quantize the float32 or bfloat16 weights to {precision}")
    blocks = {
        name: quantize(leaf, BITS[precision], group) if name in SITES else leaf for name, leaf in base.blocks.items()
    }
    return replace(base, blocks=blocks, apart=None)


def precision_of(base: Base) -> str:
    """One of PRECISIONS."""
    leaf = base.blocks[SITES[0]]
    return f"int{leaf.bits}" if isinstance(leaf, Quantized) else str(jnp.dtype(base.dtype))


def base_bytes(base: Any) -> int:
    """Bytes of all arrays of a base or a part of it; those of an abstract base are counted too."""
    return sum(math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(base))


def _rounded_up(x):
    """float32 >= 0 to the next value that bfloat16 holds: the upper half of its bits.

    A scale rounded down would leave the largest value of its group more than half a scale from its code. Up to four
    steps of float32 above such a value count as that value: they are an error of the multiplication.
    """
    return ((x.view(np.uint32) + np.uint32(0xFFFB)) & np.uint32(0xFFFF0000)).view(np.float32)


def _pack(codes):
    """int8 codes -8..7 [..., in, out] to uint8 [..., in / 2, out]."""
    low, high = (codes[..., half::2, :] + np.int8(8) for half in (0, 1))
    return low.astype(np.uint8) | (high.astype(np.uint8) << np.uint8(4))


def _unpack(packed):
    """uint8 [..., in / 2, out] to int8 codes -8..7 [..., in, out]."""
    *leading, half, d_out = packed.shape
    codes = jnp.stack([packed & 15, packed >> 4], axis=-2).astype(jnp.int8) - jnp.int8(8)
    return codes.reshape(*leading, 2 * half, d_out)
