"""The kernel for one input: numpy's product, to the bit for integers, whatever the size and whoever calls at once."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.gemma import row_kernel
from helptune.gemma.row_kernel import one_row_matmul
from helptune.gemma.rows import OutputRows, rows_matmul

DTYPES = {"int8": np.int8, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def numbers(seed, dtype, *shape):
    rng = np.random.default_rng(seed)
    integers = rng.integers(-128, 128, shape).astype(np.int8)
    return integers if dtype == "int8" else rng.standard_normal(shape).astype(DTYPES[dtype])


def exact(x, rows):
    return x.astype(np.float64) @ rows.astype(np.float64).T


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(DTYPES)), st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
def test_it_is_the_product(dtype, outputs, inputs, seed):
    x, rows = numbers(seed, dtype, 1, inputs), numbers(seed + 1, dtype, outputs, inputs)
    found = one_row_matmul(jnp.asarray(x), jnp.asarray(rows))
    assert found.dtype == (jnp.int32 if dtype == "int8" else jnp.float32)
    tolerance = 0 if dtype == "int8" else 1e-5 * inputs
    np.testing.assert_allclose(found, exact(x, rows), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_a_large_matrix_is_read_by_many_calls(dtype):
    """Neither the number of rows nor of bytes is a multiple of the calls."""
    x, rows = numbers(0, dtype, 1, 640), numbers(1, dtype, 13_331, 640)
    assert rows.nbytes > row_kernel._SMALL_BYTES
    found = jax.jit(one_row_matmul)(jnp.asarray(x), jnp.asarray(rows))
    np.testing.assert_allclose(found, exact(x, rows), rtol=0, atol=0 if dtype == "int8" else 1e-3)


def test_the_largest_integers_do_not_overflow():
    worst = np.full((1, 100_000), -128, np.int8)
    assert int(one_row_matmul(worst, jnp.asarray(worst))[0, 0]) == 128 * 128 * 100_000


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_nan_and_an_infinity_are_not_hidden(dtype):
    rows = numbers(2, dtype, 4, 64)
    x = numbers(3, dtype, 1, 64)
    x[0, 63] = np.nan
    assert np.isnan(one_row_matmul(jnp.asarray(x), jnp.asarray(rows))).all()
    x[0, 63] = np.inf
    assert np.isinf(one_row_matmul(jnp.asarray(x), jnp.asarray(rows))).all()


@pytest.mark.parametrize(
    ("x", "rows"),
    [
        (np.ones((1, 16), np.float32), np.ones((3, 8), np.float32)),
        (np.ones(8, np.float32), np.ones((3, 8), np.float32)),
        (np.ones((2, 8), np.float32), np.ones((3, 8), np.float32)),
        (np.ones((1, 8), np.float32), np.ones((3, 8), np.int8)),
        (np.ones((1, 8), np.int8), np.ones((3, 8), np.float32)),
        (np.ones((1, 8), np.float32), np.ones((3, 8), np.float16)),
        (np.ones((1, 8), np.int32), np.ones((3, 8), np.int32)),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_what_it_would_read_past_its_end_is_refused(x, rows):
    with pytest.raises(TypeError, match="cannot be multiplied with rows"):
        one_row_matmul(jnp.asarray(x), jnp.asarray(rows))


def test_other_dtypes_and_empty_batches_go_another_way():
    ones = OutputRows(jnp.ones((3, 8), jnp.float16))
    np.testing.assert_array_equal(rows_matmul(jnp.ones((1, 8), jnp.float16), ones), [[8, 8, 8]])
    assert rows_matmul(jnp.ones((4, 0)), OutputRows(jnp.ones((3, 0)))).shape == (4, 3)


def test_it_may_be_mapped_over():
    x, rows = numbers(5, "float32", 4, 16), numbers(6, "float32", 8, 16)
    found = jax.vmap(lambda row: rows_matmul(row, OutputRows(jnp.asarray(rows))))(jnp.asarray(x))
    np.testing.assert_allclose(found, exact(x, rows), atol=1e-4)


def test_threads_may_call_it_at_the_same_time():
    rows = jnp.asarray(numbers(4, "int8", 20_000, 640))
    inputs = [numbers(seed, "int8", 1, 640) for seed in range(16)]
    product = jax.jit(one_row_matmul)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda x: np.asarray(product(x, rows)), inputs))
    for x, y in zip(inputs, found, strict=True):
        np.testing.assert_array_equal(y, exact(x, np.asarray(rows)))
