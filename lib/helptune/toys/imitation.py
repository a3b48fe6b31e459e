"""Imitation on a policy small enough to see: a probability for each of a few answers to one question.

Supervised fine-tuning is behaviour cloning (Pomerleau 1989): raise the likelihood of what a demonstrator did. For a
policy pi = softmax(logits) and demonstrations that chose answer i with the frequency f[i], the loss is
-sum_i f[i] log pi[i], and its gradient with respect to the logits is pi - f: it vanishes where the policy is the data.
"""

import numpy as np
from scipy.special import log_softmax, softmax

from helptune.shapes import Float, Int

Policy = Float[np.ndarray, " answers"]


def demonstrations(shares: Policy, count: int, seed: int = 0) -> Int[np.ndarray, " answers"]:
    """How often each answer is shown in `count` demonstrations by one who chooses answers with these shares."""
    rng = np.random.default_rng(seed)
    return np.bincount(rng.choice(len(shares), size=count, p=shares), minlength=len(shares))


def imitation_loss(logits: Policy, counts: Int[np.ndarray, " answers"]) -> tuple[float, Policy]:
    """(mean negative log-likelihood of the demonstrations in nats, its gradient with respect to the logits)."""
    frequency = counts / counts.sum()
    return float(-(frequency * log_softmax(logits)).sum()), softmax(logits) - frequency


def imitate(start: Policy, counts: Int[np.ndarray, " answers"], steps: int = 300, rate: float = 1.0) -> Policy:
    """The policy that gradient descent on the logits reaches from the policy `start`."""
    logits = np.log(start)
    for _ in range(steps):
        logits = logits - rate * imitation_loss(logits, counts)[1]
    return softmax(logits)
