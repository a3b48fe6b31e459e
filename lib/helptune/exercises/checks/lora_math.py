"""The exercises of 02_lora_math: an adapter counted, written, differentiated and cut by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from helptune.adapt.lora import LoraConfig, low_rank
from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, Mistake, expect
from helptune.gemma.base import site_shapes
from helptune.gemma.config import gemma3_270m, gemma_7b
from helptune.train.flops import adapter_parameters


@check
def count_adapter(answer, seed: int = 0) -> None:
    """How many numbers an adapter trains.

    `answer(shapes, layers, rank)` with shapes [(in, out), ...] of the sites of one layer gives a whole number.
    """
    for model in (gemma3_270m(), gemma_7b()):
        shapes, rank = list(site_shapes(model).values()), 8 + seed
        a, b = (model.layers * rank * sum(shape[side] for shape in shapes) for side in (0, 1))
        full = model.layers * sum(d_in * d_out for d_in, d_out in shapes)
        right = adapter_parameters(model, LoraConfig(rank=rank))
        known = [
            Known("full_matrices", full, "these are the frozen matrices themselves: count A and B in their place"),
            Known("rank_times_full", rank * full, "in + out, not in times out: A is [in, R] and B is [R, out]"),
            Known("one_layer", right // model.layers, "this is one layer: every layer has an adapter of its own"),
            Known("only_a", a, "B is missing: it has R times out numbers"),
            Known("only_b", b, "A is missing: it has in times R numbers"),
            Known("no_rank", right // rank, "the rank is missing: A has R columns, and B has R rows"),
        ]
        expect(answer(shapes, model.layers, rank), right, known, what="the count")


@check
def lora_forward(answer, seed: int = 0) -> None:
    """The adapted projection: y = x W + (alpha / R) x A B.

    `answer(x, w, a, b, alpha)` with x [T, I], w [I, O], a [I, R], b [R, O] gives y [T, O].
    """
    x, w, a, b = _arrays(seed, (5, 8), (8, 6), (8, 2), (2, 6))
    alpha, rank = 3.0, 2
    base, update = x @ w, x @ a @ b
    known = [
        Known("no_scale", base + update, "the update is not scaled: multiply it by alpha / R"),
        Known("alpha_only", base + alpha * update, "the update is multiplied by alpha: divide by the rank, too"),
        Known("alpha_times_rank", base + alpha * rank * update, "alpha / R, not alpha times R"),
        Known("divided_by_in", base + alpha / 8 * update, "divided by the inputs of A: the rank is its other side"),
        Known("divided_by_out", base + alpha / 6 * update, "divided by the outputs of B: the rank is its other side"),
        Known("root_of_rank", base + alpha / rank**0.5 * update, "this is alpha / √R: asked is alpha / R"),
        Known(
            "scaled_twice", base + (alpha / rank) ** 2 * update, "the scale acts twice, on A and on B: once is enough"
        ),
        Known("base_scaled", alpha / rank * (base + update), "the scale belongs to the update alone, not to x W"),
        Known("no_base", alpha / rank * update, "x W is missing: the adapter is added to the frozen projection"),
        Known("no_update", base, "x A B is missing: this is the frozen projection alone"),
    ]
    expect(answer(x, w, a, b, alpha), base + alpha / rank * update, known, what="y")


@check
def lora_gradients(answer, seed: int = 0) -> None:
    """The gradients of A and B, by hand.

    `answer(x, a, b, alpha, g)` with x [T, I], a [I, R], b [R, O] and g [T, O], the gradient of the loss with respect to
    y, gives {"a": [I, R], "b": [R, O]}.
    """
    x, a, b, g = _arrays(seed, (5, 8), (8, 2), (2, 6), (5, 6))
    alpha, rank = 3.0, 2
    s = alpha / rank
    # The library's own backward pass: sum(g * y) has g as its gradient with respect to y.
    da, db = jax.grad(lambda a, b: jnp.sum(g * low_rank(x[None], a, s * b)[0]), (0, 1))(a, b)
    right = {"a": da, "b": db}

    def scaled(factor):
        return {"a": factor * da, "b": factor * db}

    known = [
        Known("no_scale", scaled(1 / s), "the scale alpha / R is missing: y carries it, so both gradients do"),
        Known("alpha_only", scaled(rank), "multiplied by alpha: divide by the rank, too"),
        Known("scaled_twice", scaled(s), "the scale acts twice: y = s x A B has it once, and so has each gradient"),
        Known("scaled_twice_on_a", {"a": s * da, "b": db}, "the gradient of A has the scale twice: once is enough"),
        Known("scaled_twice_on_b", {"a": da, "b": s * db}, "the gradient of B has the scale twice: once is enough"),
        Known("negative", scaled(-1), "this is the way downhill: the gradient itself has the other sign"),
        Known("mean_over_tokens", scaled(1 / len(x)), "divided by the tokens: g says already what each of them weighs"),
        Known("scale_on_b_only", {"a": da / s, "b": db}, "the gradient of A lacks the scale"),
        Known("scale_on_a_only", {"a": da, "b": db / s}, "the gradient of B lacks the scale"),
        Known("swapped", {"a": db, "b": da}, "these are the right arrays under each other's names"),
        Known("transposed", {"a": da.T, "b": db.T}, "transposed: a gradient has the shape of what it belongs to"),
        Known(
            "b_without_a",
            {"a": da, "b": s * x.T @ g},
            "the gradient of B takes in x A, what B is multiplied with, not x: this is the gradient of a whole matrix",
        ),
        Known(
            "a_without_b",
            {"a": s * x.T @ g, "b": db},
            "the gradient reaches A through B: g B^T in place of g. This is the gradient of a whole matrix",
        ),
        Known("trains_the_base", {**right, "w": x.T @ g}, "W is frozen: it gets no gradient, only A and B do"),
    ]
    expect(answer(x, a, b, alpha, g), right, known, what="the gradient")
    zero = answer(x, a, jnp.zeros_like(b), alpha, g)
    wanted = {"a": jnp.zeros_like(a), "b": db}
    expect(zero, wanted, what="with B = 0, as at the start, the gradient")


@check
def nearest_pair(answer, seed: int = 0) -> None:
    """The two thin matrices nearest to a given one.

    `answer(m, rank)` with m [I, O] gives {"a": [I, rank], "b": [rank, O]} whose product is nearest to m.
    """
    m, rank = np.asarray(_arrays(seed, (9, 6))[0]), 2
    u, s, vt = np.linalg.svd(m, full_matrices=False)
    # Pairs are not unique (A T and T^-1 B do the same), so products are compared.
    found = answer(m, rank)
    if not isinstance(found, dict) or set(found) != {"a", "b"}:
        expect(found, {"a": u[:, :rank], "b": vt[:rank]}, what="the pair")
    a, b = np.asarray(found["a"]), np.asarray(found["b"])
    if a.shape == (9, 6) and b.shape == (6, 6):
        raise Mistake("not_cut", "all singular values are kept: A should have `rank` columns and B `rank` rows")
    if a.shape == (rank, 9) or b.shape == (6, rank):
        raise Mistake("transposed", "A is [I, rank] and B is [rank, O]: one of them is lying on its side")
    for name, array, shape in (("A", a, (9, rank)), ("B", b, (rank, 6))):
        if array.shape != shape:
            raise Mistake("wrong_shape", f"{name} should have the shape {shape}; found {array.shape}")
    last = slice(len(s) - rank, None)
    top, columns = u[:, :rank], vt[:, :rank].T
    known = [
        Known("smallest", (u[:, last] * s[last]) @ vt[last], "the smallest singular values are kept: take the largest"),
        Known("no_values", top @ vt[:rank], "the singular values are missing: directions have length 1"),
        Known("values_twice", (top * s[:rank] ** 2) @ vt[:rank], "A and B both carry the singular values: share them"),
        Known(
            "root_once", (top * s[:rank] ** 0.5) @ vt[:rank], "the root of the values is there once: A or B lacks it"
        ),
        Known("columns_of_vt", (top * s[:rank]) @ columns, "`svd` gives V transposed: its rows are the directions"),
        Known("rows_of_m", np.eye(9)[:, :rank] @ m[:rank], "the first rows of m are no better than its other rows"),
    ]
    expect(a @ b, (top * s[:rank]) @ vt[:rank], known, what="the product A B")


@check
def other_rule(answer, seed: int = 0) -> None:
    """The same adapter under the other rule of scaling.

    `answer(alpha, rank)`: the alpha that makes alpha / R what alpha / √R was.
    """
    for rank in (9, 16 + seed):
        alpha = 8.0 + seed
        right = LoraConfig(rank=rank, alpha=alpha, rank_stabilized=True).scale * rank
        known = [
            Known("unchanged", alpha, "the same alpha under another rule is another scale"),
            Known("other_way", alpha / rank**0.5, "this makes it weaker still: alpha / R is smaller than alpha / √R"),
            Known("scale_not_alpha", alpha / rank, "this is a scale: asked is the alpha that gives it"),
            Known("times_rank", alpha * rank, "the rank once too often: solve new / R = alpha / √R"),
        ]
        expect(answer(alpha, rank), right, known, what="alpha")


def _arrays(seed: int, *shapes: tuple[int, ...]) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
