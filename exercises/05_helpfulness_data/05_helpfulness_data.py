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
# # 05 · Exercises: what is the same, what has leaked, who agrees
#
# They go with [05 · Helpfulness data](../../course/05_helpfulness_data.ipynb). Write your answers where it says `YOUR CODE HERE`,
# then run the cell below each of them: it tells what is right, and names what is not. About 75 minutes in all.

# %% tags=["learner"]
from helptune.exercises.panel import panel

panel("helpfulness_data")

# %% [markdown]
# `words` splits a text as the library does: it makes letters small and drops punctuation.

# %%
import numpy as np

from helptune.data.words import words

print(words("Wash the RICE, twice!"))


# %% [markdown] nbgrader={"grade": false, "grade_id": "jaccard_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 1 · How alike?
#
# **warm-up · about 8 minutes · 2 points**
#
# *Objective: measure how much two texts have in common.*
#
# Write `jaccard(first, second)` for two texts of at least three words: the number of different word trigrams (runs of three
# words) that both have, over the number that at least one of them has. Split with `words`.
#
# <details><summary>Hint 1: where to look</summary>
#
# A text of N words has N - 2 runs of three. A run that comes twice is one run.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Make a set of tuples for each text. Sets have `&` and `|`.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The runs of `w` are `zip(w, w[1:], w[2:])`.
#
# </details>
#
# *You should see* `✓ jaccard`.

# %% nbgrader={"grade": false, "grade_id": "jaccard", "locked": false, "schema_version": 3, "solution": true, "task": false}
def jaccard(first, second):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "jaccard_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpfulness_data as checks

checks.jaccard(jaccard)


# %% [markdown] nbgrader={"grade": false, "grade_id": "keep_first_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 2 · The first of several alike
#
# **core · about 15 minutes · 3 points**
#
# *Objective: decide which copies go, so that something of each stays.*
#
# Write `keep_first(similarity, threshold)` for `similarity`, an array [N, N] with the similarity of each pair of texts. Go through
# the texts in order. A text goes if it is at least `threshold` similar to one that *stayed*; else it stays. Return the list of the indices of
# those that stay, in order.
#
# Think of a chain: 0 is like 1, and 1 is like 2, but 0 is not like 2. What stays?
#
# <details><summary>Hint 1: where to look</summary>
#
# In the chain, 1 goes because of 0. Nothing that stayed is like 2.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Keep a list of what stayed. Each text is compared with the members of this list alone, not with all earlier texts.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `if all(similarity[i, j] < threshold for j in kept)`, then `i` joins them.
#
# </details>
#
# *You should see* `✓ keep_first`, and below it a picture: a square of the similarities of eight texts, dark along its diagonal, with a frame
# around each pair of at least 0.75. The texts 0, 2, 3, 5 and 7 are marked as kept.
#
# ![A square of pairwise similarities of eight texts; framed pairs are 0 and 1, 1 and 2, 3 and 4, 3 and 6; kept are 0, 2, 3, 5 and 7.](expected/keep_first.png)

# %% nbgrader={"grade": false, "grade_id": "keep_first", "locked": false, "schema_version": 3, "solution": true, "task": false}
def keep_first(similarity, threshold):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "keep_first_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpfulness_data as checks

checks.keep_first(keep_first)

# %% picture="keep_first" tags=["learner"]
import matplotlib.pyplot as plt

from helptune.plots.duplicates import kept_among

similarity = np.full((8, 8), 0.1) + 0.9 * np.eye(8)
for i, j, value in ((0, 1, 0.8), (1, 2, 0.8), (0, 2, 0.55), (3, 4, 0.9), (3, 6, 0.75), (4, 6, 0.6), (5, 7, 0.5)):
    similarity[i, j] = similarity[j, i] = value
figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
kept_among(ax, similarity, keep_first(similarity, 0.75), 0.75)
plt.show()


# %% [markdown]
# *In words: the square of pairs, darker where texts are more alike; 1 goes for 0, 4 and 6 go for 3, and 2 stays although it is like 1.*

# %% [markdown] nbgrader={"grade": false, "grade_id": "kappa_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 3 · Agreement beyond chance
#
# **core · about 20 minutes · 4 points**
#
# *Objective: say how much two raters agree, with chance taken out and gaps left out.*
#
# Write `kappa(first, second)` for two int arrays [N]: what two raters said of the same N items, and -1 where one gave no
# rating. Leave out every item that one of them did not rate. Then return Cohen's kappa,
#
# $$\kappa = \frac{p_o - p_e}{1 - p_e},$$
#
# with $p_o$ the share of items on which they agree, and $p_e$ the share on which two raters would agree who give each rating as often as these
# two do, without looking.
#
# <details><summary>Hint 1: where to look</summary>
#
# Each rater has habits of their own: the share of 0s, of 1s, of 2s. By chance both say 2 with the product of their two shares.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# First a mask of the items that both have rated, and both arrays cut down by it. Everything after that, the shares too, is about these items.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `chance = sum(np.mean(a == c) * np.mean(b == c) for c in np.union1d(a, b))`
#
# </details>
#
# *You should see* `✓ kappa`.

# %% nbgrader={"grade": false, "grade_id": "kappa", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kappa(first, second):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "kappa_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpfulness_data as checks

checks.kappa(kappa)


# %% [markdown] nbgrader={"grade": false, "grade_id": "leaked_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 4 · Did the exam leak?
#
# **core · about 12 minutes · 3 points**
#
# *Objective: find an evaluation prompt in a training text, also when somebody changed a word.*
#
# Write `leaked(prompt, text)` for two texts of at least three words: which share of the prompt's different word trigrams is in
# the text, from 0.0 to 1.0. Split with `words`.
#
# <details><summary>Hint 1: where to look</summary>
#
# A long text with a whole exam question in it should give 1.0, however long it is. So the length of the text may not count.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# Two sets of runs of three, as in exercise 1. What you divide by is another.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The number of runs that both have, over the number of runs of the *prompt*.
#
# </details>
#
# *You should see* `✓ leaked`.

# %% nbgrader={"grade": false, "grade_id": "leaked", "locked": false, "schema_version": 3, "solution": true, "task": false}
def leaked(prompt, text):
    # YOUR CODE HERE
    raise NotImplementedError()


# %% nbgrader={"grade": true, "grade_id": "leaked_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.checks import helpfulness_data as checks

checks.leaked(leaked)

# %% [markdown] nbgrader={"grade": false, "grade_id": "data_card_card", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## Exercise 5 · Half a data card
#
# **open · about 20 minutes · 4 points**
#
# *Objective: tell a stranger what your data are, and what they are not.*
#
# You built the pile of notebook 05, and a colleague wants to fine-tune a model for a public library's help desk on it. Write the half of its
# data card that a program cannot count, in about 200 words: who wrote the conversations and who rated them; what the filters took out, with which tools, and
# which errors of these tools you know of (with figures from the notebook); what the data should be used for, and what not; and one
# thing to check before anybody relies on the model.
#
# <details><summary>Hint 1: where to look</summary>
#
# Look at the picture of fates: each vermilion or orange circle is a sentence of your card.
#
# </details>
# <details><summary>Hint 2: how to go about it</summary>
#
# For each claim ask how a reader could check it. "Clean" cannot be checked; "no prompt of X, up to small changes of long ones" can.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The screen took 7 of 216 sound conversations and let 11 of 16 unsafe requests pass. One of the 7 is about library fines.
#
# </details>

# %% [markdown] nbgrader={"grade": true, "grade_id": "data_card", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# YOUR ANSWER HERE
