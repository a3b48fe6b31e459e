"""Pictures of tokens: one box a token, the marked ones in another colour, and no box beyond the edge."""

from matplotlib.patches import FancyBboxPatch

from helptune.plots import shift_by_one, token_boxes
from helptune.plots.style import blank

PIECES = ["<bos>", "<start_of_turn>", "user", "\n", "$x$", "▁word", "<end_of_turn>"]


def boxes(ax):
    return [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]


def test_every_token_is_a_box_and_marked_ones_differ():
    marked = [False] * 5 + [True] * 2
    ax = token_boxes(blank(), PIECES, marked)
    colours = [box.get_facecolor() for box in boxes(ax)]
    assert len(set(colours[:5])) == len(set(colours[5:])) == 1
    assert colours[0] != colours[-1]
    assert [text.get_text() for text in ax.texts] == [
        "<bos>",
        "<start_of_turn>",
        "user",
        "↵",
        "$x$",
        "▁word",
        PIECES[-1],
    ]


def test_long_texts_wrap():
    ax = token_boxes(blank(), PIECES * 5, [False] * 35)
    right = ax.get_xlim()[1]
    assert all(box.get_x() + box.get_width() <= right for box in boxes(ax))
    assert len({box.get_y() for box in boxes(ax)}) > 3


def test_a_shift_has_two_boxes_a_position_and_colours_targets_that_count():
    ax = shift_by_one(blank(), PIECES[:-1], PIECES[1:], [0, 0, 0, 0, 1, 1])
    colours = [box.get_facecolor() for box in boxes(ax)]
    assert len(colours) == 12
    assert sum(colour != colours[0] for colour in colours) == 2
