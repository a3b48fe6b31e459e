"""The exercises of 06_training_core: schedule, accumulation, AdamW and data order, written by hand."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import jax
import numpy as np
import optax

from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, Mistake, difference, expect
from helptune.train.optimizer import OptimizerConfig, learning_rate


@check
def warmup_cosine(answer, seed: int = 0) -> None:
    """The learning rate of a step: a linear warmup, then half a cosine.

    `answer(step, peak, warmup, total, final)` gives one number.
    """
    rng = np.random.default_rng(seed)
    peak, final = float(rng.uniform(1e-4, 1e-3)), float(rng.uniform(0.05, 0.3))
    warmup, total = int(rng.integers(4, 8)), int(rng.integers(25, 35))
    steps = np.arange(total + 6)
    schedule = learning_rate(OptimizerConfig(peak, warmup, final), total)
    right = np.array([float(schedule(step)) for step in steps])
    share = np.clip((steps - warmup) / (total - warmup), 0, 1)
    ramp, bend, floor = steps / warmup, (1 + np.cos(np.pi * share)) / 2, final * peak

    def curve(warm=ramp, fall=bend, floor=floor, first=warmup):
        return np.where(steps < first, peak * warm, floor + (peak - floor) * fall)

    unclipped = (steps - warmup) / (total - warmup)
    known = [
        Known("no_warmup", curve(first=0), "the warmup is missing: before `warmup`, the peak times step / warmup"),
        Known("warmup_off_by_one", curve((steps + 1) / warmup), "step 0 has the rate 0: step / warmup, without + 1"),
        Known(
            "clock_of_the_run",
            curve(fall=(1 + np.cos(np.pi * np.clip(steps / total, 0, 1))) / 2),
            "the cosine begins when the warmup ends: its clock is (step - warmup) / (total - warmup)",
        ),
        Known("to_zero", curve(floor=0), "the cosine ends at final x peak, not at 0"),
        Known(
            "floor_added",
            np.where(steps < warmup, peak * ramp, floor + peak * (1 + np.cos(np.pi * share)) / 2),
            "with the floor added, the rate begins above its peak: the cosine spans what is between them, peak - floor",
        ),
        Known("final_is_a_rate", curve(floor=final), "final is a share of the peak: the last rate is final x peak"),
        Known("whole_cosine", curve(fall=np.cos(np.pi * share)), "cos goes down to -1: use (1 + cos) / 2, from 1 to 0"),
        Known("line", curve(fall=1 - share), "this falls in a straight line: the shape is half a cosine"),
        Known(
            "rises_again",
            curve(fall=(1 + np.cos(np.pi * unclipped)) / 2),
            "after `total` steps the rate rises again: it should stay at final x peak",
        ),
    ]
    found = [answer(int(step), peak, warmup, total, final) for step in steps]
    expect(found, right, known, what="the rates of steps 0, 1, 2, ...", atol=1e-9)


@check
def accumulate(answer, seed: int = 0) -> None:
    """Loss and gradient of a batch from the sums of its micro-batches.

    `answer(parts)`, a list of (nll, weight, gradient) with gradient {site: {leaf: array}}, gives (loss, gradient).
    """
    rng = np.random.default_rng(seed)
    shapes = {"q": {"a": (3, 2), "b": (2, 4)}, "down": {"a": (5, 2), "b": (2, 3)}}

    def part(weight):
        gradient = jax.tree.map(
            lambda shape: weight * rng.normal(size=shape), shapes, is_leaf=lambda item: isinstance(item, tuple)
        )
        return float(weight * rng.uniform(2, 4)), float(weight), gradient

    _one_batch(answer, [part(weight) for weight in rng.permutation([3, 40, 11, 20])])
    silent = part(0)
    _one_batch(answer, [part(7), silent, part(2)], "with a micro-batch without supervised tokens, ")
    loss, gradient = _pair(answer([silent, silent]), "loss, gradient")
    text = "a batch without any supervised token has loss 0 and gradient 0, not 0 / 0: divide by max(weight, 1)"
    if np.isnan(loss).any() or any(np.isnan(leaf).any() for leaf in jax.tree.leaves(gradient)):
        raise Mistake("nothing_supervised", text)
    expect((loss, gradient), (0.0, silent[2]), what="of a batch without supervised tokens, the result")


def _copy(tree: Any) -> Any:
    return jax.tree.map(np.copy, tree)


def _pair(found: Any, told: str) -> tuple[Any, Any]:
    """What an answer of two things gave."""
    if found is None:
        raise Mistake("nothing_returned", "the result is None: is a `return` missing?")
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Mistake("wrong_structure", f"the result should be two things: {told}")
    return found[0], found[1]


def _one_batch(answer: Any, parts: list[tuple[float, float, Any]], when: str = "") -> None:
    nlls, weights, gradients = zip(*parts, strict=True)
    total, count = sum(weights), len(parts)

    def added(trees, scale=1.0):
        return jax.tree.map(lambda *leaves: scale * sum(leaves), *trees)

    def each_divided(values):
        return [jax.tree.map(lambda x, w=w: x / max(w, 1.0), v) for v, w in zip(values, weights, strict=True)]

    def mistakes(values: Any) -> list[Known]:
        means = each_divided(values)
        return [
            Known("mean_of_means", added(means, 1 / count), "each part is divided by its own weight: add up all sums, "
                  "then divide once by all weights"),
            Known("sum_of_means", added(means), "each part is divided by its own weight, and these are added"),
            Known("number_of_parts", added(values, 1 / count), "divide by the sum of weights, not by how many parts"),
            Known("divided_twice", added(values, 1 / total / count), "divided twice: by the weights and by the number "
                  "of parts; once is enough"),
            Known("not_divided", added(values), "these are sums: divide them by the sum of all weights"),
            Known("last_forgotten", added(values[:-1], 1 / sum(weights[:-1])), "the last part is missing"),
            Known("last_not_added", added(values[:-1], 1 / total), "the last part's weight is counted, its sum is not"),
            Known("last_weight", added(values, 1 / weights[-1]), "divided by the weight of the last part alone: add up "
                  "the weights, too"),
            Known("last_alone", added(values[-1:], 1 / total), "only the last part is left: add to the sum, do not "
                  "replace it"),
            Known("last_mean", added(values[-1:], 1 / weights[-1]), "this is the last part alone: add up all of them"),
            Known("first_twice", added([*values, values[0]], 1 / total), "the first part counts twice: begin with it, "
                  "or with zeros, and add the others"),
        ]  # fmt: skip

    handed = [(nll, weight, _copy(gradient)) for nll, weight, gradient in parts]  # some answers add in place
    loss, gradient = _pair(answer(handed), "loss, gradient")
    right = added(nlls, 1 / total)
    _expect(loss, right, mistakes(nlls), f"{when}the loss")
    _expect(gradient, added(gradients, 1 / total), mistakes(gradients), f"{when}the gradient")


def _expect(found: Any, right: Any, known: list[Known], what: str) -> None:
    """As `expect`, without mistakes that make no difference for these numbers."""
    expect(found, right, [each for each in known if difference(each.value, right) is not None], what=what)


@check
def adamw_step(answer, seed: int = 0) -> None:
    """One step of AdamW on a dict of arrays.

    `answer(params, gradients, state, rate, beta1, beta2, eps, decay)` with dicts of arrays of the same keys, and a state
    {"count": int, "m": dict, "v": dict}, gives (new params, new state).
    """
    rng = np.random.default_rng(seed)
    shapes = {"a": (4, 2), "b": (2, 3)}
    params, gradients, m, noise = ({k: rng.normal(size=s) for k, s in shapes.items()} for _ in range(4))
    zeros = {k: np.zeros(s) for k, s in shapes.items()}
    numbers = float(rng.uniform(0.02, 0.08)), 0.8, 0.95, 0.05, 0.3
    _one_step(answer, params, gradients, {"count": 4, "m": m, "v": {k: x**2 + 0.1 for k, x in noise.items()}}, numbers)
    _one_step(answer, params, gradients, {"count": 0, "m": zeros, "v": zeros}, numbers, "at the first step, ")


def _one_step(answer: Any, w: dict, g: dict, state: dict, numbers: tuple[float, ...], when: str = "") -> None:
    """The state first, then the parameters: a wrong moment would make them wrong, too."""
    rate, b1, b2, eps, decay = numbers
    count, m, v = state["count"], state["m"], state["v"]
    t = count + 1
    right_w, right_m, right_v = _optax_step(w, g, state, numbers)

    def each(rule: Callable[..., Any], *dicts: dict) -> dict:
        return {k: rule(*(d[k] for d in dicts)) for k in w}

    def step(m=right_m, v=right_v, t1=t, t2=t, path=lambda m, v: m / (np.sqrt(v) + eps), shrink=decay, sign=-1):
        c1, c2 = (1 - b1**t1 if t1 else 1.0), (1 - b2**t2 if t2 else 1.0)
        return each(lambda w, m, v: w + sign * rate * (path(m / c1, v / c2) + shrink * w), w, m, v)

    coupled = each(lambda g, w: g + decay * w, g, w)
    of_m = [
        Known("betas_swapped", each(lambda m, g: b2 * m + (1 - b2) * g, m, g), "beta1 and beta2 are swapped: beta1 is m's"),
        Known("coupled_decay", each(lambda m, g: b1 * m + (1 - b1) * g, m, coupled), "the decay is in the gradient (L2), "
              "where the moments see it: AdamW takes rate x decay x weight off the weight itself"),
        Known("old_state", m, "m is as it was: the new state should hold the new moments"),
        Known("no_share", each(lambda m, g: b1 * m + g, m, g), "the gradient enters m with the share 1 - beta1"),
        Known("shares_swapped", each(lambda m, g: (1 - b1) * m + b1 * g, m, g), "old and new are swapped: beta1 is the "
              "share of the old m"),
        Known("corrected_kept", each(lambda m: m / (1 - b1**t), right_m), "the corrected moment is kept: the state "
              "holds m itself, or the next step corrects it again"),
    ]  # fmt: skip
    of_v = [
        Known("betas_swapped", each(lambda v, g: b1 * v + (1 - b1) * g**2, v, g), "beta1 and beta2 are swapped: beta2 is v's"),
        Known("not_squared", each(lambda v, g: b2 * v + (1 - b2) * g, v, g), "v is of the squared gradient"),
        Known("old_state", v, "v is as it was: the new state should hold the new moments"),
        Known("no_share", each(lambda v, g: b2 * v + g**2, v, g), "the squared gradient enters v with the share 1 - beta2"),
        Known("corrected_kept", each(lambda v: v / (1 - b2**t), right_v), "the corrected moment is kept: the state "
              "holds v itself"),
    ]  # fmt: skip
    of_w = [
        Known("no_bias_correction", step(t1=0, t2=0), "the moments start at 0 and are too small at first: divide m by "
              "1 - beta1**t and v by 1 - beta2**t"),
        Known("count_starts_at_0", step(t1=count, t2=count), "t is too small by one: the first step is number 1, so add "
              "to the count before the correction"),
        Known("v_not_corrected", step(t2=0), "v has a bias, too: divide it by 1 - beta2**t"),
        Known("no_sqrt", step(path=lambda m, v: m / (v + eps)), "the square root of v is missing"),
        Known("eps_inside", step(path=lambda m, v: m / np.sqrt(v + eps)), "eps is added to the square root, not under it"),
        Known("old_moments", step(m, v), "the step is made with the old moments: update m and v first"),
        Known("old_gradient", step(m), "the step is made with the old m, which does not know this gradient yet"),
        Known("gradient_not_m", step(each(lambda g: g * (1 - b1**t), g)), "the step goes along m, not along the gradient"),
        Known("uphill", step(sign=1, shrink=-decay), "the wrong direction: the step is taken off the weights"),
        Known("uphill", step(sign=1), "the wrong direction: the step is taken off the weights"),
        Known("no_decay", step(shrink=0), "the weight decay is missing: rate x decay x weight comes off, too"),
        Known("decay_grows", step(shrink=-decay), "the decay makes weights larger: it comes off, as the step does"),
        Known("decay_without_rate", step(shrink=decay / rate), "the decay is multiplied by the learning rate, too"),
        Known("decay_of_new", each(lambda w: (1 - rate * decay) * w, step(shrink=0)), "the decay is of the weights as they "
              "were before the step"),
        Known("update_alone", each(lambda new, old: new - old, right_w, w), "this is the change alone: add the weights"),
    ]  # fmt: skip
    handed = _copy(w), _copy(g), {"count": count, "m": _copy(m), "v": _copy(v)}  # it may work in place
    new, found = _pair(answer(*handed, *numbers), "new params, new state")
    if not isinstance(found, dict) or set(found) != {"count", "m", "v"} or not isinstance(new, dict):
        raise Mistake("wrong_structure", "params are a dict, and the state is one with the keys count, m and v")
    if np.asarray(found["count"]) != t:
        raise Mistake("count_not_kept", f"{when}the new state's count should be {t}; found {found['count']}")
    _expect(found["m"], right_m, of_m, f"{when}m")
    _expect(found["v"], right_v, of_v, f"{when}v")
    if any(np.isnan(np.asarray(new[key], float)).any() for key in set(new) & set(w)):
        raise Mistake("count_starts_at_0", f"{when}the weights are NaN: 1 - beta**0 is 0, so count before you correct")
    _expect(new, right_w, of_w, f"{when}the weights")


def _optax_step(w: dict, g: dict, state: dict, numbers: tuple[float, ...]) -> tuple[dict, dict, dict]:
    """(weights, m, v) after a step of the optimizer that the library trains with."""
    rate, b1, b2, eps, decay = numbers
    optimizer = optax.adamw(rate, b1, b2, eps, weight_decay=decay)
    before = optax.tree_utils.tree_set(optimizer.init(w), count=np.int32(state["count"]), mu=state["m"], nu=state["v"])
    updates, after = optimizer.update(g, before, w)
    new = optax.apply_updates(w, updates)
    mu, nu = (optax.tree_utils.tree_get(after, name) for name in ("mu", "nu"))
    return tuple({k: np.asarray(x, np.float64) for k, x in tree.items()} for tree in (new, mu, nu))  # type: ignore[return-value]


@check
def batch_of_step(answer, seed: int = 0) -> None:
    """Which examples a step reads, as a function of seed and step.

    `answer(step, count, size, seed)` gives the numbers of the examples of that step, 0 <= number < count.
    """
    for count, size in ((23, 5), (24, 4)):
        per_epoch, own = math.ceil(count / size), seed + 11
        steps = range(3 * per_epoch)

        def run(order, of=own, count=count, size=size):
            return {step: _numbers(answer(step, count, size, of), count) for step in map(int, order)}

        plan, again = run(steps), run(np.random.default_rng(seed).permutation(steps))
        if differ := [step for step in steps if plan[step] != again[step]]:
            raise Mistake(
                "depends_on_the_past",
                f"step {differ[0]} reads {plan[differ[0]]} when steps are asked for in order, and {again[differ[0]]} when "
                "they are not: it may depend on its arguments only",
            )
        epochs = [[plan[step] for step in steps[e * per_epoch :][:per_epoch]] for e in range(3)]
        for number, epoch in enumerate(epochs):
            _is_an_epoch(epoch, number, count, size)
        _orders_differ(epochs, count)
        other = run(steps, own + 1)
        if other == plan:
            raise Mistake("seed_ignored", "another seed gives the same order: make the random generator of the seed")
        others = [[other[step] for step in steps[e * per_epoch :][:per_epoch]] for e in range(3)]
        for mine, theirs in product(range(3), repeat=2):
            if others[mine] == epochs[theirs]:
                raise Mistake(
                    "seed_plus_epoch" if mine != theirs else "seed_times_epoch",
                    f"epoch {mine} of seed {own + 1} is epoch {theirs} of seed {own}: a sum or product of seed and epoch "
                    "mixes them up, np.random.default_rng([seed, epoch]) does not",
                )


def _numbers(found: Any, count: int) -> list[int]:
    if found is None:
        raise Mistake("nothing_returned", "the result is None: is a `return` missing?")
    array = np.asarray(found)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise Mistake("wrong_structure", f"the result should be a list of whole numbers; found {found!r}")
    if array.size and not 0 <= array.min() <= array.max() < count:
        raise Mistake("out_of_range", f"examples are numbered 0 to {count - 1}; found {array.tolist()}")
    return [int(number) for number in array]


def _is_an_epoch(batches: list[list[int]], epoch: int, count: int, size: int) -> None:
    seen = [number for batch in batches for number in batch]
    missing, twice = count - len(set(seen)), len(seen) - len(set(seen))
    where = f"in epoch {epoch} of {count} examples"
    if twice and not missing and all(len(batch) == size for batch in batches):
        raise Mistake(
            "across_the_boundary",
            f"{where}, the last batch is filled up with examples that the epoch, or the next one, has anyway: leave it "
            f"smaller ({count % size} examples)",
        )
    full = [number for batch in batches[: count // size] for number in batch]
    if twice and len(full) == len(set(full)) == count // size * size:
        raise Mistake(
            "floor_not_ceil",
            f"{where}, only {count // size} batches are of one epoch: it has ceil({count} / {size}) = {len(batches)} "
            "steps, the last of them smaller",
        )
    if twice:
        raise Mistake("repeats_examples", f"{where}, {twice} visits are repeats: shuffle once an epoch, then cut")
    if missing:
        raise Mistake("drops_examples", f"{where}, {missing} of {count} examples are never read: keep the last batch")
    if any(len(batch) != size for batch in batches[:-1]):
        raise Mistake("wrong_size", f"{where}, batches hold {[len(b) for b in batches]}: {size} in all but the last")


def _orders_differ(epochs: list[list[list[int]]], count: int) -> None:
    orders = [[number for batch in epoch for number in batch] for epoch in epochs]
    if orders[0] == list(range(count)):
        raise Mistake("no_shuffle", "the examples come in the order of the file: shuffle them")
    if orders[0] == orders[1]:
        raise Mistake("same_every_epoch", "every epoch has the same order: the epoch belongs into the random generator")
    if orders[0] == orders[1][::-1] or sorted(map(sorted, epochs[0])) == sorted(map(sorted, epochs[1])):
        raise Mistake("same_batches", "the same examples always share a batch: shuffle examples, not batches")
