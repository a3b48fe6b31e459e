"""What passes between the grader and a learner's process: values as data, never as code.

A message is a length, JSON, and the bytes of its arrays behind it. Both ends use this file, but the grader trusts
nothing it reads: `unpack` builds plain values of known kinds within limits, or raises Malformed. No pickle.
"""

import json
import struct
import sys
from math import prod
from typing import Any

import numpy as np

MAX_DEPTH = 20
MAX_JSON = 16 * 2**20
MAX_ARRAYS = 128 * 2**20
HEAD = struct.Struct(">II")
"""Bytes of JSON, bytes of arrays."""

_NATIVE = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
_OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4")
_KEY_KINDS = ("threefry2x32", "rbg", "unsafe_rbg")


class Unsendable(TypeError):
    """A value that is no number, array, text, or list or dict of them."""


class Malformed(ValueError):
    """What was received is no message."""


def pack(value: Any) -> bytes:
    """Raises Unsendable. Lists, tuples and dicts keep their kinds; so do numpy and JAX arrays, and random keys."""
    blobs: list[bytes] = []
    text = json.dumps(_encode(value, blobs, 0)).encode()
    size = sum(map(len, blobs))
    if len(text) > MAX_JSON or size > MAX_ARRAYS:
        raise Unsendable(f"{(len(text) + size) / 2**20:.0f} MiB, too much to be an answer")
    return HEAD.pack(len(text), size) + text + b"".join(blobs)


def sizes(head: bytes) -> tuple[int, int]:
    """The lengths that a message's head announces. Raises Malformed where they are over the limits."""
    text, arrays = HEAD.unpack(head)
    if text > MAX_JSON or arrays > MAX_ARRAYS:
        raise Malformed("a message that is too long")
    return text, arrays


def unpack(text: bytes, arrays: bytes) -> Any:
    """The value in a message. Raises Malformed, whatever the bytes are."""
    try:
        return _decode(json.loads(text), memoryview(arrays), 0)
    except Malformed:
        raise
    except Exception as error:
        raise Malformed(f"{type(error).__name__} in a message") from error


def _encode(value: Any, blobs: list[bytes], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unsendable(f"lists within lists, more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic):
        return _array("scalar", np.asarray(value), blobs)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return {"int": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, list):
        return [_encode(item, blobs, depth + 1) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, blobs, depth + 1) for item in value]}
    if isinstance(value, dict):
        pairs = value.items()
        return {"dict": [[_encode(_key(k), blobs, depth + 1), _encode(v, blobs, depth + 1)] for k, v in pairs]}
    return _encode_array(value, blobs)


def _key(key: Any) -> Any:
    if not isinstance(key, str | int):
        raise Unsendable(f"a dict with a key of the type {type(key).__name__}")
    return key


def _encode_array(value: Any, blobs: list[bytes]) -> Any:
    jax = sys.modules.get("jax")
    kind = "numpy"
    if jax is not None and isinstance(value, jax.Array):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            data = _array("jax", np.asarray(jax.random.key_data(value)), blobs)
            return {"key": [str(jax.random.key_impl(value)), data]}
        kind = "jax"
    try:
        array = np.asarray(value)
    except Exception as error:
        raise Unsendable(f"something of the type {type(value).__name__}") from error
    if array.dtype.name not in _NATIVE + _OF_ML_DTYPES:
        raise Unsendable(f"something of the type {type(value).__name__}")
    return _array(kind, array, blobs)


def _array(kind: str, array: np.ndarray, blobs: list[bytes]) -> Any:
    if array.dtype.name not in _NATIVE + _OF_ML_DTYPES:
        raise Unsendable(f"an array of {array.dtype.name}")
    if array.nbytes > MAX_ARRAYS:
        raise Unsendable(f"{array.nbytes / 2**20:.0f} MiB, too much to be an answer")
    start = sum(map(len, blobs))
    native = array.astype(array.dtype.newbyteorder("="))
    blobs.append(native.tobytes())
    return {"array": [kind, native.dtype.name, list(native.shape), start]}


def _decode(told: Any, arrays: memoryview, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Malformed("a message that is too deep")
    if told is None or isinstance(told, bool | str | float):
        return told
    if isinstance(told, list):
        return [_decode(item, arrays, depth + 1) for item in told]
    if not isinstance(told, dict) or len(told) != 1:
        raise Malformed("a message of an unknown form")
    ((form, held),) = told.items()
    if form == "int":
        return int(held, 16)
    if form == "bytes":
        return bytes.fromhex(held)
    if form == "tuple":
        return tuple(_decode(item, arrays, depth + 1) for item in held)
    if form == "dict":
        pairs = [(_decode(k, arrays, depth + 1), _decode(v, arrays, depth + 1)) for k, v in held]
        return {_checked(k, str | int): v for k, v in pairs}
    if form == "array":
        return _decode_array(held, arrays)
    if form == "key":
        return _decode_key(held, arrays)
    raise Malformed("a message of an unknown form")


def _checked(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise Malformed("a message with a wrong type in it")
    return value


def _decode_array(held: Any, arrays: memoryview) -> Any:
    kind, name, shape, start = held
    if kind not in ("numpy", "jax", "scalar") or name not in _NATIVE + _OF_ML_DTYPES or len(shape) > 32:
        raise Malformed("an array of an unknown kind")
    if any(type(size) is not int or size < 0 for size in [start, *shape]):
        raise Malformed("an array of an impossible shape")
    dtype = _dtype(name)
    size = prod(shape) * dtype.itemsize
    if start + size > len(arrays):
        raise Malformed("an array that ends too early")
    array = np.frombuffer(arrays[start : start + size], dtype=dtype).reshape(shape).copy()
    if kind == "scalar":
        return array[()] if array.ndim == 0 else array
    if kind == "jax":
        import jax.numpy as jnp

        return jnp.asarray(array)
    return array


def _decode_key(held: Any, arrays: memoryview) -> Any:
    import jax

    kind, data = held
    if kind not in _KEY_KINDS:
        raise Malformed("a random key of an unknown kind")
    return jax.random.wrap_key_data(_checked(_decode(data, arrays, MAX_DEPTH), jax.Array), impl=kind)


def _dtype(name: str) -> np.dtype:
    if name in _NATIVE:
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))
