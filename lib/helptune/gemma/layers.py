"""The two small functions every Gemma block is made of: RMSNorm and the gated MLP's GeGLU.

RMSNorm: Zhang and Sennrich 2019, arXiv:1910.07467. GeGLU: Shazeer 2020, arXiv:2002.05202.
"""

import math

import jax
import jax.numpy as jnp

from helptune.gemma.config import RMS_NORM_EPS
from helptune.shapes import Array, Float

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


@jax.custom_vjp
def rms_norm(x: Float[Array, "*batch D"], scale: Float[Array, "D"]) -> Float[Array, "*batch D"]:
    """x / rms(x) * (1 + scale), all in float32, with one cast back to x's dtype at the end.

    The gradient is written by hand so that only `x`, in its own dtype, waits for the backward pass.
    """
    normal, _ = _normalize(x)
    return (normal * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)


def _normalize(x):
    x32 = x.astype(jnp.float32)
    inverse_rms = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + RMS_NORM_EPS)
    return x32 * inverse_rms, inverse_rms


def _rms_norm_forward(x, scale):
    return rms_norm(x, scale), (x, scale)


def _rms_norm_backward(saved, grad):
    x, scale = saved
    dy = grad.astype(jnp.float32)
    normal, inverse_rms = _normalize(x)
    dnormal = dy * (1.0 + scale.astype(jnp.float32))
    dx = inverse_rms * (dnormal - normal * jnp.mean(dnormal * normal, axis=-1, keepdims=True))
    dscale = jnp.sum((dy * normal).reshape(-1, x.shape[-1]), axis=0)
    return dx.astype(x.dtype), dscale.astype(scale.dtype)


rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)


def _tanh_of_gelu(gate: Float[Array, "*batch M"]) -> Float[Array, "*batch M"]:
    return jnp.tanh(_SQRT_2_OVER_PI * (gate + _GELU_CUBIC * gate**3))


@jax.custom_vjp
def geglu(gate: Float[Array, "*batch M"], up: Float[Array, "*batch M"]) -> Float[Array, "*batch M"]:
    """gelu(gate) * up with the tanh form of GELU; float32 inside, returned in gate's dtype.

    The gradient is written by hand: it keeps only `gate` and `up` and computes the tanh again, where automatic
    differentiation would keep five arrays of this size for every layer.
    """
    g, u = gate.astype(jnp.float32), up.astype(jnp.float32)
    return (0.5 * g * (1.0 + _tanh_of_gelu(g)) * u).astype(gate.dtype)


def _geglu_forward(gate, up):
    return geglu(gate, up), (gate, up)


def _geglu_backward(saved, grad):
    gate, up = saved
    g, u, dy = gate.astype(jnp.float32), up.astype(jnp.float32), grad.astype(jnp.float32)
    t = _tanh_of_gelu(g)
    slope = 0.5 * (1.0 + t) + 0.5 * g * (1.0 - t * t) * _SQRT_2_OVER_PI * (1.0 + 3.0 * _GELU_CUBIC * g * g)
    return (dy * u * slope).astype(gate.dtype), (dy * 0.5 * g * (1.0 + t)).astype(up.dtype)


geglu.defvjp(_geglu_forward, _geglu_backward)
