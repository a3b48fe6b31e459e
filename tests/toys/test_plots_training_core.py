"""The pictures of notebook 06 show what they are given."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from helptune.gemma.sharding import make_mesh
from helptune.plots.style import blank
from helptune.plots.training_core import differing_bits, placement, rounding, stacked, visits


def test_a_block_names_the_devices_that_hold_it():
    mesh = make_mesh((1, 1, 1), jax.devices()[:1])
    ax = placement(blank(), (3, 8, 6), NamedSharding(mesh, P(None, "fsdp", "tensor")), "q")
    assert [text.get_text() for text in ax.texts] == [str(jax.devices()[0].id)]
    assert ax.get_xlim() == (0, 6)
    assert ax.get_ylim() == (8, 0)


@pytest.mark.parametrize(("dtype", "line"), [("bfloat16", 0), ("float32", 1)])
def test_steps_below_the_line_vanish_and_steps_above_it_do_not(dtype, line):
    weights, half = rounding(blank(), {}).lines[line].get_data()
    weights, half = (np.asarray(values[5::50], np.float64) for values in (weights, half))
    low = np.asarray(weights, jax.numpy.dtype(dtype))
    scale = low.astype(np.float64)
    assert (np.asarray(scale + 0.9 * half, low.dtype) == low).all()
    assert (np.asarray(scale + 1.1 * half, low.dtype) != low).all()


def test_parts_are_stacked_and_their_sum_stands_above():
    ax = stacked(blank(), {"one": {"x": 1.0, "y": 2.0}, "other": {"y": 4.5}}, limit=4.0, limit_name="the end")
    assert [text.get_text() for text in ax.texts] == ["3", "4.5", "the end"]
    assert ax.get_ylim()[1] > 4.5


def test_every_visit_is_a_point():
    ax = visits(blank(), [[[0, 1], [2]], [[1, 0], [2]]], steps_an_epoch=1)
    epochs = [line for line in ax.lines if line.get_label().startswith("epoch")]
    assert [len(line.get_xdata()) for line in epochs] == [3, 3]


def test_bits_have_32_places():
    ax = differing_bits(blank(), {"same": np.zeros(32), "other": np.full(32, 0.5)})
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[0.0] * 32, [0.5] * 32]
