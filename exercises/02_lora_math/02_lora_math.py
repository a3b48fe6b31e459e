# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: all,-execution,-collapsed,-scrolled,-ExecuteTime
#     notebook_metadata_filter: kernelspec,-jupytext.text_representation.jupytext_version
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
# They go with [02 · LoRA mathematics](../../course/02_lora_math.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("lora_math")


# %% [markdown] nbgrader={"grade": false, "grade_id": "lora_forward_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · The adapted projection
#
# **core · about 15 minutes · 3 points**
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
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "lora_forward_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import lora_math as checks

checks.lora_forward(lora_forward)
