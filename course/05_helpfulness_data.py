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
# # 05 · Helpfulness data
#
# **Question: where do good demonstrations come from?**
#
# About 55 minutes to read, under 2 minutes to run on 2 CPU cores. You need Python and notebook 01.
# Afterwards you can build a dataset from a raw pile, say of every record why it is in or out, and tell what each filter misses.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

os.environ["TQDM_DISABLE"] = "1"  # progress bars are for terminals

# %% [markdown]
# ## What does a good demonstration look like?
#
# A demonstration is a prompt and the answer that we would like to get. The course brings 1,080 of its own for training.
# They were written for it, with the help of a language model, and read by others than the writer; nobody rated them.

# %%
from helptune.data.conversation import load_curated

train, heldout = load_curated("train"), load_curated("heldout")
print(f"{len(train)} for training, {len(heldout)} held out")
for name in ("facts-easy-02", "clarify-easy-03", "refuse-hard-01"):
    found = next(c for c in train if c.id == name)
    print(f"\n[{found.category}, {found.difficulty}]", *(f"\n  {m.role}: {m.content}" for m in found.messages[:2]))

# %% [markdown]
# Short, complete, and each in its own form: a fact, a question back, a refusal that still helps. There are 18 categories,
# each with 20 easy, 20 medium and 20 hard ones.
#
# **Predict first:** which three categories have the longest answers? Do harder prompts get longer answers everywhere?

# %%
from helptune.plots.conversations import answer_lengths

figure, ax = plt.subplots(figsize=(9, 2.8), layout="constrained")
answer_lengths(ax, train)
ax.set_title("Median length of the last answer (words)")
plt.show()

# %% [markdown]
# *In words: three rows of difficulty, eighteen columns of category. Howto is darkest, with 62 to 77 words, then explain and refuse; extract, rewrite
# and multiturn are pale, with 8 to 22. In every column hard is darker than easy; medium is not always between them.*
#
# **Notice:** a model learns these lengths, too. Trained on one category alone, it would answer everything in that form.
#
# ## Where else could they come from?
#
# Writing is slow. Others have collected more, each for a purpose of its own and under a licence of its own.

# %%
from helptune.data.sources.table import SOURCES

for source in SOURCES.values():
    marks = ["share-alike"] * source.share_alike + ["opt-in"] * source.opt_in
    print(f"{source.name:27} {source.license or 'yours':13} {', '.join(marks)}")

# %% [markdown]
# *Share-alike* binds what is made from the data, so a recipe has to ask for it. *Opt-in* is hh-rlhf alone: its card says that it is
# not meant for supervised training. The library wants to hear that you read this.
#
# hh-rlhf holds *preferences*: pairs of transcripts, of which a person chose one. A preference is not yet a demonstration: the
# reader takes the chosen side, and some pairs have none that is fit.
#
# **Predict first:** which of these three pairs become conversations?

# %%
from helptune.data.sources import hh_rlhf
from helptune.data.sources.record import Row

pairs = [
    (
        "\n\nHuman: How long does an egg boil?\n\nAssistant: Seven minutes.",
        "\n\nHuman: How long does an egg boil?\n\nAssistant: Why?",
    ),
    ("\n\nHuman: Hello.\n\nAssistant: Hello!\n\nHuman: Bye.", "\n\nHuman: Hello.\n\nAssistant: What?\n\nHuman: Bye."),
    ("\n\nHuman: Why?\n\nAssistant: Because.", "\n\nHuman: Why?\n\nAssistant: Because."),
]
rows = [Row("pairs.jsonl", i, {"chosen": a, "rejected": b}) for i, (a, b) in enumerate(pairs, 1)]
for read in hh_rlhf.read(rows, warning_was_read=True, subset="helpful-base"):
    print(getattr(read, "code", "a conversation"))

# %% [markdown]
# OpenAssistant is a tree: several replies to each message, ranked by volunteers (0 is best). All paths from the root to a
# leaf would repeat messages, and the loss would count them again and again. So the reader takes one best path.
#
# **Predict first:** which answers are on it?

# %%
from helptune.data.sources import openassistant

TREE = [  # id, parent, role, rank, text
    ("m1", None, "prompter", None, "Why is the sea salty?"),
    ("m2", "m1", "assistant", 1, "Because of fish."),
    ("m3", "m1", "assistant", 0, "Rivers carry salts into it, and only the water evaporates."),
    ("m4", "m2", "prompter", None, "Really?"),
    ("m5", "m3", "prompter", None, "And lakes?"),
    ("m6", "m5", "assistant", 0, "Most have an outflow, which takes the salt along."),
]
FIXED = {"message_tree_id": "t", "tree_state": "ready_for_export", "lang": "en"}
values = [FIXED | dict(zip(("message_id", "parent_id", "role", "rank", "text"), m, strict=True)) for m in TREE]
(path,) = openassistant.read(Row("oasst.jsonl", i, value) for i, value in enumerate(values, 1))
print(path.meta["message_ids"], *(f"\n  {m.role}: {m.content}" for m in path.messages))

# %% [markdown]
# HelpSteer2 rates single answers; the ratings come along, divided by 4, so that a filter can use them. Stack Exchange has
# votes, brought to the same scale, HTML, and authors to whom attribution is owed.

# %%
from helptune.data.sources import helpsteer2, stackexchange

scores = {"helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 2}
(rated,) = helpsteer2.read([Row("h.jsonl", 1, {"prompt": "Why bread?", "response": "It keeps."} | scores)])
answer = {"answer_id": 7, "text": "<p>Use <code>sorted</code>.</p>", "pm_score": 3, "selected": True, "author": "Ada"}
question = {
    "qid": 5, "question": "<p>How do I sort a list?</p>", "answers": [answer], "date": "2020/01/01",
    "metadata": ["https://stackoverflow.com/questions/5"],
}  # fmt: skip
(voted,) = stackexchange.read([Row("s.jsonl", 1, question)])
print(rated.ratings["helpfulness"], "|", voted.ratings["helpfulness"], "|", voted.reference)
print(voted.license, voted.meta["author"], voted.meta["url"])

# %% [markdown]
# **What did you observe?** Four schemas, one record: `Conversation`. Whatever has no answer worth copying is rejected with a
# code, a file and a line, never silently.
#
# ## How does a pile become a dataset?
#
# We write a pile whose faults we know: 216 curated conversations, and others with something wrong. Copies, evaluation
# prompts, personal data, unsafe requests, broken lines.

# %%
import tempfile
from collections import Counter
from pathlib import Path

from helptune.toys.messy import messy, write_messy

home = Path(tempfile.mkdtemp())
pile = messy()
write_messy(home / "pile.jsonl", pile)
for fault, count in Counter(planted.fault for planted in pile).items():
    print(f"{count:4} {fault}")

# %% [markdown]
# A recipe says everything that decides the result; what it does not say has a default.

# %%
RECIPE = """
name = "pile"
[[source]]
name = "messages"
path = "pile.jsonl"
[safety]
classifier = "lexical"
"""

# %% [markdown]
# **Predict first:** by default, what happens when an evaluation prompt is among the data: is it dropped, or does the build stop?

# %%
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import read_recipe
from helptune.errors import DataError

by_default = home / "default.toml"
by_default.write_text(RECIPE)
try:
    build(read_recipe(by_default), home, home / "default", workers=1)
except DataError as error:
    print(str(error)[:46], "...")

# %% [markdown]
# A gate that stops is better than a warning that nobody reads. Another recipe drops them instead.
#
# **Predict first:** 321 lines go in, 216 of them sound. How many come out? Write your number into the next cell.

# %%
my_guess = 216

recipe = home / "pile.toml"
recipe.write_text(RECIPE + '[decontamination]\non_match = "drop"\n')
manifest = build(read_recipe(recipe), home, home / "out", workers=1)
kept = manifest["files"]["train.jsonl"]["rows"]
print(f"{len(pile)} read, {kept} kept")

# %%
from helptune.plots.mixture import fates as plot_fates
from helptune.plots.mixture import funnel

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
funnel(ax, manifest["stages"])
plt.show()

# %% [markdown]
# *In words: one bar a stage, from 321 records read to what is kept. The hatched ends are what left there: 4 at the source, 38 at
# the filters, 24 duplicates, 8 evaluation prompts, 12 at safety, none for raters or balance.*
#
# Nothing vanishes: read is kept plus dropped plus rejected, or the build fails.

# %%
gone = sum(step["count"] for step in manifest["funnel"]["steps"])
assert kept + gone == len(pile), "records were lost: compare manifest['funnel'] with the pile"
print(f"your guess is off by {abs(my_guess - kept)}")

# %% [markdown]
# A funnel counts what left. It does not say whether that was *right*. Here we know, since we planted the faults.
#
# **Predict first:** which faults will get through? Will sound conversations be lost?

# %%
from helptune.toys.messy import SOUND, fates

counts = fates(home / "out", pile)
harmless = {SOUND, "unsafe request, declined", "copy, every 6th word changed"}
figure, ax = plt.subplots(figsize=(9.5, 6.4), layout="constrained")
plot_fates(ax, counts, harmless)
plt.show()

# %% [markdown]
# *In words: a row for each planted fault, a column for each fate, "kept" first. Blue squares are as it should be. Vermilion
# circles under "kept" are faults that got through: most of the unsafe requests that were answered, the four reworded evaluation prompts, one
# with personal data. An orange circle shows sound conversations that the safety screen took. Blue under "kept" are also copies with
# every sixth word changed, which share too little to be copies by the threshold below, and unsafe requests that were declined.*
#
# **What did you observe?** What has a *form* is found: copies, tokens, card numbers, cut-off ends. What has a *meaning* is not:
# a prompt in other words, a street address, an unsafe request in plain words (the answers planted beside these say nothing, so only
# the request could betray them). Let us look into the filters one by one.
#
# ## What does a filter know?
#
# Each filter reads one conversation and says what is wrong, or None. Its name is the reason code.

# %%
from helptune.data.conversation import Conversation, Message
from helptune.data.filters import FILTERS


def faults(prompt, answer):
    talk = Conversation("x", "mine", "CC0-1.0", (Message("user", prompt), Message("assistant", answer)))
    return [name for name, test in FILTERS.items() if test(talk)]


print(", ".join(FILTERS))
print(faults("How do I reach the shop?", "Call +49 89 41207365."), faults("Call what?", "Call 555-0142."))
print(faults("What are you?", "As an AI language model, I am text."), faults("What is GPT?", "A language model."))

# %% [markdown]
# They are careful: a number that nobody owns (555-01xx) is no personal data, and a text *about* a language model is not one *by*
# it. Rules made for web pages are not so careful. Those of Gopher, a language model of 2021, ask for at least 50 words.
#
# **Predict first:** which share of our answers would that rule leave, and which categories would nearly vanish?

# %%
from helptune.data.conversation import CATEGORIES
from helptune.plots.conversations import shares_left

long = [len(c.reference.split()) >= 50 for c in train]
left = {name: np.mean([ok for ok, c in zip(long, train, strict=True) if c.category == name]) for name in CATEGORIES}
print(f"{np.mean(long):.0%} of the answers have 50 words or more")
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
shares_left(ax, left)
plt.show()

# %% [markdown]
# *In words: one bar a category. Howto, explain, refuse and plan keep more than half; fourteen are vermilion, below half. Clarify keeps 7%; facts,
# extract, classify and multiturn nothing.*
#
# **Notice:** one plausible rule, and the model never sees a plain fact, and hardly how to ask back. A filter shapes behaviour as much as a source
# does.
#
# **Your turn:** replace the answer by a good one of at most three words.

# %%
mine = "Forty-two."
assert len(mine.split()) <= 3, "at most three words"
assert not faults("What is six times seven?", mine), f"a filter objects: {faults('What is six times seven?', mine)}"
print("short, and kept")

# %% [markdown]
# ## When are two texts nearly the same?
#
# Repeats teach by heart what should be understood. Cut a text into *shingles*, runs of three words; the share that two texts have
# in common, the intersection over the union, is their Jaccard similarity.
#
# **Predict first:** two texts of 12 words differ in one word in the middle. What is their similarity: 11/12, or less?

# %%
from helptune.data.duplicates import THRESHOLD, minhash, shingles


def jaccard(a, b):
    return len(a & b) / len(a | b)


def shingles_of(text):
    return set(shingles([Message("assistant", text)]))


first = "wash the rice twice and let it stand in cold water overnight"
second = first.replace("let", "leave")
print(f"{jaccard(shingles_of(first), shingles_of(second)):.2f}, the threshold is {THRESHOLD}")

# %% [markdown]
# One changed word breaks three of ten shingles on either side: 7 in common of 13. In a text of 60 words the same change leaves
# 0.9. So in a short text one other word makes another text, and that is meant: "2 + 2" is not "2 + 3".
#
# All pairs of 100,000 texts are five billion. MinHash makes them cheap. Hash every shingle of a text, and remember the *least*
# hash. The least of two sets together is as likely to come from any shingle as from another, so two texts have the same least hash with a
# probability of exactly their Jaccard similarity. Do it with 128 hash functions, and count.

# %%
from hashlib import blake2b

rng = np.random.default_rng(0)
MULTIPLIERS = rng.integers(1, 2**61, 128, dtype=np.uint64) * 2 + 1


def signature(items):
    """The least of 128 hashes of each item: [128]."""
    hashes = np.array([int(blake2b(item.encode(), digest_size=8).hexdigest(), 16) for item in items], np.uint64)
    return (hashes[:, None] * MULTIPLIERS).min(axis=0)


a, b = shingles_of(first), shingles_of(second)
print(f"exact {jaccard(a, b):.2f}, ours {np.mean(signature(a) == signature(b)):.2f}", end=", ")
print(f"the library's {np.mean(minhash(list(a), 128) == minhash(list(b), 128)):.2f}")

# %% [markdown]
# **Predict first:** with 128 hashes, how far off is an estimate? Think of 128 tosses of a coin.

# %%
from helptune.plots.duplicates import estimates

texts = [c.reference for c in train if len(c.reference.split()) > 40][:100]
rates = rng.random(100) / 5
near = [" ".join("so" if rng.random() < rate else w for w in t.split()) for t, rate in zip(texts, rates, strict=True)]
sets = [(list(shingles_of(a)), list(shingles_of(b))) for a, b in zip(texts, near, strict=True)]
exact = np.array([jaccard(set(a), set(b)) for a, b in sets])
guess = np.array([np.mean(minhash(a, 128) == minhash(b, 128)) for a, b in sets])
figure, ax = plt.subplots(figsize=(4.4, 4), layout="constrained")
estimates(ax, exact, guess, THRESHOLD)
plt.show()
print(f"typical error {np.sqrt(np.mean((exact - guess) ** 2)):.2f}")

# %% [markdown]
# *In words: a hundred dots, each a text and a copy of it with some words exchanged, close to the diagonal. Dashed lines at 0.8 cut the square: few
# dots fall on different sides of the two.*
#
# Counted in n tosses, a share s is typically off by $\sqrt{s(1-s)/n}$: with 128, by 0.04 at s = 0.5 and less towards 0 and 1.
#
# A signature makes a comparison cheap. To make *fewer* comparisons, cut it into bands of r values, its *rows*; only texts
# that agree in a whole band are compared. A pair of similarity s agrees in a band of r rows with probability $s^r$, and in at least one of b
# bands with $1 - (1 - s^r)^b$: a curve like an S.
#
# **Predict first:** you have 128 values. Are few long bands or many short ones better at missing nothing above 0.8? What do you pay?

# %%
from helptune.interactive import choice, explore, slider
from helptune.plots.duplicates import found_with_probability, s_curve


def draw(ax, rows, threshold):
    s_curve(ax, 128 // rows, rows, threshold)


def words(rows, threshold):
    at, below = (found_with_probability(np.array(s), 128 // rows, rows) for s in (threshold, threshold / 2))
    return f"{128 // rows} bands of {rows}: a pair at {threshold:.2f} is compared with {at:.1%}, one at {threshold / 2:.2f} with {below:.1%}"


bands = explore(draw, words, rows=slider(1, 32, 4, name="rows of a band"), threshold=slider(0.5, 1.0, 0.8, 0.05))
bands

# %%
for rows in (2, 8, 16):
    bands.controls["rows"].value = rows
    print(bands.words)

# %% [markdown]
# **What did you observe?** Short bands miss nothing and compare nearly everything; long ones are fast and blind. The library
# takes 32 bands of 4, and puts one value of the *answer's* own signature into each: two answers to one long prompt are no copies.
#
# Of several alike the first stays. So put the source that you trust most first in your recipe.

# %% [markdown]
# ## Did the exam leak?
#
# A model that has seen the exam gets a good mark for nothing. Evaluation prompts are known to the library as hashes of their word
# trigrams, so a set can be shipped without being readable. A training prompt that contains half of them, close together, matches; of a prompt below eight words it must contain all.
#
# **Predict first:** which of these three match the held-out prompt "How do bees make honey?"

# %%
from helptune.data.decontaminate import hash_curated, index_sets, matches

index = index_sets([hash_curated()])
tries = {
    "as it is": "How do bees make honey?",
    "wrapped": "hello there, HOW DO BEES MAKE HONEY, and is it vegan",
    "reworded": "What do honeybees do to produce honey?",
}
for name, prompt in tries.items():
    talk = Conversation("x", "mine", "CC0-1.0", (Message("user", prompt), Message("assistant", "They collect nectar.")))
    print(f"{name:9}", [f"{match.share:.0%}" for match in matches(talk, index)])

# %% [markdown]
# **Notice:** case, punctuation and what stands around do not help a prompt to slip through; other words do, and in a prompt as short as this a
# single one. So your card says what was looked for, as in "no prompt of X, up to small changes of long ones", and not "clean".
#
# ## What does a safety screen cost?
#
# The *lexical* screen adds up words and pieces of words, the *probe* reads hidden states of Gemma. Both give a score, and a score decides nothing
# until somebody picks a threshold. Here are 640 prompts of a test split that neither learned from. They and their labels were written for this
# purpose, and more than half of the safe ones are made to look unsafe.
#
# **Predict first:** at a threshold that drops 1 safe text of 100, which share of the unsafe ones is found? Half? Nearly all?

# %%
from helptune.data.safety import find
from helptune.data.safety.labelled import load_labelled
from helptune.plots.screening import scores as plot_scores

prompts = [r for r in load_labelled("test") if r.target == "prompt"]
unsafe = np.array([r.unsafe for r in prompts])
screens = {name: find(name) for name in ("lexical", "probe")}
scored = {
    name: np.array([s.p_unsafe for s in screen.score([r.conversation() for r in prompts])])
    for name, screen in screens.items()
}
print(f"{unsafe.sum()} unsafe, {(~unsafe).sum()} safe")


# %%
def draw(ax, screen, threshold):
    plot_scores(ax, scored[screen][~unsafe], scored[screen][unsafe], threshold)


def words(screen, threshold):
    over = scored[screen] >= threshold
    recall, lost = over[unsafe].mean(), over[~unsafe].mean()
    precision = unsafe[over].mean() if over.any() else float("nan")
    return f"{screen} at {threshold:.2f}: finds {recall:.0%} of the unsafe, loses {lost:.1%} of the safe; {precision:.0%} of what it drops is unsafe"


pick = choice(["lexical", "probe"], "lexical")
screened = explore(draw, words, screen=pick, threshold=slider(0.05, 0.95, 0.65, 0.05))
screened

# %%
from helptune.data.safety.classifier import threshold_at

for threshold in (0.3, 0.5, 0.8):
    screened.controls["threshold"].value = threshold
    print(screened.words)
spared = {name: np.mean(p[unsafe] >= threshold_at(p[~unsafe], 0.01)) for name, p in scored.items()}
print(f"where 1 safe text in 100 goes, lexical finds {spared['lexical']:.0%} of the unsafe", end="; ")
print("the probe finds more:", spared["probe"] > spared["lexical"])

# %% [markdown]
# **What did you observe?** The histograms overlap: some unsafe requests score like a recipe for soup, some safe ones like a crime. There is no threshold
# without a price. At 1 safe text in 100 the lexical screen finds 12% of the unsafe (95% interval 3 to 19%), the probe 45% (20 to 55%), says
# [their card](../data_cards/safety_classifiers.md). The library sets its threshold on *another* split; with that the lexical screen loses 4% of the safe prompts here. And the precision
# that you read is that of a set of which two fifths are unsafe. In ordinary data nearly nothing is, and then nearly everything that a screen drops is harmless.
#
# The lexical screen dropped 7 of the 216 sound conversations in the pile. A conversation counts as its worst turn: which one was it?

# %%
import json


def worst_turn(record):
    turns = [m["content"] for m in record["messages"] if m["role"] == "user"]
    talks = [Conversation("x", "mine", "CC0-1.0", (Message("user", t), Message("assistant", "?"))) for t in turns]
    return turns[np.argmax([score.p_unsafe for score in screens["lexical"].score(talks)])]


# %% [markdown]
# **Predict first:** what do these seven have in common?

# %%
sound = {planted.id for planted in pile if planted.fault == SOUND}
dropped = [json.loads(line) for line in (home / "out" / "dropped.jsonl").open()]
lost = [r["conversation"] for r in dropped if r["stage"] == "safety" and r["conversation"]["id"] in sound]
print(f"{len(lost)} of {len(sound)}:")
for record in lost:
    print(f"  {record['category']:9}", worst_turn(record)[:66].replace("\n", " "))

# %% [markdown]
# Three of them do ask for what would do harm, and are answered by refusals that the library did not recognize. The other four are library fines, a
# jury's prize, a busy Saturday and a colleague who moves to Norway. Nothing of that is unsafe: the price of a false positive is that a model learns less of ordinary life.
#
# A refusal is another thing. An unsafe prompt with an answer that *declines* is worth learning from, so it is kept. A few phrases decide:

# %%
from helptune.data.safety.refusal import is_refusal

for answer in ("I can't help with that.", "Let's not. Tell me what happened.", "I can't recommend this cake enough!"):
    print(is_refusal(answer), "|", answer)

# %% [markdown]
# The second declines without the phrases, the third has a phrase and declines nothing. On test responses this detector finds 64% of the refusals, of
# the curated answers that refuse 22 of 47, and it takes 15 of 1,217 other answers for refusals (the same card).
#
# ## Do raters agree?
#
# Ratings can filter, too, if they mean something. Two raters who agree on 60% of the items seem to agree well. But two who give "good" to
# nearly everything agree most of the time by chance. Cohen's kappa takes chance away: with the observed agreement $p_o$, and $p_e$ what two
# raters with these habits would have without looking,
#
# $$\kappa = \frac{p_o - p_e}{1 - p_e}.$$
#
# **Predict first:** both say "good" to 8 of 10 items, and they agree on 6 of 10. Is kappa nearer to 0.6 or to 0?

# %%
from sklearn.metrics import cohen_kappa_score

first = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0])
second = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 1])
observed = np.mean(first == second)
chance = np.mean(first) * np.mean(second) + np.mean(1 - first) * np.mean(1 - second)
kappa = (observed - chance) / (1 - chance)
print(f"agree on {observed:.0%}, by chance {chance:.0%}: kappa {kappa:.2f}")
assert np.isclose(kappa, cohen_kappa_score(first, second)), "chance is the sum over ratings of both raters' shares"

# %% [markdown]
# Below zero: less than chance. On scales a 3 beside a 4 is nearly agreement. Krippendorff's alpha is 1 minus the disagreement observed over
# that expected by chance. It takes any number of raters, and gaps, and counts how far apart ratings are: here, for an ordered scale, by how many of all ratings
# lie between two of them, squared. Here are two made-up raters, who see the true quality through noise. Nobody rated these items.
#
# **Predict first:** how much noise, in points of a scale from 0 to 4, brings alpha down to 0.4? How often do they differ by two points or more then?

# %%
from helptune.data.agreement.coefficients import measure
from helptune.plots.agreement import meetings
from helptune.toys.raters import dice_raters, noisy_raters


def draw(ax, noise):
    meetings(ax, *noisy_raters(noise).values.T)


def words(noise):
    ratings = noisy_raters(noise)
    alpha = measure(ratings, "krippendorff_alpha", "ordinal", resamples=200)
    apart = np.abs(np.diff(ratings.values.astype(int)))
    return f"noise {noise:.2f}: alpha {alpha.value:.2f}, the same rating {np.mean(apart == 0):.0%}, two points or more apart {np.mean(apart > 1):.0%}"


# %%
raters = explore(draw, words, size=(4.6, 4), noise=slider(0.0, 3.0, 0.5, 0.25, name="noise (points)"))
raters

# %%
for noise in (0.75, 1.0, 1.75):
    raters.controls["noise"].value = noise
    print(raters.words)

# %% [markdown]
# **Notice:** with these raters an alpha of 0.7, where the library's gate stands, means errors of a whole point. At 0.4 more than a third of the items
# are two points or more apart: you may compare averages of many items, and say nothing of a single one.
#
# The gate may first drop what raters disagree on. That raises alpha *by construction*.
#
# **Predict first:** three raters throw dice with five sides, 0 to 4. What is alpha of all items, and of those on which they happen to be within a point?

# %%
from helptune.data.agreement.gate import Gate, check

for number, seed in ((3, 0), (2, 2)):
    verdict = check(dice_raters(number, seed=seed), Gate(max_spread=1))
    before, after = verdict.before.value, verdict.after.value
    print(
        f"{number} dice: alpha {before:.2f}, after dropping {after:.2f}, {verdict.retention:.0%} stay, passed: {verdict.passed}"
    )

# %% [markdown]
# **What did you observe?** From nothing to 0.8 without a look at any text. Of three dice few items stay, and the gate asks for half.
# But two dice are within a point in 13 of 25 throws, so more than half may stay, *and this gate lets them pass*: with 32 of the seeds 0 to 39. That is why a verdict
# tells both figures and what stayed. Never quote the second alone.
#
# ## In which proportions?
#
# What is left may still be lopsided. A recipe may cap each category and difficulty (`[balance]`), and weigh sources. Weights are proportions, so
# the scarcest source decides how much can be had.
#
# **Predict first:** 1,000 curated, 9,000 from oasst2, 20,000 from helpsteer2, weights 1 : 4 : 4. How many in all?

# %%
from helptune.data.balance import quotas

have = {"curated": 1_000, "oasst2": 9_000, "helpsteer2": 20_000}
asked = quotas(have, {"curated": 1, "oasst2": 4, "helpsteer2": 4})
print(asked, sum(asked.values()))
assert sum(quotas(have, {"curated": 1, "oasst2": 9, "helpsteer2": 10}).values()) == 20_000, "which source is scarcest?"

# %% [markdown]
# ## What would a stranger ask?
#
# Who has only your file asks: what is in it, from where, under which licence, what was taken out, with which tools, and how wrong are
# these? The build writes a card with the answers, each number counted, and a manifest for programs. A *version* is a hash of the recipe
# and of everything it read.
#
# **Predict first:** you build again, elsewhere. Will the bytes be the same? And the version, when a single line is added to the pile?

# %%
again = build(read_recipe(recipe), home, home / "again", workers=2)
same = [again["files"][name]["sha256"] == facts["sha256"] for name, facts in manifest["files"].items()]
print("same version:", again["version"] == manifest["version"], "| same bytes:", all(same))

write_messy(home / "pile.jsonl", [*pile, pile[0]])
other = build(read_recipe(recipe), home, home / "other", workers=1)
print("same version with one more line:", other["version"] == manifest["version"])
print("rows kept:", other["files"]["train.jsonl"]["rows"] - kept, "more")

# %% [markdown]
# The bytes are the same with one worker or two. The added line is a copy, so the rows are the same again, and the version still differs: it
# names what was read. Here is a part of the card.

# %%
card = (home / "out" / "README.md").read_text()
part = card[card.index("## What became of every record") : card.index("| dropped at")]
print(part.strip())

# %% [markdown]
# Numbers do not show what a set is like. So read it, the dropped records above all: choose a reason in the list below.

# %%
from helptune.data.mixture.browser import browse

shelf = browse(home / "out")
shelf.lists["reason"].value = "near_duplicate"
shelf

# %% [markdown]
# *In words: four lists (reason, source, category, difficulty), a button for other samples, and three conversations that were dropped as near
# duplicates, each with the id of the one that stayed.*
#
# **Your turn:** name one planted fault that was kept, and that no filter of *form* could have found.

# %%
my_answer = "reworded evaluation prompt"
assert (my_answer, "kept") in counts, f"{my_answer!r} was not kept; look at the row of circles under 'kept'"
assert my_answer not in harmless, "that one was rightly kept"
print("its words are new, its meaning is not")

# %% [markdown]
# ## Summary
#
# - Demonstrations are written, or taken from trees, pairs, ratings and votes; each source has a licence, a purpose and traps of its own.
# - A recipe decides everything, the same recipe gives the same bytes, and every record has a fate with a reason.
# - Filters see form. Near duplicates are Jaccard similarity of shingles, made cheap by MinHash and bands; leaks are n-grams.
# - A screen is a threshold on a score: it misses, and it takes harmless texts, and in safe data it takes hardly anything else.
# - Agreement is agreement beyond chance. Dropping disagreement makes it rise, even for dice.
#
# ## Toward constitutional training
#
# Stage 3 writes its data by machine: the model answers, criticises itself by a principle, and revises. There the pile is bigger and
# nobody wrote it, so everything here is needed again: near duplicates (a model repeats itself), leaks, balance. Red-team prompts
# are unsafe *on purpose*, and what must be screened is the revision. In stage 4 a model compares answers in place of people (RLAIF), and whether
# its labels mean anything is the question that we asked of raters: does it agree with people beyond chance?
#
# ## Exercises
#
# [05 · Exercises](../exercises/05_helpfulness_data/05_helpfulness_data.ipynb): similarity, keeping the first of several alike, kappa with gaps, a leak
# detector, and half a data card.
#
# ## Further reading
#
# - Bai et al., [Training a helpful and harmless assistant with RLHF](https://arxiv.org/abs/2204.05862) (2022): hh-rlhf.
# - Köpf et al., [OpenAssistant Conversations](https://arxiv.org/abs/2304.07327) (2023): message trees by volunteers.
# - Wang et al., [HelpSteer2](https://arxiv.org/abs/2406.08673) (2024): ratings, and how their agreement was raised.
# - Askell et al., [A general language assistant as a laboratory for alignment](https://arxiv.org/abs/2112.00861) (2021): votes as preferences.
# - Rae et al., [Scaling language models: Gopher](https://arxiv.org/abs/2112.11446) (2021), appendix A: rules for web text.
# - Lee et al., [Deduplicating training data makes language models better](https://arxiv.org/abs/2107.06499) (2021).
# - Leskovec, Rajaraman and Ullman, *Mining of massive datasets*, chapter 3: MinHash and bands.
# - Artstein and Poesio, [Inter-coder agreement for computational linguistics](https://aclanthology.org/J08-4004/) (2008): kappa, alpha, and chance.
# - Gebru et al., [Datasheets for datasets](https://arxiv.org/abs/1803.09010) (2018): what a card owes its reader.
# - [All about data](data.md), and the cards of [the curated set](../data_cards/curated.md) and [the screens](../data_cards/safety_classifiers.md).
