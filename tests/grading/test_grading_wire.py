"""What passes between grader and learner: values come back as they were, and nothing else comes through at all."""

import contextlib
import json
import math
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.exercises.grade import wire


def through(value):
    message = wire.pack(value)
    text, arrays = wire.sizes(message[: wire.HEAD.size])
    body = message[wire.HEAD.size :]
    assert len(body) == text + arrays
    return wire.unpack(body[:text], body[text:])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
    | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_plain_values_come_back_equal_and_of_the_same_type(value):
    found = through(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("dtype", wire._NATIVE + wire._OF_ML_DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_arrays_come_back_bit_for_bit(dtype, shape):
    array = np.arange(math.prod(shape)).reshape(shape).astype(wire._dtype(dtype))
    found = through(array)
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert type(found) is np.ndarray


def test_each_kind_of_array_stays_its_kind():
    assert isinstance(through(jnp.ones(3, jnp.bfloat16)), jax.Array)
    assert type(through(np.float32(2))) is np.float32
    assert through([np.bool_(True)])[0].item() is True
    key = through(jax.random.key(3))
    assert jax.random.uniform(key) == jax.random.uniform(jax.random.key(3))


def test_what_is_not_of_this_machines_byte_order_is_turned():
    assert through(np.array([1, 2], ">i4")).tolist() == [1, 2]


def test_nan_and_infinity_are_numbers():
    assert [str(x) for x in through([math.nan, math.inf, -0.0])] == ["nan", "inf", "-0.0"]


@pytest.mark.parametrize(
    "value",
    [object(), {1.5: 2}, {(1, 2): 3}, iter("ab"), len, np.array([object()]), np.array(["a"]), {1, 2}, type],
    ids=["object", "number as key", "pair as key", "iterator", "function", "objects", "array of texts", "set", "type"],
)  # fmt: skip
def test_what_is_no_data_is_not_sent(value):
    with pytest.raises(wire.Unsendable):
        wire.pack(value)


def test_a_list_within_itself_is_not_sent():
    endless = []
    endless.append(endless)
    with pytest.raises(wire.Unsendable, match="deep"):
        wire.pack(endless)


def test_too_much_is_not_sent_and_not_read():
    with pytest.raises(wire.Unsendable, match="too much"):
        wire.pack(np.zeros(wire.MAX_ARRAYS // 8 + 1))
    with pytest.raises(wire.Malformed, match="too long"):
        wire.sizes(struct.pack(">II", 5, wire.MAX_ARRAYS + 1))


MALFORMED = [
    "", "{", "nul", "[" * 100_000, "3",
    '{"a": 1, "b": 2}', '{"unknown": 1}', '{"int": 5}', '{"int": "x"}', '{"bytes": "0"}',
    '{"dict": 3}', '{"dict": [[1]]}', '{"dict": [[[], 1]]}', '{"tuple": null}', '{"array": []}', '{"key": 0}',
    '{"array": ["numpy", "object", [1], 0]}', '{"array": ["numpy", "float32", [-1], 0]}',
    '{"array": ["numpy", "float32", [true], 0]}', '{"array": ["numpy", "float32", [4], 0]}',
    '{"array": ["numpy", "float32", [1], -4]}', '{"array": ["numpy", "float32", [1000000000000, 1000000000000], 0]}',
    '{"array": ["pickle", "float32", [1], 0]}', '{"key": ["threefry2x32", {"array": ["numpy", "uint32", [1], 0]}]}',
    '{"array": ["numpy", ["float32"], [1], 0]}', '{"array": ["numpy", "float32", "1", 0]}',
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:40])
def test_bytes_that_are_no_message_are_refused(text):
    with pytest.raises(wire.Malformed):
        wire.unpack(text.encode(), bytes(8))


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_no_bytes_at_all_do_more_than_be_refused(text, arrays):
    with contextlib.suppress(wire.Malformed):
        wire.unpack(text, arrays)


@given(VALUES, st.integers(0, 10_000), st.integers(0, 255))
def test_a_message_with_one_byte_changed_is_a_value_or_is_refused(value, place, byte):
    message = bytearray(wire.pack(value))
    text = bytearray(message[wire.HEAD.size :])
    text[place % len(text)] = byte
    with contextlib.suppress(wire.Malformed):
        wire.unpack(bytes(text), b"")


def test_the_format_is_json_and_raw_arrays():
    message = wire.pack({"a": np.arange(2, dtype="int16")})
    size = wire.sizes(message[:8])[0]
    assert json.loads(message[8 : 8 + size]) == {"dict": [["a", {"array": ["numpy", "int16", [2], 0]}]]}
    assert message[8 + size :] == b"\0\0\1\0"
