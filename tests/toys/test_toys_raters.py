"""Raters by rule: what they are made of is what agreement finds."""

import numpy as np
import pytest

from helptune.data.agreement.coefficients import measure
from helptune.data.agreement.gate import Gate, check
from helptune.toys.raters import TOP, dice_raters, noisy_raters


def alpha(ratings):
    return measure(ratings, "krippendorff_alpha", "ordinal", resamples=10).value


def test_raters_without_noise_agree_and_dice_do_not():
    assert alpha(noisy_raters(0.0)) == pytest.approx(1)
    assert abs(alpha(dice_raters(items=2_000))) < 0.05


def test_more_noise_is_less_agreement():
    values = [alpha(noisy_raters(noise)) for noise in (0.25, 0.75, 1.5, 3)]
    assert values == sorted(values, reverse=True)


def test_ratings_stay_on_the_scale():
    assert np.unique(noisy_raters(5.0).values).tolist() == list(range(TOP + 1))


def test_dropping_disagreement_makes_dice_agree():
    """13 of 25 throws of two dice lie within a point: the gate's fence, half of the items, may let them pass."""
    verdict = check(dice_raters(items=5_000), Gate(max_spread=1), resamples=10)
    assert abs(verdict.before.value) < 0.05
    assert verdict.after.value > 0.75
    assert verdict.retention == pytest.approx(13 / 25, abs=0.03)
