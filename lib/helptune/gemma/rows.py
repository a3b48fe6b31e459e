"""Matrices laid out for products with few inputs, as in generation on a CPU: a row holds the weights of one output.

Rows of bytes are multiplied in integers. The input is then rounded to 8 bits as well: LLM.int8() without its outlier
columns (Dettmers et al. 2022, arXiv:2208.07339).
"""

import jax
import jax.numpy as jnp
from flax import struct

from helptune.shapes import Array, Float, Int

KERNEL_DTYPES = (jnp.int8, jnp.float32, jnp.bfloat16)
"""Of the rows that one input is multiplied with by the kernel of `row_kernel`, which has no gradient."""


@struct.dataclass
class OutputRows:
    """A matrix [in, out] as `rows` [out, in]: plain numbers, or codes -127..127 and a scale for each output."""

    rows: Float[Array, "O I"] | Int[Array, "O I"]
    scales: Float[Array, "O"] | None = None


def output_rows(w: Float[Array, "I O"], *, integers: bool) -> OutputRows:
    if not integers:
        return OutputRows(w.T)
    codes, scales = _rounded(w.astype(jnp.float32).T)
    return OutputRows(codes, scales[:, 0])


def rows_matmul(x: Float[Array, "*batch I"], w: OutputRows) -> Float[Array, "*batch O"]:
    """x @ w in float32. From integers every sum is exact, and is scaled back in float32."""
    if w.scales is None:
        return _products(x, w.rows, jnp.float32)
    codes, scales = _rounded(x.astype(jnp.float32))
    return _products(codes, w.rows, jnp.int32).astype(jnp.float32) * scales * w.scales


def _products(x, rows, dtype):
    if x.size == x.shape[-1] > 0 and rows.dtype in KERNEL_DTYPES:
        # Only here: numba takes a second to start, and training does not need it.
        from helptune.gemma.row_kernel import one_row_matmul

        return one_row_matmul(x.reshape(1, -1), rows).reshape(*x.shape[:-1], -1)
    contract = (((x.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, rows, contract, preferred_element_type=dtype)


def _rounded(x: Float[Array, "*rows I"]) -> tuple[Int[Array, "*rows I"], Float[Array, "*rows 1"]]:
    """int8 codes and one scale for each row: the largest value of a row becomes 127."""
    scales = jnp.max(jnp.abs(x), axis=-1, keepdims=True) / 127
    return jnp.round(x / jnp.where(scales == 0, 1, scales)).astype(jnp.int8), scales
