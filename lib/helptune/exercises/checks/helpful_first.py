"""The exercises of 01_helpful_first: learning from demonstrations and from comparisons, written by hand."""

import numpy as np
from scipy.special import expit, log_expit, log_softmax

from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, expect
from helptune.toys import preference
from helptune.train.loss import chunked_nll


@check
def win_probability(answer, seed: int = 0) -> None:
    """Bradley-Terry: how likely is one answer preferred to another.

    `answer(ours, theirs)` with rewards [n] each gives the probability [n] that ours is preferred.
    """
    ours, theirs = np.random.default_rng(seed).uniform(0.5, 3, (2, 6))
    right = np.array([preference.win_probabilities(np.array(pair))[0, 1] for pair in zip(ours, theirs, strict=True)])
    known = [
        Known("swapped", 1 - right, "this is the probability that theirs is preferred: turn the difference around"),
        Known(
            "difference", ours - theirs, "the difference of rewards is the log odds: a sigmoid makes it a probability"
        ),
        Known("odds", np.exp(ours - theirs), "these are odds, and exceed 1: a probability is odds / (1 + odds)"),
        Known("share", ours / (ours + theirs), "a share of the rewards themselves: take exp of each of them first"),
        Known("sum", expit(ours + theirs), "the rewards are added: only their difference counts"),
        Known("ours_alone", expit(ours), "theirs has no part in this: take the sigmoid of the difference"),
        Known(
            "certain", (ours > theirs).astype(float), "the better one does not always win: use a sigmoid, not a step"
        ),
    ]
    expect(answer(ours, theirs), right, known, what="the probability")


@check
def sft_loss(answer, seed: int = 0) -> None:
    """The loss of supervised fine-tuning: mean surprise at the answer's tokens.

    `answer(log_probs, tokens, supervised)` with log_probs [B, T, V], of what comes after each place, tokens [B, T] and
    supervised [B, T] gives one number, in nats per supervised token.
    """
    rng = np.random.default_rng(seed)
    B, T, V = 3, 9, 7
    log_probs = log_softmax(rng.normal(size=(B, T, V)) * 2, axis=-1)
    tokens = rng.integers(V, size=(B, T))
    starts, ends = np.array([3, 5, 2]), np.array([9, 7, 8])  # after the prompt, before the padding
    supervised = (np.arange(T) >= starts[:, None]) & (np.arange(T) < ends[:, None])
    targets, weights = tokens[:, 1:], supervised[:, 1:].astype(np.float32)
    # log p is its own log softmax: with a unit matrix for the vocabulary, the library's loss takes it as it is.
    hidden, unit = log_probs[:, :-1].astype(np.float32), np.eye(V, dtype=np.float32)
    right = float(chunked_nll(hidden, unit, targets, weights)) / float(weights.sum())

    def surprise(at, of):
        return -np.take_along_axis(at, of[..., None], axis=-1)[..., 0]

    nll, here = surprise(log_probs[:, :-1], targets), surprise(log_probs, tokens)
    back = surprise(log_probs[:, 1:], tokens[:, :-1])
    total, unmoved = (nll * weights).sum(), supervised[:, :-1]
    mask_text = "the mask says which tokens count, so it moves along with the targets: supervised[:, 1:]"
    known = [
        Known("sign", -right, "the sign: log p is negative, and a loss is to be made small, so negate it"),
        Known("prompt_tokens", nll.mean(), "prompt and padding are in the loss: only supervised tokens count"),
        Known("no_shift", here[supervised].mean(), "log_probs[:, t] is about the token at t + 1: shift one of them"),
        Known("no_shift_no_mask", here.mean(), "shift by one place, and count supervised tokens only"),
        Known("mask_not_shifted", nll[unmoved].mean(), mask_text),
        Known("mask_not_shifted", nll[unmoved].sum() / weights.sum(), mask_text),
        *(
            Known("backwards", back[mask].mean(), "shifted the wrong way: place t of log_probs is about token t + 1")
            for mask in (unmoved, weights > 0)
        ),
        Known("all_tokens", total / nll.size, "divide by the number of supervised tokens, not of all tokens"),
        Known("all_places", total / tokens.size, "divide by the number of supervised tokens, not of all places"),
        Known("sum", total, "this is the sum: divide it by the number of supervised tokens"),
        Known("rows", total / B, "divide by the number of supervised tokens, not of conversations"),
        Known(
            "row_means",
            ((nll * weights).sum(axis=1) / weights.sum(axis=1)).mean(),
            "a mean of each row's mean: tokens of short answers weigh more. Add up all rows, then divide once",
        ),
        Known("perplexity", np.exp(right), "this is the perplexity, exp of the loss"),
        Known("not_log", -np.exp(-nll[supervised[:, 1:]]).mean(), "minus the probability: the loss is minus its log"),
    ]
    expect(answer(log_probs, tokens, supervised), right, known, what="the loss")


@check
def preference_loss(answer, seed: int = 0) -> None:
    """The Bradley-Terry loss of comparisons, and its gradient.

    `answer(rewards, comparisons)` with rewards [A] and comparisons [C, 2], (preferred, other) in each row, gives the
    mean loss in nats and its gradient [A].
    """
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=5)
    comparisons = np.array([rng.choice(5, size=2, replace=False) for _ in range(12)])
    loss, gradient = preference.preference_loss(rewards, comparisons)
    found = answer(rewards, comparisons)
    known_losses, known_gradients = _preference_mistakes(rewards, comparisons, loss, gradient)
    if not isinstance(found, tuple | list) or len(found) != 2:
        expect(found, (loss, gradient), known_losses, what="the result")
    expect(found[0], loss, known_losses, what="the loss")
    expect(found[1], gradient, known_gradients, what="the gradient")


def _preference_mistakes(rewards, comparisons, loss, gradient) -> tuple[list[Known], list[Known]]:
    preferred, other = comparisons.T
    margin, pairs = rewards[preferred] - rewards[other], len(comparisons)

    def spread(weight, to_preferred=-1.0, to_other=1.0):
        slope = np.zeros(len(rewards))
        np.add.at(slope, preferred, to_preferred * weight)
        np.add.at(slope, other, to_other * weight)
        return slope

    surprise = expit(-margin) / pairs
    overwritten = np.zeros(len(rewards))
    overwritten[preferred] -= surprise
    overwritten[other] += surprise
    losses = [
        Known("swapped", -log_expit(-margin).mean(), "preferred and other are swapped: the first of a pair won"),
        Known("no_minus", -loss, "the minus is missing: log of a probability is negative, a loss is not"),
        Known("no_sigmoid", -margin.mean(), "the sigmoid is missing: without it the loss has no lower end"),
        Known("no_log", -expit(margin).mean(), "the log is missing: this is minus the probability"),
        Known("error_rate", expit(-margin).mean(), "1 - p: the loss is -log p, which punishes certainty that is wrong"),
        Known("sum", loss * pairs, "this is the sum over comparisons: take their mean"),
        Known("bits", loss / np.log(2), "this is in bits: use the natural logarithm"),
    ]
    gradients = [
        Known("ascends", -gradient, "the sign: a step against the gradient must raise the reward of who was preferred"),
        Known(
            "wrong_weight",
            spread(expit(margin) / pairs),
            "the weight of a comparison is 1 - p, how much it surprises, not p",
        ),
        Known("no_weight", spread(np.full(pairs, 1 / pairs)), "each comparison weighs 1 - p, not 1"),
        Known("one_side", spread(surprise, to_other=0), "the other answer has a gradient, too: its reward must fall"),
        Known(
            "overwritten",
            overwritten,
            "an answer in several comparisons counts once: g[indices] += x keeps only the last; use np.add.at or a loop",
        ),
        Known("gradient_sum", gradient * pairs, "the gradient is that of the sum: the loss is a mean"),
        Known("of_p", spread(expit(margin) * surprise), "this is the gradient of minus the probability, not of -log p"),
    ]
    return losses, gradients
