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
# # 01 · Exercises: what to do, and which is better
#
# They go with [01 · Helpful first](../../course/01_helpful_first.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not. About 50 minutes in all.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("helpful_first")

# %%
import numpy as np


# %% [markdown] nbgrader={"grade": false, "grade_id": "win_probability_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · Who wins?
#
# **warm-up · about 5 minutes · 1 point**
#
# *Objective: turn a difference of rewards into a probability.*
#
# Write `win_probability(ours, theirs)`: the probability, under the Bradley-Terry model, that an answer of reward `ours` is
# preferred to one of reward `theirs`. Both are arrays [n], and so is the result.
#
# <details><summary>Hint 1: where to look</summary>
#
# Two answers of equal reward win half of the time each, whatever that reward is. What about the rewards can count, then?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Only the difference `ours - theirs`. The function σ of the notebook turns it into a probability.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The sigmoid of z is `1 / (1 + np.exp(-z))`.
#
# </details>
#
# *You should see* `✓ win_probability`.

# %% nbgrader={"grade": false, "grade_id": "win_probability", "locked": false, "schema_version": 3, "solution": true, "task": false}
def win_probability(ours, theirs):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "win_probability_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpful_first as checks

checks.win_probability(win_probability)


# %% [markdown] nbgrader={"grade": false, "grade_id": "sft_loss_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · The loss of a demonstration
#
# **core · about 15 minutes · 3 points**
#
# *Objective: write the loss of supervised fine-tuning, and count the right tokens.*
#
# Write `sft_loss(log_probs, tokens, supervised)`, the mean negative log-likelihood of the tokens that the assistant wrote, in B
# conversations (rows) of T places, with a vocabulary of V tokens:
#
# - `log_probs` [B, T, V]: `log_probs[b, t]` holds log p of every token of the vocabulary to come **after** place t of row b;
# - `tokens` [B, T]: the conversations, prompt first, padded at the end;
# - `supervised` [B, T], booleans: `supervised[b, t]` says whether `tokens[b, t]` is the assistant's. The first place never is.
#
# The result is one number: nats per supervised token, over the whole batch.
#
# <details><summary>Hint 1: where to look</summary>
#
# Which place of `log_probs` is about `tokens[:, 5]`? And what is `log_probs[:, -1]` about?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# The last place predicts nothing we know, and the first token is predicted by nothing: cut both. Then pick the log-probability
# of each target, keep those that are supervised, and divide once, at the very end.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `np.take_along_axis(log_probs[:, :-1], targets[..., None], axis=-1)[..., 0]` picks, where `targets = tokens[:, 1:]`. The mask of
# these targets is `supervised[:, 1:]`.
#
# </details>
#
# *You should see* `✓ sft_loss`.

# %% nbgrader={"grade": false, "grade_id": "sft_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sft_loss(log_probs, tokens, supervised):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "sft_loss_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpful_first as checks

checks.sft_loss(sft_loss)


# %% [markdown] nbgrader={"grade": false, "grade_id": "preference_loss_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · The loss of a comparison
#
# **core · about 20 minutes · 3 points**
#
# *Objective: learn rewards from who was preferred, with a gradient of your own.*
#
# Write `preference_loss(rewards, comparisons)`, which returns two things:
#
# - the loss, a number: the mean over all comparisons of -log sigmoid(reward of the preferred answer - reward of the other one);
# - its gradient with respect to `rewards`, an array of their shape.
#
# `rewards` has the shape [A]; `comparisons` [C, 2] holds numbers of answers, in each row first the preferred one, then the other.
# An answer takes part in several comparisons.
#
# <details><summary>Hint 1: where to look</summary>
#
# Take one comparison. The derivative of -log sigmoid(m) with respect to m is -(1 - sigmoid(m)): large where the comparison
# surprises, nearly zero where it was expected.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# With m = reward of the preferred - reward of the other, the preferred answer gets that derivative, the other one its negative.
# A plain loop over the comparisons is fine. Divide by their number.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# In the loop: `loss -= np.log(p)`, `gradient[preferred] -= 1 - p`, `gradient[other] += 1 - p`. Without a loop, use `np.add.at`:
# `gradient[indices] += x` keeps only the last of several equal indices.
#
# </details>
#
# *You should see* `✓ preference_loss`, and below it this picture, drawn by your gradient:
#
# ![Four curves of reward over 40 steps. They start at 0 and level off: helps at 1.4, evades at 0.1, echoes at -0.1, misleads at -1.5.](expected/rewards.png)

# %% nbgrader={"grade": false, "grade_id": "preference_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def preference_loss(rewards, comparisons):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "preference_loss_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpful_first as checks

checks.preference_loss(preference_loss)

# %% picture="rewards" tags=["learner"]
import matplotlib.pyplot as plt

from helptune.plots.helpful_first import reward_paths
from helptune.toys.answers import ANSWERS, COMPARISONS

path = [np.zeros(len(ANSWERS))]
for _ in range(40):
    path.append(path[-1] - 2.0 * preference_loss(path[-1], np.array(COMPARISONS))[1])
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
reward_paths(ax, ANSWERS, np.array(path))
plt.show()

# %% [markdown]
# *In words: four rewards begin at zero. helps rises to about 1.4, misleads falls to about -1.5, the two others stay near zero; after 30 steps
# nothing moves any more.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "skip_a_stage_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · May we skip a stage?
#
# **open · about 10 minutes · 3 points**
#
# *Objective: argue for, or against, the order of the stages.*
#
# A colleague wants to save time: "Let us begin critique and revision from a model that was trained only to be harmless. To every
# red-team prompt it says *I can't help with that*, so there is little left to revise." Answer in 100 to 200 words:
#
# 1. What will a critique of such answers find, and what will the revisions, which SL-CAI is trained on, look like?
# 2. Which **two** measurements, side by side, would show your colleague what is lost?
# 3. What does beginning from a helpful model put at risk, and which stage is there to catch it?
#
# <details><summary>Hint 1: where to look</summary>
#
# Section *Harmless is easy: say nothing* of the notebook prints two figures for each model.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Write down one red-team prompt, the refusal, the critique of it, and the revision. What has the revision taught?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# A critique that looks for harm finds none in a refusal, so the refusal is kept, and trained on once more.
#
# </details>
#
# *You should see* no mark yet: a person reads your answer. A full answer names the evasive training data, a measure of help beside
# one of harm, and the harm that a helpful model does before it is revised.

# %% [markdown] nbgrader={"grade": true, "grade_id": "skip_a_stage", "locked": false, "points": 3, "schema_version": 3, "solution": true, "task": false}
# YOUR ANSWER HERE
