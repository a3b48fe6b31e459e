"""Learning from comparisons, on rewards small enough to see: one number for each of a few answers.

Bradley and Terry (1952): i is preferred to j with probability sigmoid(r[i] - r[j]). Preference models of RLHF are
trained on this likelihood (Christiano et al. 2017, arXiv:1706.03741), the reward then being a network's output.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, log_expit

from helptune.shapes import Float, Int

Rewards = Float[np.ndarray, " answers"]
Comparisons = Sequence[tuple[int, int]] | Int[np.ndarray, "comparisons 2"]
"""(number of the preferred answer, number of the other), one pair a comparison."""


def win_probabilities(rewards: Rewards) -> Float[np.ndarray, "answers answers"]:
    """The probability that the answer of a row is preferred to that of a column; 1/2 on the diagonal."""
    return expit(np.subtract.outer(rewards, rewards))


def preference_loss(rewards: Rewards, comparisons: Comparisons) -> tuple[float, Rewards]:
    """(mean of -log sigmoid(r[preferred] - r[other]) in nats, its gradient with respect to the rewards)."""
    preferred, other = np.array(comparisons).T
    margin = rewards[preferred] - rewards[other]
    surprise = (1 - expit(margin)) / len(margin)
    gradient = np.zeros(len(rewards))
    np.add.at(gradient, preferred, -surprise)  # an answer may be in many comparisons: += would keep one of them
    np.add.at(gradient, other, surprise)
    return float(-log_expit(margin).mean()), gradient


def fit_rewards(
    comparisons: Comparisons, answers: int, steps: int = 400, rate: float = 2.0
) -> Float[np.ndarray, "steps_and_start answers"]:
    """The rewards at every step of gradient descent from zero. Their mean stays 0: every step adds up to nothing."""
    path = [np.zeros(answers)]
    for _ in range(steps):
        path.append(path[-1] - rate * preference_loss(path[-1], comparisons)[1])
    return np.array(path)
