"""The pictures of notebook 05 show what they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from helptune.data.conversation import CATEGORIES, load_curated
from helptune.plots.agreement import meetings
from helptune.plots.conversations import answer_lengths, shares_left
from helptune.plots.duplicates import estimates, found_with_probability, kept_among, s_curve
from helptune.plots.mixture import fates
from helptune.plots.screening import scores
from helptune.plots.style import BASE, TUNED, WORSE, blank, to_svg


def test_a_long_band_finds_less_than_a_short_one():
    assert found_with_probability(np.array(0.8), 32, 4) == pytest.approx(1 - (1 - 0.8**4) ** 32)
    assert found_with_probability(np.array(0.8), 8, 16) < 0.25


def test_the_colors_of_fates_say_what_was_right():
    counts = {("none", "kept"): 9, ("none", "pii"): 2, ("leak", "kept"): 1, ("leak", "evaluation_prompt"): 3}
    ax = fates(blank(), counts, {"none"})
    assert [to_hex(c.get_facecolor()[0]).upper() for c in ax.collections] == [TUNED, BASE, WORSE, TUNED]
    assert [text.get_text() for text in ax.texts] == ["9", "2", "1", "3"]


def test_the_grid_of_lengths_has_a_number_for_every_category_and_difficulty():
    assert len(answer_lengths(blank(), load_curated("train")).texts) == 3 * len(CATEGORIES)


def test_every_picture_becomes_svg():
    half = np.linspace(0, 1, 8)
    pictures = [
        shares_left(blank(), {"a": 0.7, "b": 0.2}),
        estimates(blank(), half, half, 0.8),
        s_curve(blank(), 32, 4, 0.8),
        kept_among(blank(), np.eye(3), [0, 1, 2], 0.8),
        scores(blank(), half, half, 0.5),
        meetings(blank(), np.array([0, 1, 1]), np.array([0, 1, 2])),
    ]
    assert all(to_svg(ax).startswith("<svg") for ax in pictures)
