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
# # 02 · Exercises: LoRA by hand
#
# They go with [02 · LoRA mathematics](../../course/02_lora_math.ipynb), and take about an hour. Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("lora_math")

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from helptune.gemma.base import site_shapes
from helptune.gemma.config import gemma_7b

# %% [markdown] nbgrader={"grade": false, "grade_id": "count_adapter_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · Count an adapter
#
# **warm-up · about 5 minutes · 2 points**
#
# *Objective: know the size of an adapter before you train it.*
#
# A layer has several projections, of the `shapes` [(in, out), ...]. Beside each of them LoRA puts A [in, R] and B [R, out], in every one of `layers` layers.
# Write `count_adapter(shapes, layers, rank)`: how many numbers is that, as a whole number?
#
# <details><summary>Hint 1: where to look</summary>
#
# Draw one projection with its A and its B, and count the squares of both.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# A has in x R numbers and B has R x out: together R x (in + out). Sum over the projections, then over the layers.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `layers * rank * sum(...)`, with `d_in + d_out` inside the sum.
#
# </details>
#
# *You should see* `✓ count_adapter`, and below it 50,003,968 for rank 16 on Gemma 7B.


# %% nbgrader={"grade": false, "grade_id": "count_adapter", "locked": false, "schema_version": 3, "solution": true, "task": false}
def count_adapter(shapes, layers, rank):
    ### BEGIN SOLUTION
    return layers * rank * sum(d_in + d_out for d_in, d_out in shapes)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "count_adapter_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import lora_math as checks

checks.count_adapter(count_adapter)
### BEGIN HIDDEN TESTS
checks.count_adapter(count_adapter, seed=7)
### END HIDDEN TESTS

# %%
config = gemma_7b()
print(f"{count_adapter(list(site_shapes(config).values()), config.layers, 16):,}")

# %% [markdown] nbgrader={"grade": false, "grade_id": "lora_forward_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · The adapted projection
#
# **core · about 10 minutes · 3 points**
#
# *Objective: write the one line that LoRA adds to a model.*
#
# Write `lora_forward(x, w, a, b, alpha)` for `x` [T, I], the frozen `w` [I, O], `a` [I, R] and `b` [R, O]: the projection of
# `x`, and beside it the path through the two thin matrices, scaled by alpha over the rank.
#
# <details><summary>Hint 1: where to look</summary>
#
# The rank is the width between the two thin matrices: one of the numbers in `a.shape`.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Multiply `x` by `a` first, and the result by `b`: the thin way round. Only this product is scaled.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# A sum of two terms. The first is `x @ w`, the second begins with `alpha / a.shape[1]`.
#
# </details>
#
# *You should see* `✓ lora_forward`.


# %% nbgrader={"grade": false, "grade_id": "lora_forward", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lora_forward(x, w, a, b, alpha):
    ### BEGIN SOLUTION
    return x @ w + alpha / a.shape[1] * (x @ a @ b)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "lora_forward_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.lora_forward(lora_forward)
### BEGIN HIDDEN TESTS
checks.lora_forward(lora_forward, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "lora_gradients_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · Two gradients by hand
#
# **core · about 15 minutes · 4 points**
#
# *Objective: see in the formulas why B may start at zero, and why A must not as well.*
#
# With s = alpha / R and y = x W + s x A B, let `g` [T, O] be the gradient of the loss with respect to y. Write `lora_gradients(x, a, b, alpha, g)` for `x` [T, I], `a` [I, R], `b` [R, O]:
# the gradients of what is trained, as `{"a": [I, R], "b": [R, O]}`. Products of arrays only: no `jax.grad`.
#
# <details><summary>Hint 1: where to look</summary>
#
# For y = z M with a matrix M, the gradient of M is zᵀ g, and the gradient of z is g Mᵀ.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Name z = x A, so that the adapter is s z B. That gives the gradient of B, and the gradient of z. Then z = x A gives that of A. Check that each has the shape of what it belongs to.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# B: `s * (x @ a).T @ g`. A: `s * x.T @ (...)`, where the gradient that reached z stands in the brackets.
#
# </details>
#
# *You should see* `✓ lora_gradients`, and below it that with B = 0 only B has a gradient.


# %% nbgrader={"grade": false, "grade_id": "lora_gradients", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lora_gradients(x, a, b, alpha, g):
    ### BEGIN SOLUTION
    s = alpha / a.shape[1]
    return {"a": s * x.T @ (g @ b.T), "b": s * (x @ a).T @ g}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "lora_gradients_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.lora_gradients(lora_gradients)
### BEGIN HIDDEN TESTS
checks.lora_gradients(lora_gradients, seed=7)
### END HIDDEN TESTS

# %%
x, a, b, g = jnp.ones((2, 3)), jnp.ones((3, 1)), jnp.zeros((1, 4)), jnp.ones((2, 4))
print({name: bool(jnp.any(gradient)) for name, gradient in lora_gradients(x, a, b, 2.0, g).items()})

# %% [markdown] nbgrader={"grade": false, "grade_id": "nearest_pair_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · The nearest thin pair
#
# **core · about 15 minutes · 4 points**
#
# *Objective: turn any change of a matrix into the best adapter of a rank.*
#
# Write `nearest_pair(m, rank)` for a matrix `m` [I, O]: `{"a": [I, rank], "b": [rank, O]}`, whose product is nearer to `m` than that of any other pair of this rank. How you share the strength between the two is up to you.
#
# <details><summary>Hint 1: where to look</summary>
#
# Eckart and Young: the singular value decomposition, and its largest singular values.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# `U, S, Vt = np.linalg.svd(m, full_matrices=False)` sorts from large to small. Directions are the columns of U and the rows of Vt. Each value in S must be there exactly once in the product.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Columns `U[:, :rank]` times the root of `S[:rank]`, and rows `Vt[:rank]` times the same root.
#
# </details>
#
# *You should see* `✓ nearest_pair`, and this picture: blue points that lie on the grey line at every rank.
#
# <img src="expected/nearest.png" alt="What is missing of a matrix of 12 x 20, from rank 1 to 12: blue points on a falling grey line, the least that can be missing, down to 0 at rank 12." width="480">


# %% nbgrader={"grade": false, "grade_id": "nearest_pair", "locked": false, "schema_version": 3, "solution": true, "task": false}
def nearest_pair(m, rank):
    ### BEGIN SOLUTION
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    root = np.sqrt(S[:rank])
    return {"a": U[:, :rank] * root, "b": root[:, None] * Vt[:rank]}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "nearest_pair_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.nearest_pair(nearest_pair)
### BEGIN HIDDEN TESTS
checks.nearest_pair(nearest_pair, seed=7)
### END HIDDEN TESTS

# %% picture="nearest"
m = np.random.default_rng(2).normal(size=(12, 20)) @ np.diag(0.8 ** np.arange(20))
least = [np.sqrt(np.sum(np.linalg.svd(m, compute_uv=False)[r:] ** 2)) for r in range(13)]
pairs = [nearest_pair(m, r) for r in range(1, 13)]
figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(range(13), least, color="#888888", linewidth=4, alpha=0.6, label="the least possible")
ax.plot(range(1, 13), [np.linalg.norm(m - p["a"] @ p["b"]) for p in pairs], "o", color="#0072B2", label="yours")
ax.set(xlabel="rank", ylabel="norm of what is missing", title="A matrix of 12 x 20, cut to ranks")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *In words: blue points on a falling grey line, from rank 1 to rank 12, where nothing is missing.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "other_rule_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 5 · Another rule, the same adapter
#
# **core · about 5 minutes · 2 points**
#
# *Objective: never let an adapter come back with the wrong strength.*
#
# An adapter of `rank` R was trained with the scale alpha / √R. The program that shall serve it knows only alpha / R. Write `other_rule(alpha, rank)`: the alpha to write into its file, so that it does what it was trained to do. (Libraries and papers differ in
# this rule; a wrong one gives no error, only a worse model.)
#
# <details><summary>Hint 1: where to look</summary>
#
# What must stay the same is the scale, not alpha.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Write down both scales, with `new` for the alpha you look for, and set them equal.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# new / R = alpha / √R. Multiply both sides by R.
#
# </details>
#
# *You should see* `✓ other_rule`, and below it 64.0 for alpha 16 and rank 16.


# %% nbgrader={"grade": false, "grade_id": "other_rule", "locked": false, "schema_version": 3, "solution": true, "task": false}
def other_rule(alpha, rank):
    ### BEGIN SOLUTION
    return alpha * rank**0.5
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "other_rule_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.other_rule(other_rule)
### BEGIN HIDDEN TESTS
checks.other_rule(other_rule, seed=7)
### END HIDDEN TESTS

# %%
print(other_rule(16.0, 16))

# %% [markdown] nbgrader={"grade": false, "grade_id": "colleague_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 6 · A colleague raises the rank
#
# **open · about 10 minutes · 4 points**
#
# *Objective: explain why alpha / rank is there.*
#
# A colleague has a good run with rank 8, alpha 16, Adam and a tuned learning rate. "The task is hard," she says, "let me take rank 64." She changes nothing else. Tell her in five to ten sentences what she will see
#
# - if her library scales by alpha / R,
# - if it scales by alpha alone,
# - if it scales by alpha / √R,
#
# and how she can find out whether rank 8 was too small at all. Give the reason each time, not only the result.
#
# <details><summary>Hint 1: where to look</summary>
#
# Which part of one step of Adam depends on the rank, and which does not?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Use the three panels of notebook 02: which way does the useful learning rate move? For the last question: what does a rank that is too small look like in a loss curve, and in the singular values of a trained update?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Rank 64 in place of 8 multiplies the first step by 1, by 8, and by √8. A floor that more steps do not break speaks for a larger rank; singular values that fall off long before the rank speak against it.
#
# </details>

# %% [markdown] nbgrader={"grade": true, "grade_id": "colleague", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# A B is a sum of R products, and B starts at zero. Adam moves each number of B by about the learning rate, whatever its gradient, so in the first steps all R products go the same way
# and their sum goes R times as far, times the scale.
#
# - alpha / R: 8 times as many products, each scaled to an eighth. The loss falls as before and her learning rate stays good; she sees a difference only if rank 8 was too small. Steps cost a little more.
# - alpha: the update moves 8 times as fast. The learning rate acts like one 8 times as large: training may become unstable or diverge, and a comparison with rank 8 at that learning rate compares learning rates, not ranks.
# - alpha / √R: √8, nearly 3 times as fast. It may learn faster or need a smaller learning rate; again rank and speed change together.
#
# Was rank 8 too small? If so, the training loss stops on a floor that neither more steps nor another learning rate breaks, and a larger rank, its learning rate tuned as well, goes below it. She can also take the singular values of the trained update: if they
# fall off well before the eighth, the rank was not the limit; if all eight are alike, it may have been. What decides is the loss on held-back conversations.
