"""The picture of a funnel says the numbers of the manifest."""

from helptune.plots.mixture import funnel
from helptune.plots.style import blank

STAGES = [{"stage": "source", "dropped": 100, "left": 1_900}, {"stage": "filter", "dropped": 0, "left": 1_900}]


def test_every_stage_has_a_bar_of_what_is_left_and_of_what_left_there():
    ax = funnel(blank(7.0, 3.2), STAGES)
    left, dropped = ([bar.get_width() for bar in bars] for bars in ax.containers)
    assert left == [2_000, 1_900, 1_900]
    assert dropped == [0, 100, 0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["read", "source", "filter"]
    assert [text.get_text() for text in ax.texts] == ["2,000", "1,900  (-100)", "1,900"]
    assert ax.get_xlabel() == "records"
