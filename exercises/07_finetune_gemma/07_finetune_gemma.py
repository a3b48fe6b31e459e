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
# # 07 · Exercises: reading and steering a run
#
# They go with [07 · Fine-tune Gemma](../../course/07_finetune_gemma.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not. About an hour in all.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("finetune_gemma")

# %%
import numpy as np


# %% [markdown] nbgrader={"grade": false, "grade_id": "perplexity_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · Perplexity
#
# **warm-up · about 10 minutes · 2 points**
#
# *Objective: turn the losses of many conversations into one number, counting every token once.*
#
# Write `perplexity(losses, weights)`. Both are arrays [B], an entry a conversation: `losses` the *sum* of its loss in nats,
# `weights` the number of its supervised tokens. The perplexity of the set, one number, is exp of the loss per token: the number of
# tokens among which the model seems to choose.
#
# <details><summary>Hint 1: where to look</summary>
#
# Which conversations should count more: long ones, or all alike? The loss *per token* of the set answers it.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# One division: all nats by all tokens. `np.exp` comes last.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `losses.sum()` over `weights.sum()`, inside `np.exp`.
#
# </details>
#
# *You should see* `✓ perplexity`.

# %% nbgrader={"grade": false, "grade_id": "perplexity", "locked": false, "schema_version": 3, "solution": true, "task": false}
def perplexity(losses, weights):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "perplexity_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import finetune_gemma as checks

checks.perplexity(perplexity)


# %% [markdown] nbgrader={"grade": false, "grade_id": "early_stopping_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · Early stopping
#
# **core · about 20 minutes · 4 points**
#
# *Objective: decide, from held-back losses alone, which adapter is kept and when training ends.*
#
# Write `early_stopping(losses, patience)`. `losses` is a list of held-back losses in the order they were measured; the first is
# that of the base, before training. Training ends at the measurement that completes `patience` measurements in a row without an
# improvement. An improvement is a loss *below the lowest so far*. Return two indices into `losses`: `(kept, ended)`, the measurement
# whose adapter is kept and the one at which training ends: the last one, if nothing ends it before.
#
# <details><summary>Hint 1: where to look</summary>
#
# Two things must be remembered while you walk through the list: the best so far, and how long ago it was.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# A loop over `losses[1:]`. An improvement sets the best, its index, and the count to 0; anything else adds 1 to the count. When the count reaches `patience`, return at once: what comes later was never measured.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Start with `best, kept, since = losses[0], 0, 0`. After the loop, `return kept, len(losses) - 1`.
#
# </details>
#
# *You should see* `✓ early_stopping`, and below it a picture: a curve that falls to its lowest point at measurement 3, which is ringed, and
# rises again; a vertical line at measurement 6 where training ends with patience 3, and the measurements after it, which are never made, in grey.
#
# ![Held-back loss over measurements 0 to 8: it falls from 3.5 to 2.7 at measurement 3, ringed as kept, and training ends at 6.](expected/early_stopping.png)

# %% nbgrader={"grade": false, "grade_id": "early_stopping", "locked": false, "schema_version": 3, "solution": true, "task": false}
def early_stopping(losses, patience):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "early_stopping_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.early_stopping(early_stopping)

# %% picture="early_stopping" tags=["learner"]
import matplotlib.pyplot as plt

losses = [3.5, 3.0, 2.8, 2.7, 2.75, 2.72, 2.8, 2.9, 3.0]
kept, ended = early_stopping(losses, patience=3)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(losses, "s-", color="#bbbbbb", label="never measured")
ax.plot(losses[: ended + 1], "s-", color="#0072B2", label="held back")
ax.plot(kept, losses[kept], "o", markersize=14, markerfacecolor="none", color="#0072B2", label="kept")
ax.axvline(ended, color="#333333", linestyle="--", label="training ends")
ax.set(xlabel="measurement", ylabel="loss (nats per token)")
ax.legend(frameon=False)
plt.show()


# %% [markdown]
# *In words: the held-back loss falls from 3.5 to 2.7 at measurement 3, which is ringed: it is kept. It does not fall again, and training
# ends three measurements later, at the dashed line. The last two points are grey: nobody will ever know them.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "clip_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · Clip by the global norm
#
# **core · about 15 minutes · 3 points**
#
# *Objective: bound the size of a step without turning its direction.*
#
# Write `clip(grads, limit)`. `grads` is a dict of arrays. Take the norm over *all* numbers of all arrays together; if it is above
# `limit`, multiply every array by the same factor, so that the norm becomes `limit`. Otherwise return the gradients unchanged. An
# array may be all zeros.
#
# <details><summary>Hint 1: where to look</summary>
#
# One norm for the whole dict. Which single factor brings it to `limit`?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Sum the squares of every array, add those sums up, take the root. The factor is never above 1.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `factor = min(1.0, limit / norm)`, then a dict comprehension over `grads.items()`.
#
# </details>
#
# *You should see* `✓ clip`.

# %% nbgrader={"grade": false, "grade_id": "clip", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clip(grads, limit):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "clip_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.clip(clip)

# %% [markdown] nbgrader={"grade": false, "grade_id": "next_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · What would you do next?
#
# **open · about 15 minutes · 4 points**
#
# *Objective: read a run as an engineer would, and decide.*
#
# You trained for 40 steps in the lesson; the recorded run took 200. Look at both curves, the sizes of the updates, and the answers.
# In at most 150 words: what did the longer run learn that yours had not? Which sign would tell you that *more* steps no longer help?
# Name one change (rank, learning rate, data, steps) that you would try next, what you expect to see, on what, beside which run, and what
# would make you give it up.
#
# <details><summary>Hint 1: where to look</summary>
#
# Compare the two curves at the step where yours ended, and where the held-back loss stops falling.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Answers that end, answers that are right, and losses are three different things. Which of them still changed late?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# A good plan names a figure, a direction, and a threshold, and compares runs of one schedule: *with 200 steps, as recorded, I expect the
# held-back loss below 2.65 at step 100, else I stop.*
#
# </details>
#
# *You should see* no mark yet: a person reads your answer. Full points for a sign that could be seen, and a plan that could fail.

# %% [markdown] nbgrader={"grade": true, "grade_id": "next", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# YOUR ANSWER HERE
