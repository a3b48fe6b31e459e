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
# # 04 · Exercises: what is predicted
#
# They go with [04 · Chat and loss](../../course/04_chat_and_loss.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not. Arrays are numpy's; `jax.numpy` does as well.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("chat_and_loss")

# %%
import numpy as np

# %% [markdown] nbgrader={"grade": false, "grade_id": "own_tokens_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · The model's own tokens
#
# **warm-up · about 10 minutes · 2 points**
#
# *Objective: know the template by heart, and who writes which part of it.*
#
# A chat becomes `<bos>`, and then for each turn `<start_of_turn>`, the role's name, a line break, the text, `<end_of_turn>`, a line break.
# Each of these is one token, but for the text. Write `own_tokens(turns)`: `turns` is a list of (role, number of tokens of the text), the role being
# `"user"` or `"assistant"`. Return one list of `True` and `False`, a flag for each token of the chat: is it the model's own?
#
# <details><summary>Hint 1: where to look</summary>
#
# Count the tokens of a turn that holds a text of `n` tokens: `n` + 5. One more, `<bos>`, comes before all turns.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Start with `flags = [False]`. For each turn add three flags for its opening, `n` + 1 for text and end, and one for the line break.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Only the middle part depends on the role: `[role == "assistant"] * (n + 1)`.
#
# </details>
#
# *You should see* `✓ own_tokens`. For `[("user", 2), ("assistant", 1)]` the list has 14 flags, and those at 11 and 12 are `True`.


# %% nbgrader={"grade": false, "grade_id": "own_tokens", "locked": false, "schema_version": 3, "solution": true, "task": false}
def own_tokens(turns):
    ### BEGIN SOLUTION
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * (n + 1) + [False]
    return flags
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "own_tokens_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import chat_and_loss as checks

checks.own_tokens(own_tokens)
### BEGIN HIDDEN TESTS
checks.own_tokens(own_tokens, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "response_loss_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · The loss of the responses
#
# **core · about 25 minutes · 4 points**
#
# *Objective: write the number that training lowers, and put nothing into it that does not belong.*
#
# Write `response_loss(logits, tokens, own)` for `logits` [B, T, V], where those at position t were computed from the tokens up to and including t;
# `tokens` [B, T], 0 being padding; and `own` [B, T], the flags of the exercise above, `False` for padding. Return the mean surprise in nats of all tokens
# that are the model's own, each weighing the same, whichever row it is in. Large logits must not hurt.
#
# <details><summary>Hint 1: where to look</summary>
#
# Which logits predict the token at position 1? And which the first token of a row?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Cut three arrays so that they fit together: logits without the last position, tokens and flags without the first. The log-softmax runs along the last axis: scores minus their maximum, minus the logarithm of the sum of exponentials.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]` picks a logarithm for each target. Then `-(picked * counts).sum() / counts.sum()`, over all rows at once.
#
# </details>
#
# *You should see* `✓ response_loss`.


# %% nbgrader={"grade": false, "grade_id": "response_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def response_loss(logits, tokens, own):
    ### BEGIN SOLUTION
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "response_loss_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import chat_and_loss as checks

checks.response_loss(response_loss)
### BEGIN HIDDEN TESTS
checks.response_loss(response_loss, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "packed_row_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · A packed row
#
# **core · about 20 minutes · 3 points**
#
# *Objective: let conversations share a row without noticing each other.*
#
# Write `packed_row(segments)` for `segments` [T], such as `[1, 1, 1, 2, 2, 0]`: which conversation each token belongs to, 0 being padding, which comes last. Return
# two arrays. `positions` [T]: the tokens of a conversation are counted from 0, padding is at 0. `mask` [T, T] of booleans: `mask[t, s]` is `True` where the token at t sees the one at
# s, which is of the same conversation and not later. Padding sees nothing and is not seen.
#
# <details><summary>Hint 1: where to look</summary>
#
# A comparison of `segments[:, None]` with `segments[None, :]` gives a [T, T] array.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Write the mask first, as three conditions joined by `&`: same segment, not later in the row, not padding. Then look at the number of `True` in a row of it.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# A token at position p sees p + 1 tokens: those before it, and itself. So `mask.sum(axis=1) - 1`, but at least 0.
#
# </details>
#
# *You should see* `✓ packed_row`, and below it this picture:
#
# <img src="expected/packed_row.png" alt="A square with three coloured triangles along its diagonal, and a pale edge for the padding." width="380">
#
# In words: three triangles of 5, 3 and 6 tokens along the diagonal, each filled below it; everything else is pale, also the last three rows and columns.


# %% nbgrader={"grade": false, "grade_id": "packed_row", "locked": false, "schema_version": 3, "solution": true, "task": false}
def packed_row(segments):
    ### BEGIN SOLUTION
    place = np.arange(len(segments))
    same = segments[:, None] == segments[None, :]
    mask = same & (place[:, None] >= place[None, :]) & (segments[:, None] != 0)
    positions = np.maximum(mask.sum(axis=1) - 1, 0)
    return positions, mask
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "packed_row_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import chat_and_loss as checks

checks.packed_row(packed_row)
### BEGIN HIDDEN TESTS
checks.packed_row(packed_row, seed=7)
### END HIDDEN TESTS

# %% picture="packed_row" tags=["learner"]
import matplotlib.pyplot as plt

from helptune.plots.packing import who_sees_whom

segments = np.repeat([1, 2, 3, 0], [5, 3, 6, 3])
figure, ax = plt.subplots(figsize=(3.8, 3.4), layout="constrained")
who_sees_whom(ax, packed_row(segments)[1], segments)
plt.show()

# %% [markdown]
# *In words: three triangles of 5, 3 and 6 tokens along the diagonal, each filled below it; everything else is pale.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "streaming_nll_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · A loss that never sees all scores
#
# **core · about 30 minutes · 4 points**
#
# *Objective: take the logarithm of a sum of 262,144 exponentials with two numbers in memory.*
#
# Write `streaming_nll(hidden, embedding, targets, size)` for `hidden` [P, D], `embedding` [V, D], `targets` [P]. Return the surprise of each target, [P], in nats. At no time may
# scores of more than `size` words exist: visit the embedding `size` rows at a time. V need not be a multiple of `size`. Scores may be very large, and very negative: all of a position's
# scores may lie near 2,000 or near -2,000, and another's at the other end. (The check sees your numbers, not your memory: whether you keep to `size` is for you to see.)
#
# <details><summary>Hint 1: where to look</summary>
#
# Keep two arrays [P] from block to block: the largest score so far, and the sum of exp(score - largest so far).
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# When a block raises the maximum, the old sum was taken with another one: multiply it by exp(old maximum - new maximum) before you add. The target's score needs no block: it is the product of two vectors.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Begin with `m = np.full(P, -np.inf)` and `s = np.zeros(P)`; `range(0, V, size)` gives the starts, and a slice beyond the end is just shorter. Return `m + np.log(s) - (hidden * embedding[targets]).sum(axis=1)`.
#
# </details>
#
# *You should see* `✓ streaming_nll`.


# %% nbgrader={"grade": false, "grade_id": "streaming_nll", "locked": false, "schema_version": 3, "solution": true, "task": false}
def streaming_nll(hidden, embedding, targets, size):
    ### BEGIN SOLUTION
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s) - (hidden * embedding[targets]).sum(axis=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "streaming_nll_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import chat_and_loss as checks

checks.streaming_nll(streaming_nll)
### BEGIN HIDDEN TESTS
checks.streaming_nll(streaming_nll, seed=7)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "never_stops_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 5 · The model that never stops
#
# **open · about 20 minutes · 4 points**
#
# *Objective: go from a symptom to its cause by measuring.*
#
# A colleague has fine-tuned a base model on 1,000 good conversations. The training loss looks lower than yours. The answers are good, and none of them ends: each runs into the limit, often with a
# new question in the user's name. Name three different faults, in the template, the mask or the batches, that can cause this. For each, say what you would measure to tell it from the other two, and what
# you expect to see. Why is a lower loss no excuse? (about 150 words)
#
# <details><summary>Hint 1: where to look</summary>
#
# What has to be true of `<end_of_turn>` so that a model learns to write it, and a program stops at it?
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Follow one conversation through the stations: text, ids, flags, shift, row, loss, generation. At which of them can the end get lost?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Render one conversation and print pieces beside weights. Compare the surprise at the end of held-out answers with that of the base. Compare the template's hash in training and in generation.
#
# </details>
#
# *You should see* nothing here: a person reads your answer.

# %% [markdown] nbgrader={"grade": true, "grade_id": "never_stops", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# For example:
#
# 1. The mask leaves out `<end_of_turn>`. Printed beside its weight it has 0; the surprise at the end of held-out answers is *above* the base's.
# 2. Conversations were cut to the row's width, so that long answers have no end. Count the examples whose last supervised target is `<end_of_turn>`: fewer than 1,000. Short answers end, long ones do not.
# 3. The end was written as text, or under another template, so that the model learned pieces like `<`, `end`, `_`, ... or an id which the generating program does not wait for. The surprise at the end is low under the training template
#    and high under the one used to generate; the hashes differ.
#
# Further causes: weights not shifted with the targets; padding with the same id as the end and masked with it; user turns in the loss, which teach the model to go on as the user; segments that see each other.
#
# The loss is lower because it is a mean over other tokens: without the end, or with easy template tokens, or with leaks from neighbours. Losses compare only over the same targets with the same weights.
#
# *4 points: one for each fault with a measurement that tells it apart; one for why losses over different targets cannot be compared.*
