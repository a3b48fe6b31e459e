"""The exercises of 03_gemma_internals: the pieces of a block written by hand, and the test that finds a wrong one."""

import jax
import jax.numpy as jnp
import numpy as np

from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, Mistake, expect
from helptune.gemma import attention, layers, rope


@check
def rms_norm(answer, seed: int = 0) -> None:
    """RMSNorm with Gemma's (1 + scale) and its epsilon.

    `answer(x, scale)` with x [T, D], scale [D] gives y [T, D].
    """
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(5, 8)) + 0.7).astype(np.float32)
    x[1], x[2] = 0.0, 1e-3 * x[2]  # zeros, and numbers about as small as the root of epsilon
    scale = rng.normal(size=8).astype(np.float32)
    mean_square, epsilon = np.mean(x**2, axis=-1, keepdims=True), 1e-6

    def scaled(size, factor=1 + scale, x=x):
        with np.errstate(invalid="ignore"):
            return x / size * factor

    rms, centered = np.sqrt(mean_square + epsilon), x - x.mean(axis=-1, keepdims=True)
    known = [
        Known("no_one", scaled(rms, scale), "multiply by 1 + scale, not by scale"),
        Known("one_twice", scaled(rms, 2 + scale), "the 1 is added twice"),
        Known("not_scaled", scaled(rms, 1), "the scale is missing: multiply by 1 + scale"),
        Known(
            "layer_norm",
            scaled(np.sqrt(np.mean(centered**2, axis=-1, keepdims=True) + epsilon), x=centered),
            "the mean is subtracted: that is LayerNorm; RMSNorm only divides",
        ),
        Known("sum_not_mean", scaled(np.sqrt(8 * mean_square + epsilon)), "divide by the root of the *mean* square"),
        Known("no_root", scaled(mean_square + epsilon), "the root of the mean square is missing"),
        Known(
            "over_tokens",
            scaled(np.sqrt(np.mean(x**2, axis=0, keepdims=True) + epsilon)),
            "the mean is over tokens: each token is normalized on its own, over its features (axis -1, keepdims)",
        ),
        Known(
            "over_everything",
            scaled(np.sqrt(np.mean(x**2) + epsilon)),
            "the mean is over everything: each token has its own (axis -1, keepdims)",
        ),
        Known("no_epsilon", scaled(np.sqrt(mean_square)), "add 1e-6 to the mean square: a row of zeros gives 0 / 0"),
        Known("epsilon_outside", scaled(np.sqrt(mean_square) + epsilon), "the epsilon belongs under the root"),
    ]
    expect(answer(x, scale), layers.rms_norm(jnp.array(x), jnp.array(scale)), known, what="y")


@check
def gated_mlp(answer, seed: int = 0) -> None:
    """The gated MLP of Gemma: GeGLU with tanh-GELU.

    `answer(x, gate, up, down)` with x [T, D], gate and up [D, M], down [M, D] gives y [T, D].
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    x, gate, up = (jax.random.normal(key, shape) for key, shape in zip(keys, ((6, 5), (5, 9), (5, 9)), strict=False))
    down = jax.random.normal(keys[3], (9, 5))
    g, u = x @ gate, x @ up
    tanh, erf = jax.nn.gelu, lambda z: jax.nn.gelu(z, approximate=False)
    known = [
        Known("silu", (jax.nn.silu(g) * u) @ down, "this is SwiGLU: Gemma's gate is GELU, not SiLU"),
        Known("erf_gelu", (erf(g) * u) @ down, "nearly: this is the exact GELU, Gemma's is the tanh form"),
        Known("sigmoid_gelu", (g * jax.nn.sigmoid(1.702 * g) * u) @ down, "the tanh form, not z sigmoid(1.702 z)"),
        Known("no_cubic", (_gelu_without_cubic(g) * u) @ down, "the tanh form has a cubic term: z + 0.044715 z**3"),
        Known("sigmoid", (jax.nn.sigmoid(g) * u) @ down, "this gate is a sigmoid: Gemma's is GELU"),
        Known("relu", (jax.nn.relu(g) * u) @ down, "this is ReGLU: Gemma's gate is GELU, not ReLU"),
        Known("wrong_branch", (g * tanh(u)) @ down, "the activation acts on the gate, not on up"),
        Known("both_branches", (tanh(g) * tanh(u)) @ down, "the activation acts on the gate alone"),
        Known("after_product", tanh(g * u) @ down, "the activation acts on the gate, before the product with up"),
        Known("no_activation", (g * u) @ down, "the activation is missing: GELU of the gate"),
        Known("sum", (tanh(g) + u) @ down, "gate and up are multiplied, not added"),
        Known("no_up", tanh(g) @ down, "up is missing: the gate is multiplied with it"),
        Known("no_down", tanh(g) * u, "down is missing: the way back to the model's width"),
    ]  # fmt: skip
    expect(answer(x, gate, up, down), layers.geglu(g, u) @ down, known, what="y", rtol=1e-5)


def _gelu_without_cubic(z):
    return 0.5 * z * (1 + jnp.tanh(np.sqrt(2 / np.pi) * z))


@check
def apply_rope(answer, seed: int = 0) -> None:
    """RoPE: every pair (i, i + H/2) turns by position / base ** (2 i / H).

    `answer(x, positions, base)` with x [T, N, H], positions [T] gives y [T, N, H].
    """
    T, N, H, base = 6, 3, 16, 50.0  # small, so that even wrong angles are exact enough to be recognized
    x = jax.random.normal(jax.random.key(seed), (T, N, H))
    positions = np.sort(np.random.default_rng(seed).choice(np.arange(2, 14), T, replace=False))
    i = np.arange(H // 2)
    speed = base ** (-2 * i / H)
    by_head = np.broadcast_to(np.arange(N)[:, None] * speed, (T, N, H // 2))
    known = [
        Known("interleaved", _turned_interleaved(x, positions, speed), "pairs are (i, i + H/2), not (2i, 2i + 1)"),
        Known("wrong_sign", _turned(x, -positions, speed), "turned the wrong way: check the sign of the sines"),
        Known("not_a_rotation", _turned(x, positions, speed, sign=-1), "one sine is subtracted, the other added"),
        Known("sin_cos_swapped", _by_angle(x, np.pi / 2 - positions[:, None, None] * speed), "sine and cosine are swapped"),
        Known("one_too_far", _turned(x, positions + 1, speed), "off by one: the first position is 0"),
        Known("positions_ignored", _turned(x, np.arange(T), speed), "use `positions`: a row need not begin at 0"),
        Known("exponent_halved", _turned(x, positions, base ** (-i / H)), "the exponent is 2 i / H: this is half of it"),
        Known("exponent_doubled", _turned(x, positions, base ** (-4 * i / H)), "the exponent is 2 i / H: this is twice that"),
        Known("base_multiplies", _turned(x, positions, base ** (2 * i / H)), "divide by the power: later pairs are slower"),
        Known("one_speed", _turned(x, positions, np.ones(H // 2)), "every pair turns alike: divide by base ** (2 i / H)"),
        Known("base_fixed", _turned(x, positions, 10_000.0 ** (-2 * i / H)), "use the argument `base`, not 10,000"),
        Known("degrees", _turned(x, positions, speed * np.pi / 180), "angles are radians: nothing is to be converted"),
        Known("full_turns", _turned(x, positions, speed * 2 * np.pi), "angles are radians, not turns: no factor 2 pi"),
        Known("by_head", _by_angle(x, by_head), "the angle depends on the position, not on the head: mind the axes"),
        Known("overwritten", _overwritten(x, positions, speed), "the second half is made of the *turned* first half: keep the first as it was"),
        Known("half_only", _first_half(_turned(x, positions, speed), x), "the second half is not turned"),
        Known("not_turned", x, "nothing is turned"),
    ]  # fmt: skip
    right = rope.rotate(x[None], rope.rope_tables(jnp.array(positions)[None], H, base))[0]
    expect(answer(x, positions, base), right, known, what="y", rtol=1e-3)


def _turned(x, positions, speed, sign=1.0):
    return _by_angle(x, np.multiply.outer(positions, speed)[:, None], sign)


def _by_angle(x, angles, sign=1.0):
    """x [T, N, H] with each pair turned by its angle [T, N or 1, H/2]; `sign` -1 mirrors in place of turning."""
    sin, cos = np.sin(angles), np.cos(angles)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + sign * first * sin], axis=-1)


def _turned_interleaved(x, positions, speed):
    apart = jnp.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)
    first, second = jnp.split(_turned(apart, positions, speed), 2, axis=-1)
    return jnp.stack([first, second], axis=-1).reshape(x.shape)


def _overwritten(x, positions, speed):
    angles = np.multiply.outer(positions, speed)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    first = first * np.cos(angles) - second * np.sin(angles)
    return jnp.concatenate([first, second * np.cos(angles) + first * np.sin(angles)], axis=-1)


def _first_half(turned, x):
    return jnp.concatenate([jnp.split(turned, 2, axis=-1)[0], jnp.split(x, 2, axis=-1)[1]], axis=-1)


@check
def windowed_attention(answer, seed: int = 0) -> None:
    """Grouped-query attention in a causal window.

    `answer(q, k, v, window)` with q [T, N, H], k and v [T, K, H] gives y [T, N, H].
    """
    T, N, K, H, window = 7, 4, 2, 5, 3
    keys = jax.random.split(jax.random.key(seed), 3)
    q, k, v = (jax.random.normal(key, (T, n, H)) for key, n in zip(keys, (N, K, K), strict=True))
    positions, ones = jnp.arange(T)[None], jnp.ones((1, T), int)
    back = np.arange(T)[:, None] - np.arange(T)[None]
    q = 2 * q  # a mistake in the scores shows more
    right = {"q": q, "k": k, "v": v, "visible": (back >= 0) & (back < window)}

    def mixed(**change):
        return _mixed(**{**right, **change})

    known = [
        Known("no_scale", mixed(scale=1.0), "scores are divided by the root of the head width"),
        Known("scale_without_root", mixed(scale=1 / H), "divide by the *root* of the head width"),
        Known("scale_of_all_heads", mixed(scale=(N * H) ** -0.5), "the scale is that of one head's width, not of all"),
        Known("scale_fixed", mixed(scale=256**-0.5), "the head width is that of `q`, its last axis: it is not always 256"),
        Known("no_window", mixed(visible=back >= 0), "the window is missing: what lies further back is not seen"),
        Known("window_too_long", mixed(visible=(back >= 0) & (back <= window)), "one too many: the token itself counts"),
        Known("window_too_short", mixed(visible=(back >= 0) & (back < window - 1)), "one too few: back 0 to window - 1"),
        Known("itself_unseen", mixed(visible=(back > 0) & (back < window)), "a token sees itself, too"),
        Known("anti_causal", mixed(visible=(back <= 0) & (back > -window)), "it looks ahead, not back"),
        Known("both_sides", mixed(visible=abs(back) < window), "it looks ahead, too: nothing later may be seen"),
        Known("only_beyond", mixed(visible=(back >= window) | (back == 0)), "near tokens are seen, far ones are not"),
        Known("no_mask", mixed(visible=back > -T), "nothing is masked: neither what comes later nor what is far back"),
        Known("tiled_heads", mixed(ways="tt"), "queries 0 and 1 share key head 0, 2 and 3 head 1: repeat, not tile"),
        Known("values_tiled", mixed(ways="rt"), "values are repeated in the same order as keys"),
        Known("first_head_only", mixed(k=k[:, :1], v=v[:, :1]), "all queries use key head 0: each group has its own"),
        Known("softmax_over_queries", mixed(axis=-2), "the softmax is over keys: a query's shares add up to 1"),
        Known("softmax_over_heads", mixed(axis=0), "the softmax is over keys, not over heads"),
        Known("masked_with_zero", mixed(masked=0.0), "a score of 0 is still a share: use a very negative number"),
        Known("masked_after", mixed(after=True), "masked after the softmax: what is left does not add up to 1"),
        Known("no_softmax", mixed(soft=False), "the softmax is missing"),
    ]  # fmt: skip
    distance = attention.distances(positions, ones, positions, ones)
    theirs = attention.attend(q[None], k[None], v[None], distance, jnp.int32(window))[0]
    expect(answer(q, k, v, window), theirs, known, what="y")


def _mixed(q, k, v, visible, scale=None, ways="rr", axis=-1, masked=-1e30, after=False, soft=True):
    """Attention with its mistakes as arguments; `ways` is how keys and values are copied, repeated or tiled."""
    groups = q.shape[1] // k.shape[1]
    copy = {"r": lambda y: jnp.repeat(y, groups, axis=1), "t": lambda y: jnp.tile(y, (1, groups, 1))}
    k, v = copy[ways[0]](k), copy[ways[1]](v)
    scores = jnp.einsum("tnh,snh->nts", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if not soft:
        shares = jnp.where(visible, scores, 0.0)
    elif after:
        shares = jnp.where(visible, jax.nn.softmax(scores, axis=axis), 0.0)
    else:
        shares = jax.nn.softmax(jnp.where(visible, scores, masked), axis=axis)
    return jnp.einsum("nts,snh->tnh", shares, v)


@check
def first_wrong_layer(answer, seed: int = 0) -> None:
    """The golden test: the first layer whose state is further from the reference than the tolerance.

    `answer(ours, theirs, tolerance)` with ours and theirs [L, T, D] gives a layer, or None.
    """
    rng = np.random.default_rng(seed)
    L, first, tolerance = 8, 3, 1e-3
    theirs = rng.normal(size=(L, 4, 6)) * 3.0 ** np.arange(L)[:, None, None]  # later states are larger, as in Gemma
    noise = rng.normal(size=(L, 4, 6))
    noise -= np.mean(noise, axis=(1, 2), keepdims=True)  # adds up to nothing in each layer
    noise *= (_length(theirs) / _length(noise))[:, None, None]
    size = np.array([1e-6, 5e-4, 1e-5, 5e-3, 5e-4, 5e-2, 3e-1, 2e-3])  # layer 4 happens to be near again
    ours = theirs + size[:, None, None] * noise
    known = [
        Known("one_based", first + 1, "layers are counted from 0"),
        Known("last_right", first - 1, "this is the last right layer; the first wrong one is asked for"),
        Known("last_wrong", L - 1, "this is the last layer that differs, not the first"),
        Known("largest", int(np.argmax(size)), "this is the layer that differs most, not the first one to differ"),
        Known(
            "not_relative",
            int(np.argmax(_length(ours - theirs) > tolerance)),
            "divide the length of the difference by that of the reference",
        ),
        Known("squared", int(np.argmax(size**2 > tolerance)), "squares are compared: take the root of both sums"),
        Known("first_right", 0, "this is the first layer that is near enough; the first too far is asked for"),
    ]
    found = answer(ours, theirs, tolerance)
    if found is None:
        raise Mistake("cancels", "no layer was found: differences of both signs cancel when added; take their length")
    expect(found, first, known, what="the layer")
    same = answer(theirs + 1e-6 * noise, theirs, tolerance)
    if same is not None:
        raise Mistake("not_none", f"where no layer differs by more than the tolerance, None is right; found {same!r}")
    if answer(1.5 * theirs[:1], theirs[:1], tolerance) is None:
        raise Mistake("zero_is_none", "layer 0 differs, and the answer is None: 0 counts as False in `if` and `or`")
    if answer(3 * theirs[:1], theirs[:1], 1.0) is None:
        raise Mistake("relative_to_ours", "the difference is divided by the length of our state: by *theirs* is right")
    even = np.ones((2, 4, 6))
    peak = even.copy()
    peak[:, 0, 0] += 3e-3, 1e-2  # of the length 0.0006 and 0.002, of one token 0.001 and 0.004
    found = answer(peak, even, tolerance)
    if found is None:
        raise Mistake("averaged", "one number is far off, and no layer was found: take the length, not a mean")
    expect(
        found,
        1,
        [Known("judged_alone", 0, "a token or a number was judged alone: the length is over all of a layer")],
        what="the layer in which one number is far off",
    )


def _length(states):
    """[L, T, D] to [L]."""
    return np.sqrt(np.sum(states**2, axis=(1, 2)))
