"""The picture of packed rows shows every conversation and all padding; the picture of a mask shows who sees whom."""

from itertools import pairwise

import numpy as np
from matplotlib.colors import to_rgb

from helptune.plots import packed_rows, who_sees_whom
from helptune.plots.style import blank


def test_a_bar_for_each_conversation_and_the_rest_is_padding():
    ax = packed_rows(blank(), [[3, 4], [5]], 8)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [3, 4, 1, 5, 3]
    assert [bar.get_hatch() is not None for bar in ax.patches] == [False, False, True, False, True]


def test_neighbours_differ_in_colour():
    colours = [bar.get_facecolor() for bar in packed_rows(blank(), [[1] * 12], 12).patches[:-1]]
    assert all(one != other for one, other in pairwise(colours))


def test_what_is_not_seen_is_pale():
    mask = np.array([[True, False], [False, True]])
    (image,) = who_sees_whom(blank(), mask, np.array([1, 2])).images
    pale = (np.asarray(image.get_array()) == to_rgb("#EEEEEE")).all(axis=-1)
    assert (pale == ~mask).all()
