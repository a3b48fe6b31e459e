"""One input times a matrix at the speed of memory: a kernel compiled by numba, called by XLA on CPUs.

XLA's own product with one input takes twenty times as long, and one with two reads half of what memory gives. XLA
hands the kernel the address of a frame that leads to its buffers: the C interface of its FFI, as in
jaxlib/include/xla/ffi/api/c_api.h. It is compiled when this module is imported.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numba
import numpy as np
from numba.core.cgutils import voidptr_t
from numba.extending import intrinsic

from helptune.gemma.rows import KERNEL_DTYPES as DTYPES
from helptune.shapes import AnyArray, Array, Float, Int

_TARGET = "helptune_one_row_matmul"
# XLA spreads calls over its threads when many of them wait at the same time; a small matrix is read before a second
# thread wakes up.
_CALLS, _SMALL_BYTES = 24, 2**23
_API_VERSION = (0, 1)  # of the FFI: the first with these structures; later ones have only added to their ends
_METADATA_EXTENSION = 1
_INT8, _BFLOAT16 = 2, 16  # XLA's numbers of its types
_REORDERED = {"reassoc", "contract", "nsz"}  # what makes a sum a vector sum; NaN stays NaN


def _struct(*fields: str) -> np.dtype:
    """A C structure of addresses and 64-bit numbers, but for its enums and version numbers."""
    short = ("stage", "dtype", "type", "major", "minor")
    return np.dtype([(name, np.int32 if name in short else np.int64) for name in fields], align=True)


_BUFFERS = ("size", "extension", "count", "types", "addresses")
_FRAME = _struct(
    *("size", "extension", "api", "context", "stage"),
    *(f"input_{field}" for field in _BUFFERS),
    *(f"output_{field}" for field in _BUFFERS),
)
_BUFFER = _struct("size", "extension", "dtype", "data", "rank", "dims")
_EXTENSION = _struct("size", "type", "next", "metadata")
_METADATA = _struct("size", "version_size", "version_extension", "major", "minor")


def one_row_matmul(x: Float[Array, "1 I"] | Int[Array, "1 I"], rows: AnyArray) -> Array:
    """x @ rows.T, [1, O]: int8 by int8 gives int32, and float32 or bfloat16 `rows` [O, I] give float32.

    It has no gradient. Raises TypeError for other dtypes and shapes: the kernel would read past the end of its buffers.
    """
    integers = rows.dtype == jnp.int8
    if x.shape != (1, rows.shape[1]) or rows.dtype not in DTYPES or integers != (x.dtype == jnp.int8):
        raise TypeError(f"x {x.dtype}{list(x.shape)} cannot be multiplied with rows {rows.dtype}{list(rows.shape)}")
    dtype = jnp.int32 if integers else jnp.float32
    x = x if integers else x.astype(jnp.float32)
    calls = _CALLS if rows.size * rows.dtype.itemsize > _SMALL_BYTES else 1
    ends = [len(rows) * i // calls for i in range(calls + 1)]
    parts = [
        jax.ffi.ffi_call(_TARGET, jax.ShapeDtypeStruct((1, end - start), dtype), vmap_method="sequential")(
            x, rows, np.int32(start)
        )
        for start, end in pairwise(ends)
    ]
    return jnp.concatenate(parts, axis=1)


@intrinsic
def _pointer(typing, address):
    def build(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], voidptr_t)

    return numba.types.voidptr(numba.types.int64), build


@numba.njit(inline="always")
def _array(address, shape, dtype):
    return numba.carray(_pointer(address), shape, dtype)  # type: ignore[call-arg]


@numba.njit(inline="always")
def _buffer(addresses, index):
    return _array(_array(addresses, index + 1, np.int64)[index], 1, _BUFFER)[0]


@numba.njit(inline="always")
def _integer(code):
    return np.int32(code)


@numba.njit(inline="always")
def _float32(value):
    return np.float32(value)


@numba.njit(inline="always")
def _bfloat16(bits):
    """A bfloat16 is the upper half of a float32."""
    return np.uint32(np.uint32(bits) << 16).view(np.float32)


@numba.njit(fastmath=_REORDERED)
def _sums(x, rows, out, read):
    """out[o] = sum over i of x[i] * read(rows[o, i])."""
    for o in range(len(out)):
        total = read(0)
        for i in range(len(x)):
            total += read(rows[o, i]) * x[i]
        out[o] = total


@numba.cfunc(numba.types.int64(numba.types.int64))
def _kernel(address):
    """Inputs x [1, I], rows [O, I] and the first row wanted; output [1, number of rows wanted]."""
    frame = _array(address, 1, _FRAME)[0]
    if frame.extension != 0:
        extension = _array(frame.extension, 1, _EXTENSION)[0]
        if extension.type == _METADATA_EXTENSION:  # asked once: for which version of the interface is this written?
            version = _array(extension.metadata, 1, _METADATA)[0]
            version.major, version.minor = _API_VERSION
            return 0
    inputs = frame.input_addresses
    x, rows, first = _buffer(inputs, 0), _buffer(inputs, 1), _buffer(inputs, 2)
    out = _buffer(frame.output_addresses, 0)
    shape, start = _array(rows.dims, 2, np.int64), _array(first.data, 1, np.int32)[0]
    whole, wanted = (shape[0], shape[1]), slice(start, start + _array(out.dims, 2, np.int64)[1])
    if rows.dtype == _INT8:
        weights = _array(rows.data, whole, np.int8)[wanted]
        _sums(_array(x.data, shape[1], np.int8), weights, _array(out.data, len(weights), np.int32), _integer)
    elif rows.dtype == _BFLOAT16:
        weights = _array(rows.data, whole, np.uint16)[wanted]
        _sums(_array(x.data, shape[1], np.float32), weights, _array(out.data, len(weights), np.float32), _bfloat16)
    else:
        weights = _array(rows.data, whole, np.float32)[wanted]
        _sums(_array(x.data, shape[1], np.float32), weights, _array(out.data, len(weights), np.float32), _float32)
    return 0


jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(_kernel.ctypes), platform="cpu")
