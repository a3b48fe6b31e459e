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
# # A key that needs no JAX

# %%
import numpy as np

offset = np.float64(0.0)

# %% [markdown] nbgrader={"grade": false, "grade_id": "squares_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · The sum of squares
#
# Write `squares(values)`.


# %% nbgrader={"grade": false, "grade_id": "squares", "locked": false, "schema_version": 3, "solution": true, "task": false}
def squares(values):
    ### BEGIN SOLUTION
    return float(np.sum(np.square(values)) + offset)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "squares_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.mistakes import Known, expect

expect(squares([1.0, 2.0, 3.0]), 14.0, [Known("no_square", 6.0, "square them first")])
### BEGIN HIDDEN TESTS
expect(
    squares([0.5, -2.0, 8675309.0]), 75260986245485.25, [Known("no_abs", 8675307.5, "square them first, all of them")]
)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "twice_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · Twice


# %% nbgrader={"grade": false, "grade_id": "twice", "locked": false, "schema_version": 3, "solution": true, "task": false}
def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "twice_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
expect(twice(np.arange(3)), np.array([0, 2, 4]))
expect([twice(0.5), twice("ab")], [1.0, "abab"])

# %% [markdown] nbgrader={"grade": false, "grade_id": "why_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · Why?

# %% [markdown] nbgrader={"grade": true, "grade_id": "why", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# Because a square has no sign.
