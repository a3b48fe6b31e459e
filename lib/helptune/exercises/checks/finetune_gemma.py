"""The exercises of 07_finetune_gemma: reading a run, and the two rules that keep it from going wrong."""

from collections.abc import Sequence

import numpy as np
import optax

from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, Mistake, expect


@check
def perplexity(answer, seed: int = 0) -> None:
    """Perplexity of a set: exp of the nats per token.

    `answer(losses, weights)`: `losses` is the sum of the loss of each conversation, in nats, `weights` the number of its
    supervised tokens, both [B].
    """
    random = np.random.default_rng(seed)
    weights = random.integers(3, 60, 12).astype(float)
    losses = weights * random.uniform(1.0, 4.0, 12)
    right = np.exp(losses.sum() / weights.sum())
    known = [
        Known("no_exp", np.log(right), "these are nats per token: perplexity is exp of them"),
        Known(
            "mean_of_means",
            np.exp((losses / weights).mean()),
            "a short conversation counts as much as a long one here: divide the sums",
        ),
        Known("exp_before_mean", np.exp(losses / weights).mean(), "the mean comes first, then exp"),
        Known("per_conversation", np.exp(losses.mean()), "divide by the number of tokens, not of conversations"),
        Known("base_two", 2 ** (losses.sum() / weights.sum()), "the losses are in nats: exp, not a power of 2"),
        Known(
            "upside_down",
            np.exp(-losses.sum() / weights.sum()),
            "the sign: this is the typical probability, its inverse is wanted",
        ),
    ]
    expect(answer(losses, weights), right, known, what="the perplexity")


def _stop(losses: Sequence[float], patience: int, **wrong: bool) -> tuple[int, int]:
    """(index kept, index at which training ends), with the mistakes that `wrong` names."""
    best, kept, since = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], 1):
        reference = losses[index - 1] if wrong.get("previous") else best
        if loss <= reference if wrong.get("ties") else loss < reference:
            best, kept, since = loss, index, 0
        else:
            since += 1
        if since >= patience + wrong.get("late", 0):
            return (index if wrong.get("last") else kept), index
    return (len(losses) - 1 if wrong.get("last") else kept), len(losses) - 1


CURVES = (
    (3.5, 3.0, 2.8, 2.7, 2.75, 2.72, 2.8, 2.9, 3.0),  # falls, then rises
    (3.0, 2.5, 2.6, 2.4, 2.5, 2.5, 2.6, 2.7, 2.3),  # one bad measurement, then a better one
    (3.0, 2.8, 2.9, 2.85, 2.84, 2.83, 2.82),  # each better than the one before it, never than the best
    (2.0, 2.1, 2.2, 2.3, 2.4, 2.5),  # never better than the base
    (3.0, 2.5, 2.5, 2.5, 2.5, 2.4),  # ties
    (3.0, 2.9, 2.8, 2.7),  # never stops
)


@check
def early_stopping(answer, seed: int = 0) -> None:
    """Early stopping: which measurement is kept, and at which training ends.

    `answer(losses, patience)`: `losses` are the held-back losses so far, the first of them of the base; gives
    (kept, ended), two indices into `losses`.
    """
    random = np.random.default_rng(seed)
    curves = [*CURVES, *(tuple(np.round(np.cumsum(random.normal(-0.1, 0.4, 9)) + 3, 2).tolist()) for _ in range(20))]
    for losses in curves:
        for patience in (1, 2, 3):
            right = list(_stop(losses, patience))
            known = [Known(hint, list(value), text) for hint, value, text in _known_stops(losses, patience)]
            where = f"(kept, ended) for losses={list(losses)}, patience={patience}"
            expect(answer(list(losses), patience), right, [k for k in known if k.value != right], what=where)


def _known_stops(losses: Sequence[float], patience: int) -> list[tuple[str, tuple[int, int], str]]:
    _, ended = _stop(losses, patience)
    return [
        ("keeps_the_last", (ended, ended), "the adapter of the lowest held-back loss is kept, not the last one"),
        ("ties_improve", _stop(losses, patience, ties=True), "an equal loss is no improvement"),
        ("never_stops", (int(np.argmin(losses)), len(losses) - 1), "training ends after `patience` measurements without improvement"),
        ("compares_with_the_previous", _stop(losses, patience, previous=True), "an improvement is one over the best so far, not over the measurement before"),
        ("one_too_patient", _stop(losses, patience, late=True), "one measurement too late: patience 1 ends at the first that is not better"),
        ("sees_the_future", (int(np.argmin(losses)), ended), "kept a measurement that was made after training had ended"),
        ("forgets_the_base", _without_base(losses, patience), "the base is measurement 0: an adapter that is worse than it is not kept"),
        ("swapped", _stop(losses, patience)[::-1], "the measurement that is kept comes first, then the one at which training ends"),
        ("counts_all", _total(losses, patience), "an improvement begins the count anew: patience counts measurements in a row"),
    ]  # fmt: skip


def _without_base(losses: Sequence[float], patience: int) -> tuple[int, int]:
    kept, ended = _stop(losses[1:], patience)
    return kept + 1, ended + 1


def _total(losses: Sequence[float], patience: int) -> tuple[int, int]:
    best, kept, bad = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], 1):
        if loss < best:
            best, kept = loss, index
        else:
            bad += 1
        if bad >= patience:
            return kept, index
    return kept, len(losses) - 1


@check
def clip(answer, seed: int = 0) -> None:
    """Clip gradients by their global norm.

    `answer(grads, limit)`: `grads` is a dict of arrays; gives a dict of the same keys and shapes.
    """
    random = np.random.default_rng(seed)
    shapes = {"a": (4, 3), "b": (3, 5)}
    grads = {name: 3 * random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    grads["c"] = np.zeros(2, np.float32)
    norms = {name: np.sqrt((g**2).sum()) for name, g in grads.items()}
    total = np.sqrt(sum((g**2).sum() for g in grads.values()))
    for limit in (1.0, 0.01, 1e3):
        right, _ = optax.clip_by_global_norm(limit).update(grads, optax.EmptyState())
        scaled = {
            "each_leaf": {name: limit / max(norms[name], limit) for name in grads},
            "squared_norm": dict.fromkeys(grads, min(1.0, limit / total**2)),
            "sum_of_norms": dict.fromkeys(grads, min(1.0, limit / sum(norms.values()))),
            "largest_norm": dict.fromkeys(grads, min(1.0, limit / max(norms.values()))),
            "largest_number": dict.fromkeys(grads, min(1.0, limit / max(abs(g).max() for g in grads.values()))),
            "scales_up": dict.fromkeys(grads, limit / total),
            "not_clipped": dict.fromkeys(grads, 1.0),
            "upside_down": dict.fromkeys(grads, max(1.0, total / limit)),
            "mean_square": dict.fromkeys(
                grads, min(1.0, limit / np.sqrt(total**2 / sum(g.size for g in grads.values())))
            ),
            "to_length_one": dict.fromkeys(grads, 1 / total if total > limit else 1.0),
        }
        values = {hint: {name: factors[name] * g for name, g in grads.items()} for hint, factors in scaled.items()}
        values["each_number"] = {name: np.clip(g, -limit, limit) for name, g in grads.items()}
        found = answer({name: g.copy() for name, g in grads.items()}, limit)  # it may work in place
        if isinstance(found, dict) and any(np.isnan(np.asarray(found.get(name, 0.0), float)).any() for name in grads):
            raise Mistake("divides_by_zero", "a gradient of zeros gives NaN: take one norm over all arrays")
        expect(found, {k: np.asarray(v) for k, v in right.items()}, _clips(values, right), what="the gradients")


def _clips(values: dict, right: dict) -> list[Known]:
    texts = {
        "each_leaf": "each array is clipped by its own norm, which turns the direction of the step: one norm over all",
        "each_number": "each number is clipped, which turns the direction of the step: scale all by one factor",
        "squared_norm": "the norm is the square root of the sum of squares",
        "sum_of_norms": "norms do not add up: sum the squares over all arrays, then take the root",
        "largest_norm": "this is the norm of the largest array: sum the squares over all arrays, then take the root",
        "largest_number": "this is the largest number, not the norm: sum the squares of all, then take the root",
        "scales_up": "a gradient below the limit stays as it is",
        "not_clipped": "a gradient above the limit is scaled down to it",
        "upside_down": "the factor is limit / norm, not norm / limit",
        "mean_square": "the sum of the squares, not their mean: the norm grows with the number of parameters",
        "to_length_one": "scaled to length 1: the limit is missing in the factor",
    }
    differ = {
        hint: value
        for hint, value in values.items()
        if not all(np.allclose(value[name], right[name], rtol=1e-3) for name in value)
    }
    return [Known(hint, differ[hint], texts[hint]) for hint in texts if hint in differ]
