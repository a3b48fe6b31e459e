"""The exercises of 02_lora_math: LoRA written by hand."""

import jax

from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, expect


@check
def lora_forward(answer, seed: int = 0) -> None:
    """The adapted projection: y = x W + (alpha / R) x A B.

    `answer(x, w, a, b, alpha)` with x [T, I], w [I, O], a [I, R], b [R, O] gives y [T, O].
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    shapes = {"x": (5, 8), "w": (8, 6), "a": (8, 2), "b": (2, 6)}
    x, w, a, b = (jax.random.normal(key, shape) for key, shape in zip(keys, shapes.values(), strict=True))
    alpha, rank = 3.0, 2
    base, update = x @ w, x @ a @ b
    known = [
        Known("no_scale", base + update, "the update is not scaled: multiply it by alpha / R"),
        Known("alpha_only", base + alpha * update, "the update is multiplied by alpha: divide by the rank, too"),
        Known("alpha_times_rank", base + alpha * rank * update, "alpha / R, not alpha times R"),
        Known(
            "scaled_twice", base + (alpha / rank) ** 2 * update, "the scale acts twice, on A and on B: once is enough"
        ),
        Known("base_scaled", alpha / rank * (base + update), "the scale belongs to the update alone, not to x W"),
        Known("no_base", alpha / rank * update, "x W is missing: the adapter is added to the frozen projection"),
        Known("no_update", base, "x A B is missing: this is the frozen projection alone"),
    ]
    expect(answer(x, w, a, b, alpha), base + alpha / rank * update, known, what="y")
