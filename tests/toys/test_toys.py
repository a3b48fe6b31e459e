"""The toys of the notebooks obey the laws that the notebooks teach with them."""

import numpy as np
import pytest

from helptune.evaluate.strength import strengths
from helptune.evaluate.votes import Vote, VoteSet
from helptune.toys.answers import ANSWERS, COMPARISONS, TEXTS, UNTRAINED, demonstrator
from helptune.toys.imitation import demonstrations, imitate, imitation_loss
from helptune.toys.preference import fit_rewards, preference_loss, win_probabilities
from helptune.toys.styles import friendly, questions, terse


def slope(loss, at, step=1e-5):
    return np.array([(loss(at + step * e) - loss(at - step * e)) / (2 * step) for e in np.eye(len(at))])


def test_probabilities_add_up():
    assert UNTRAINED.sum() == pytest.approx(1)
    assert all(demonstrator(evasive).sum() == pytest.approx(1) for evasive in (0.0, 0.3, 1.0))
    assert len(TEXTS) == len(ANSWERS) == len(UNTRAINED)


def test_imitation_ends_where_the_policy_is_the_data():
    counts = demonstrations(demonstrator(0.2), 50)
    assert counts.sum() == 50
    assert imitate(UNTRAINED, counts) == pytest.approx(counts / 50, abs=0.01)


def test_gradients_are_the_slopes_of_their_losses():
    at, counts = np.array([0.3, -1.0, 0.5, 0.1]), np.array([5, 1, 0, 2])
    assert imitation_loss(at, counts)[1] == pytest.approx(slope(lambda x: imitation_loss(x, counts)[0], at), abs=1e-8)
    ours = preference_loss(at, COMPARISONS)[1]
    assert ours == pytest.approx(slope(lambda x: preference_loss(x, COMPARISONS)[0], at), abs=1e-8)


def test_one_of_two_wins_and_only_differences_count():
    rewards = np.array([1.0, -2.0, 0.5])
    wins = win_probabilities(rewards)
    assert wins + wins.T == pytest.approx(np.ones((3, 3)))
    assert win_probabilities(rewards + 7) == pytest.approx(wins)


def test_fitted_rewards_are_the_strengths_of_the_library():
    votes = [Vote(str(n), ANSWERS[i], ANSWERS[j], "first", "r", "machine") for n, (i, j) in enumerate(COMPARISONS)]
    found = strengths(VoteSet(tuple(votes)), ANSWERS, "machine", resamples=10)
    theirs = {one.model: one.value.value for one in found.strengths}
    path = fit_rewards(COMPARISONS, len(ANSWERS))
    assert path[-1] == pytest.approx([theirs[name] for name in ANSWERS], abs=1e-4)
    assert path.sum(axis=1) == pytest.approx(np.zeros(len(path)))


def test_styles_tell_the_same_fact_differently():
    training, held_out = questions()
    assert not {c.id for c in training} & {c.id for c in held_out}
    for conversation in training + held_out:
        short, long = terse(conversation).reference, friendly(conversation).reference
        assert short in long
        assert long.endswith("?")
        assert not short.endswith("?")
