"""The pictures of what is inside a block say what is there: shares, angles, costs, and where a mistake begins."""

import numpy as np
import pytest

from helptune.gemma.config import PUBLISHED
from helptune.gemma.rope import rope_tables
from helptune.plots import internals
from helptune.plots.style import blank


def test_shares_of_a_model_add_up_to_nearly_all_of_it():
    """Norms are what is missing: less than 0.1%."""
    bars = [bar.get_width() for bar in internals.parameter_shares(blank(), PUBLISHED).patches]
    for row in np.reshape(bars, (len(PUBLISHED), 3)):
        assert 99.9 < row.sum() < 100


@pytest.mark.parametrize("base", [1e4, 1e6])
def test_arrows_point_where_the_model_turns_its_pairs(base):
    sin, cos = rope_tables(np.array([[5]]), 256, base)[:, 0, 0]
    arrows = [text for text in internals.rope_clocks(blank(), 5, base).texts if hasattr(text, "arrow_patch")]
    for pair, arrow in zip(internals.CLOCKS, arrows, strict=True):
        np.testing.assert_allclose(np.subtract(arrow.xy, arrow.xyann), (cos[pair], sin[pair]), atol=1e-4)


def test_the_dearest_mistake_stands_on_top_and_a_gain_is_hatched():
    ax = internals.mistake_costs(blank(), {"small": 0.01, "large": 10.0, "gain": -0.1}, {"large": 3.0}, unseen=0.1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small", "gain", "large"]
    bars = [bar for bar in ax.patches if bar.get_y() >= 0 or bar.get_hatch()]
    assert [bool(bar.get_hatch()) for bar in bars[-3:]] == [False, True, False]
    assert ax.lines[0].get_xydata().tolist() == [[3.0, 2.0]]


def test_a_mistake_is_drawn_from_the_layer_on_where_it_acts():
    ax = internals.golden(blank(), {"late": [0.0, 0.0, 1e-2]}, [1e-7] * 3, tolerance=1e-5)
    assert np.isfinite(ax.lines[0].get_ydata()).tolist() == [False, False, True]
