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
# # 06 · Exercises: the training core by hand
#
# They go with [06 · Training core](../../course/06_training_core.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not. About 70 minutes in all.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("training_core")

# %%
import math

import jax
import matplotlib.pyplot as plt
import numpy as np

# %% [markdown] nbgrader={"grade": false, "grade_id": "warmup_cosine_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · The learning rate of a step
#
# **warm-up · about 10 minutes · 1 point**
#
# *Objective: know the learning rate of any step without having made the steps before it.*
#
# Write `warmup_cosine(step, peak, warmup, total, final)`, which returns one number:
#
# - from step 0 to step `warmup` the rate rises in a straight line from 0 to `peak`;
# - from there to step `total` it falls along half a cosine to `final * peak`;
# - after `total` it stays there.
#
# <details><summary>Hint 1: where to look</summary>
#
# There are two clocks. The first runs from 0 to 1 during the warmup, the second from 0 to 1 between `warmup` and `total`.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# For a clock c from 0 to 1, `(1 + cos(pi * c)) / 2` falls from 1 to 0. Stretch it to fall from `peak` to `final * peak`.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The second clock is `(step - warmup) / (total - warmup)`, and `min(1.0, ...)` stops it. The fall starts on a floor of `final * peak`
# and spans `peak - final * peak`.
#
# </details>
#
# *You should see* `✓ warmup_cosine`, and below it this picture, drawn by your function:
#
# <img src="expected/schedule.png" alt="A curve over 60 steps: it rises in a line to its peak at step 10, then falls in a smooth half cosine to a tenth of the peak at step 50 and stays there." width="480">
#
# In words: a ramp up to step 10, half a cosine down to step 50, then a flat tenth of the peak.


# %% nbgrader={"grade": false, "grade_id": "warmup_cosine", "locked": false, "schema_version": 3, "solution": true, "task": false}
def warmup_cosine(step, peak, warmup, total, final):
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * step / warmup
    clock = min(1.0, (step - warmup) / (total - warmup))
    floor = final * peak
    return floor + (peak - floor) * (1 + math.cos(math.pi * clock)) / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "warmup_cosine_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import training_core as checks

checks.warmup_cosine(warmup_cosine)
### BEGIN HIDDEN TESTS
checks.warmup_cosine(warmup_cosine, seed=7)
### END HIDDEN TESTS

# %% picture="schedule" tags=["learner"]
from helptune.plots import schedules

figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
schedules(ax, {"warmup_cosine": [warmup_cosine(step, 3e-4, 10, 50, 0.1) for step in range(60)]})
plt.show()

# %% [markdown]
# *In words: a ramp up to step 10, half a cosine down to step 50, then a flat tenth of the peak.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "accumulate_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · A batch in parts
#
# **core · about 15 minutes · 3 points**
#
# *Objective: get the gradient of a large batch from small ones, exactly.*
#
# A batch did not fit into memory, so it was computed in parts. Each part left three things: the **sum** of its tokens' losses, its
# weight (how many tokens are supervised), and the gradient **of that sum**. Write `accumulate(parts)`:
#
# - `parts` is a list of `(nll, weight, gradient)`; `gradient` is a dict of dicts of arrays, `{"q": {"a": ..., "b": ...}, ...}`;
# - it returns `(loss, gradient)`, both per supervised token of the whole batch, `gradient` in the same structure.
#
# Parts differ in how many tokens are supervised, and some have none. Where the whole batch has none, loss and gradient are 0.
#
# <details><summary>Hint 1: where to look</summary>
#
# Every supervised token of the batch should count the same. In which part it happened to be may not matter.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Three running sums, for losses, weights and gradients. One division, after the loop. `max(weight, 1)` in the denominator makes
# 0 of 0 / 0.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `jax.tree.map(lambda *leaves: sum(leaves) / weight, *gradients)` adds up any number of trees of one structure. Two loops over
# the keys do the same.
#
# </details>
#
# *You should see* `✓ accumulate`.


# %% nbgrader={"grade": false, "grade_id": "accumulate", "locked": false, "schema_version": 3, "solution": true, "task": false}
def accumulate(parts):
    ### BEGIN SOLUTION
    nlls, weights, gradients = zip(*parts, strict=True)
    weight = max(sum(weights), 1.0)
    return sum(nlls) / weight, jax.tree.map(lambda *leaves: sum(leaves) / weight, *gradients)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "accumulate_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import training_core as checks

checks.accumulate(accumulate)
### BEGIN HIDDEN TESTS
checks.accumulate(accumulate, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "adamw_step_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · One step of AdamW
#
# **core · about 25 minutes · 3 points**
#
# *Objective: write the optimizer that most language models are trained with, for a tree of arrays. Close the lesson first.*
#
# Write `adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay)`, which returns `(new_params, new_state)`:
#
# - `params` and `gradients` are dicts of arrays with the same keys;
# - `state` is `{"count": int, "m": dict, "v": dict}`: how many steps were made before this one, and two moments in the structure of
#   `params`, without bias correction. `new_state` has the same form.
#
# The weights lose two things: `rate` times m / (sqrt(v) + eps), with both moments corrected for their bias, and `rate * decay` times
# themselves.
#
# <details><summary>Hint 1: where to look</summary>
#
# m follows the gradient, v follows its square; beta1 and beta2 are the shares of what they were before. Both start at 0, so after t
# steps they hold only a share `1 - beta**t` of what they should.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# In this order: count, moments, corrected moments, weights. The first step has t = 1. The decay takes no part in the moments: that is
# the W of AdamW.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}`, and v the same way with the square. Then
# `params[k] - rate * (m_hat / (np.sqrt(v_hat) + eps) + decay * params[k])`.
#
# </details>
#
# *You should see* `✓ adamw_step`.


# %% nbgrader={"grade": false, "grade_id": "adamw_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    ### BEGIN SOLUTION
    t, m, v, new = state["count"] + 1, {}, {}, {}
    for k, w in params.items():
        m[k] = beta1 * state["m"][k] + (1 - beta1) * gradients[k]
        v[k] = beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2
        m_hat, v_hat = m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
        new[k] = w - rate * (m_hat / (np.sqrt(v_hat) + eps) + decay * w)
    return new, {"count": t, "m": m, "v": v}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "adamw_step_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import training_core as checks

checks.adamw_step(adamw_step)
### BEGIN HIDDEN TESTS
checks.adamw_step(adamw_step, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "batch_of_step_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · Which examples does step 1,234 read?
#
# **core · about 20 minutes · 3 points**
#
# *Objective: make the order of the data a function of seed and step, so that a run that was killed goes on as if it had not been.*
#
# Write `batch_of_step(step, count, size, seed)`: the list of the numbers of the examples that a step reads, of `count` examples
# numbered from 0.
#
# - An epoch has `ceil(count / size)` steps. In each epoch every example is read exactly once; the last batch may be smaller.
# - Each epoch has another order, and so has each seed: no epoch of one seed is an epoch of the next one.
# - The result depends on the four arguments alone. Steps may be asked for in any order, by a process that has just started.
#
# Nothing is said about *which* order: your own is as good as ours.
#
# <details><summary>Hint 1: where to look</summary>
#
# A resumed run knows its step and nothing else. Which epoch is that, and where in it?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# `divmod` gives both. Shuffle all numbers with a generator made here and now from seed and epoch, and cut out the batch.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `np.random.default_rng([seed, epoch]).permutation(count)` takes both into account. A slice that ends after the end of an array
# is shorter by itself.
#
# </details>
#
# *You should see* `✓ batch_of_step`.


# %% nbgrader={"grade": false, "grade_id": "batch_of_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def batch_of_step(step, count, size, seed):
    ### BEGIN SOLUTION
    epoch, place = divmod(step, math.ceil(count / size))
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[place * size : (place + 1) * size].tolist()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "batch_of_step_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import training_core as checks

checks.batch_of_step(batch_of_step)
### BEGIN HIDDEN TESTS
checks.batch_of_step(batch_of_step, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "restart_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 5 · The run that went on, differently
#
# **open · about 15 minutes · 2 points**
#
# *Objective: reason about what a checkpoint has to hold.*
#
# A run of 2,000 steps was killed at step 1,000. A colleague restarts it from the adapter that was exported for the demo: "it is the newest
# weights, the optimizer will catch up in a few steps". In the meantime 50 conversations were added to the training file.
#
# Name everything that is now different from a run that was never killed, say for each thing whether the loss curve would show it and when,
# and say what you would do instead. A few sentences each.
#
# <details><summary>Hint 1: where to look</summary>
#
# What is in a TrainState, and what is a function of seed and step?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Go through them: adapters, moments, step. What hangs on the step? Then the file: what hangs on the number of examples?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The step counter drives the learning rate, the data order and the dropout. The count of examples decides every permutation.
#
# </details>

# %% [markdown] nbgrader={"grade": true, "grade_id": "restart", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# *What a good answer says.* An exported adapter has no moments and no step.
#
# - **Moments**: m and v start at zero again. With bias correction the first updates have nearly the size of the learning rate for every
#   parameter, whatever its gradient's history: a short bump in the loss, and a path that never meets the old one again.
# - **Step**: it is 0 again, so the warmup and the whole schedule run a second time, at a peak where the first run was already slowing
#   down. That shows in the logged learning rate at once, and in the loss as a rise and a second slow fall. The run gets 2,000 more steps, not 1,000.
# - **Data order and dropout**: both are drawn from (seed, step), so with the old file the first 1,000 steps would be repeated: texts seen early are
#   seen more often, and those at the end of the plan never, if the run is cut after the 1,000 steps that were left. The loss curve shows nothing, or looks too good.
# - **Data**: 50 more examples give every epoch another permutation and another packing, even with the right step. The curve shows
#   nothing. Runs with this file and the old one cannot be compared.
# - **Instead**: restore the newest checkpoint (adapters, moments and step together), keep the file as it was, and compare its checksum: the run's
#   `config.json` holds it, and `helptune finetune` refuses a file that has changed. Or call it a new run, with a new folder and a warm start that is
#   written down. One point for moments and step with their consequences, one for data order and the changed file.
