# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Exercises: a block by hand
#
# They go with [03 · Gemma internals](../../course/03_gemma_internals.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not. Nothing is loaded here: all arrays are small.
#
# Shape letters: T tokens, D model width, M MLP width, N query heads, K key/value heads, H head width, L layers.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("gemma_internals")

# %%
import jax
import jax.numpy as jnp
import numpy as np

# %% [markdown] nbgrader={"grade": false, "grade_id": "rms_norm_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · RMSNorm
#
# **warm-up · about 10 minutes · 2 points**
#
# *Objective: write the first line of every block, with its 1 and its epsilon.*
#
# Write `rms_norm(x, scale)` for `x` [T, D] and `scale` [D]: each token's features divided by the root of their mean square, 1e-6 being
# added to the mean square, then multiplied by 1 + `scale`. It returns [T, D].
#
# <details><summary>Hint 1: where to look</summary>
#
# The mean is over a token's features, so over the last axis. It must keep its place to divide `x`: `keepdims=True`.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Three steps: the mean square, the root of it plus 1e-6, then the quotient times `1 + scale`.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `rms` is `jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)`.
#
# </details>
#
# *You should see* `✓ rms_norm`.


# %% nbgrader={"grade": false, "grade_id": "rms_norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rms_norm(x, scale):
    ### BEGIN SOLUTION
    rms = jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return x / rms * (1 + scale)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "rms_norm_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import gemma_internals as checks

checks.rms_norm(rms_norm)
### BEGIN HIDDEN TESTS
checks.rms_norm(rms_norm, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "gated_mlp_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · The gated MLP
#
# **core · about 15 minutes · 3 points**
#
# *Objective: write Gemma's MLP, and not that of a model with a similar name.*
#
# Write `gated_mlp(x, gate, up, down)` for `x` [T, D], `gate` and `up` [D, M] and `down` [M, D]. It returns [T, D]: tanh-GELU of the
# gate's projection, times that of `up`, brought back to the width by `down`. You may use `jax.nn`, or write GELU yourself.
#
# <details><summary>Hint 1: where to look</summary>
#
# `jax.nn.gelu` has an argument that chooses between the tanh form and the exact one. Read which of them is the default.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Two products with `x`, side by side. Only one of them goes through GELU. They meet element by element.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Inside the brackets stands `jax.nn.gelu(x @ gate) * (x @ up)`; `down` comes last.
#
# </details>
#
# *You should see* `✓ gated_mlp`.


# %% nbgrader={"grade": false, "grade_id": "gated_mlp", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gated_mlp(x, gate, up, down):
    ### BEGIN SOLUTION
    return (jax.nn.gelu(x @ gate, approximate=True) * (x @ up)) @ down
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gated_mlp_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import gemma_internals as checks

checks.gated_mlp(gated_mlp)
### BEGIN HIDDEN TESTS
checks.gated_mlp(gated_mlp, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "apply_rope_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · RoPE
#
# **core · about 25 minutes · 4 points**
#
# *Objective: turn pairs of features, each at its own speed, so that a score depends on a distance.*
#
# Write `apply_rope(x, positions, base)` for `x` [T, N, H] and `positions` [T]. In every head, feature i and feature i + H/2 form a pair,
# for i < H/2. At position p turn it by p / base^(2 i / H), from the first feature toward the second. It returns [T, N, H].
#
# <details><summary>Hint 1: where to look</summary>
#
# A turn by the angle a takes (u, v) to (u cos a - v sin a, v cos a + u sin a). All first features are one half of the head.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Make the angles [T, H/2] first: positions as a column, divided by a row of powers. Then give them an axis of length 1 for the
# heads. `jnp.split(x, 2, axis=-1)` gives the halves; `jnp.concatenate` puts them together again.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)`, where H is `x.shape[-1]`, and `sin = jnp.sin(angles)[:, None]`.
#
# </details>
#
# *You should see* `✓ apply_rope`, and below it what one query says to keys that are like it: the score falls and waves with the
# distance, more slowly with the larger base. The three thin lines of each colour, for keys at positions 0, 500 and 5,000, are one line.
#
# <img src="expected/rope_scores.png" alt="Two falling, waving curves of score over distance: from 1, base 10,000 falls to about 0.43 at distance 100, base 1,000,000 to about 0.62" width="480">


# %% nbgrader={"grade": false, "grade_id": "apply_rope", "locked": false, "schema_version": 3, "solution": true, "task": false}
def apply_rope(x, positions, base):
    ### BEGIN SOLUTION
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "apply_rope_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import gemma_internals as checks

checks.apply_rope(apply_rope)
### BEGIN HIDDEN TESTS
checks.apply_rope(apply_rope, seed=7)
### END HIDDEN TESTS

# %% picture="rope_scores" tags=["learner"]
import matplotlib.pyplot as plt

distances, same = np.arange(100), jnp.ones((100, 1, 256)) / 16
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for base, color, line in ((1e4, "#D55E00", "-"), (1e6, "#0072B2", "--")):
    for key in (0, 500, 5_000):
        q, k = apply_rope(same, key + distances, base), apply_rope(same[:1], np.array([key]), base)
        ax.plot(
            distances, jnp.sum(q * k, axis=-1), line, color=color, linewidth=1, label=f"base {base:,.0f}" * (key == 0)
        )
ax.set_xlabel("distance from key to query (tokens)")
ax.set_ylabel("score")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *In words: two curves begin at 1 and fall. With base 10,000 the score is at 0.43 after 100 tokens, with base 1,000,000 at 0.62; from about 60 tokens on both wave.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "windowed_attention_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · Attention in a window, with shared keys
#
# **core · about 30 minutes · 4 points**
#
# *Objective: say exactly who sees whom, and which query head reads which key head.*
#
# Write `windowed_attention(q, k, v, window)` for `q` [T, N, H], `k` and `v` [T, K, H], already rotated. Token t sees itself and the
# `window - 1` tokens before it. Scores are divided by the root of H; each query's shares add up to 1. Query heads are grouped in
# order: with N = 4 and K = 2, heads 0 and 1 read key head 0, heads 2 and 3 read key head 1. It returns [T, N, H].
#
# <details><summary>Hint 1: where to look</summary>
#
# Make `back` [T, T] first: how many positions key s lies behind query t. What must be true of it? Test it in your head with `window=1`.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Bring `k` and `v` to N heads with `jnp.repeat`. Scores [N, T, T] by `jnp.einsum("tnh,snh->nts", q, k)`. Put a very negative number
# where nothing may be seen, *before* the softmax over the last axis.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `back = jnp.arange(T)[:, None] - jnp.arange(T)`, visible is `(back >= 0) & (back < window)`, the mask `jnp.where(visible, scores, -1e30)`.
#
# </details>
#
# *You should see* `✓ windowed_attention`.


# %% nbgrader={"grade": false, "grade_id": "windowed_attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def windowed_attention(q, k, v, window):
    ### BEGIN SOLUTION
    T, N, H = q.shape
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(H)
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "windowed_attention_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import gemma_internals as checks

checks.windowed_attention(windowed_attention)
### BEGIN HIDDEN TESTS
checks.windowed_attention(windowed_attention, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "first_wrong_layer_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 5 · The golden test
#
# **core · about 15 minutes · 3 points**
#
# *Objective: write the test that finds what a loss does not show, and says where to look.*
#
# Write `first_wrong_layer(ours, theirs, tolerance)` for the states of two implementations, numpy arrays [L, T, D]. A layer is wrong
# when the length of its difference, over all its tokens and features, is more than `tolerance` times the length of *their* state. It returns
# the number of the first wrong layer, counted from 0, as an int, or None where there is none.
#
# <details><summary>Hint 1: where to look</summary>
#
# Why relative? States grow a thousandfold from the first layer to the last. A fixed limit is strict at one end and blind at the other.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Go through the layers in order, and return at the first that is too far. After the loop nothing was found.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The test of one layer is `np.linalg.norm(a - b) > tolerance * np.linalg.norm(b)`; `enumerate(zip(ours, theirs))` counts them.
#
# </details>
#
# *You should see* `✓ first_wrong_layer`.


# %% nbgrader={"grade": false, "grade_id": "first_wrong_layer", "locked": false, "schema_version": 3, "solution": true, "task": false}
def first_wrong_layer(ours, theirs, tolerance):
    ### BEGIN SOLUTION
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) > tolerance * np.linalg.norm(b):
            return layer
    return None
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "first_wrong_layer_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import gemma_internals as checks

checks.first_wrong_layer(first_wrong_layer)
### BEGIN HIDDEN TESTS
checks.first_wrong_layer(first_wrong_layer, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "a_port_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 6 · A port that is slightly worse
#
# **open · about 20 minutes · 3 points**
#
# *Objective: reason from symptoms to a piece of a block.*
#
# A colleague has ported Gemma 3 270M to a new engine. On short texts of 90 tokens its loss is 0.06 nats above yours; it writes well.
# On texts of 4,000 tokens it is worse by more. She says: "Rounding. It is 8-bit, after all." Write at most 200 words: which two mistakes of the notebook would fit
# these symptoms, and why would each cost more on long texts? What would you measure first, on which text, and what would each of your suspects, and rounding, show there?
#
# <details><summary>Hint 1: where to look</summary>
#
# In notebook 03, in the picture of what mistakes cost, look at the bars of about 0.06. Which of these have to do with distance?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# For each suspect ask: at which layer does it act for the first time? On which tokens? Does rounding begin at a layer?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Draw, in your mind, the difference over layers for each of the three: where does each line leave zero?
#
# </details>


# %% [markdown] nbgrader={"grade": true, "grade_id": "a_port", "locked": false, "points": 3, "schema_version": 3, "solution": true, "task": false}
# Two suspects cost about 0.06 on 92 tokens and have to do with distance: the wrong layers are global (0.06), and all RoPE bases are 10,000 (0.05). On short texts a window of 512 hides nothing, so a
# wrong pattern shows in the bases alone; beyond 512 tokens the layers that should look far no longer do, and others that should not, do. With base 10,000 in a global layer the slow pairs turn
# a hundred times too fast: the longer the distance, the further the angle is from what training saw. Measured on 2,500 tokens: 0.01 nats on the first 90 and 1.05 on the last 500 for the bases, 0.04 and 0.52 for the pattern. (1 point: two suspects with a reason that involves distance.)
#
# A golden test comes first: the same tokens through both engines, the relative difference of the states after every layer, on a text of more than 512 tokens, so that windows act. (1 point.)
#
# The wrong base gives nothing up to layer 4 and jumps at layer 5, the first global one. The wrong pattern jumps at layer 0, and again where global layers were expected. Rounding is there
# from the first layer, of about the same relative size on all tokens, and grows smoothly; it would cost short texts as much as long ones. To be sure, run the port in float32 as well: rounding goes away, a mistake stays. (1 point.)
