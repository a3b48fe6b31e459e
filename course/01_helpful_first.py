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
# # 01 · Helpful first
#
# **Question: why must a model be helpful before it is constitutional?**
#
# About 35 minutes to read and predict, 3 minutes to run on 2 CPU cores. You need [00 · Start here](00_start_here.ipynb), Python, and what a
# derivative is.
# Afterwards you can place this course in the pipeline of Constitutional AI, write down the loss of a demonstration and of a comparison, and
# predict what a set of demonstrations does to a model.

# %% [markdown]
# ## Where this stage stands
#
# [Bai et al. 2022](https://arxiv.org/abs/2212.08073) make an assistant harmless without any human label of harm. People write
# principles. In a first phase a model improves its own answers by them, and learns from the better ones; in a second phase a model compares
# answers by them, and the assistant learns from what won.
#
# **Predict first:** at which points of such a pipeline must a model do what it is *told*?

# %%
import matplotlib.pyplot as plt

from helptune.plots.helpful_first import pipeline

figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
pipeline(ax)
plt.show()

# %% [markdown]
# *In words: nine boxes along an arrow. Supervised phase, left to right: helpful model (marked "this course"), red-team prompts, critique,
# revision, SL-CAI. Reinforcement learning phase, right to left: pairs of answers, AI feedback, preference model, RL-CAI. Models are blue,
# what they read or write orange; critique, revision and AI feedback are green: what a model is told to do.*
#
# The supervised phase (SL), step by step:
#
# 1. A **helpful model** answers **red-team prompts**, which bait it into harm: 182,831 of them in the paper, 42,496 written by people and
#    the rest by a model. Being helpful and nothing else, it often complies.
# 2. The same model is asked for a **critique** of its answer, by a principle drawn from 16, and for a **revision**; four rounds a prompt.
# 3. A *pretrained* model is fine-tuned, for one epoch, on the revisions of all rounds, and on two answers of the helpful model to each of 135,296
#    prompts that ask for help, so that it stays helpful. The result is **SL-CAI**.
#
# Then SL-CAI writes pairs of answers, and another model says which one follows a principle better (**AI feedback**). A **preference model** learns
# these comparisons, beside human comparisons of helpfulness, and reinforcement learning follows it: **RL-CAI**.
#
# **Notice:** every green box is a request to a model, and so is every prompt. Critique and revision come from the helpful model, for which section 3
# takes "any model trained to follow instructions". Theirs was trained by human feedback; ours is trained by demonstrations alone, a simpler
# way to the same end. The judge is the exception: the paper gave a large *pretrained* model solved examples and a choice between (A) and (B),
# and took the helpful model only where it was to reason first.

# %% [markdown]
# ## Can a base model criticize itself?
#
# Here is the real Gemma 3 270M, and a bad answer. We ask for a critique, as step 2 does.
#
# **Predict first:** what will a model write that has only ever continued texts?

# %%
from helptune.gemma.chat import render
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling

base, tokenizer = load_base("float32"), load_embedded_tokenizer()
chat = [
    {"role": "user", "content": "How do I get my neighbour to turn the music down?"},
    {"role": "assistant", "content": "Scream at them until they stop."},
    {"role": "user", "content": "Say what is wrong or harmful in your last answer, and how it could be better."},
]
prompt, _ = render(chat, tokenizer, base.config, reply=True)
(reply,) = generate(base, [prompt], Sampling(max_new_tokens=48))
print(tokenizer.decode(reply.tokens))
assert not reply.ended, "the base ended by itself: that would be news"

# %% [markdown]
# It goes round in circles: it hands our own words back until it is cut off. Perhaps it was only asked badly? Little in its training
# looked like this chat. Solved examples in plain text are a fairer way to ask a base model. **Predict first:** will they do?

# %%
from helptune.gemma.tokenizer import BOS

solved = """Question: How do I lose weight fast?
Answer: Stop eating for two weeks.
Critique: The answer is dangerous. Not eating harms the body. It should advise small, lasting changes.

Question: My friend failed her exam. What do I say?
Answer: Tell her that she should have worked harder.
Critique: The answer is unkind. It blames a friend who is already sad. It should comfort her first.
"""
ask = f"{solved}\nQuestion: {chat[0]['content']}\nAnswer: {chat[1]['content']}\nCritique:"
(few_shot,) = generate(base, [[BOS, *tokenizer.encode(ask)]], Sampling(max_new_tokens=24))
print(tokenizer.decode(few_shot.tokens).split("\n")[0])

# %% [markdown]
# **What did you observe?** With two examples it has the *form* of a critique, copied down to the words; the content does not fit the
# question. Bai et al. put solved examples into the prompts of critique and revision, too, but for a model that already followed
# instructions. From this base, "revisions" would be loops and borrowed phrases, and SL-CAI would be trained on those.

# %% [markdown]
# ## Harmless is easy: say nothing
#
# Askell et al. 2021 name three aims: **helpful, honest, harmless** (HHH). They pull apart. The surest way to be
# harmless is to refuse everything, and people who rate for harmlessness alone reward that: Bai et al. report that their earlier assistant
# was often *evasive*, and made "harmless but not evasive" an aim of Constitutional AI.
#
# Below, a "model" that only ever says one sentence stands beside good answers, those of the course's held-out conversations (kept
# away from training). Stage 1 of the project gave us a safety classifier; here is the word-based screen, with a detector of refusals.
#
# **Predict first:** which of the two will the safety classifier like better?

# %%
from dataclasses import replace

from helptune.data.conversation import Message, load_curated
from helptune.data.safety.classifier import judge
from helptune.data.safety.lexical import load as load_screen

held_out = [c for c in load_curated("heldout") if len(c.messages) == 2 and c.meta["expects"] == "answer"]
silence = Message("assistant", "I can't help with that.")
silent = [replace(c, messages=(*c.prompt, silence)) for c in held_out]
found = {}
for name, conversations in (("our answers", held_out), ("silence", silent)):
    verdicts = list(judge(load_screen(), conversations, "response"))
    found[name] = sum(bool(v.unsafe) for v in verdicts), sum(v.refusal for v in verdicts)
    print(f"{name}: {len(verdicts)} answers, {found[name][0]} called unsafe, {found[name][1]} refuse")

# %%
assert found["silence"][0] == 0, "the screen found harm in a refusal: look at the sentence"
assert found["silence"][1] == len(held_out), "not every answer of silence was seen as a refusal"
print("perfectly harmless, perfectly useless")

# %% [markdown]
# **Notice:** by the first figure it is a draw, with nothing left to improve. Always read a measure of harm beside one of help, and
# count needless refusals. (The one refusal among our answers is none: it quotes somebody's "I can't find things". Detectors err, too.)
#
# And silence is a dead end for critique and revision: a critique that looks for harm finds none in it, so it stays.
# A harmful but helpful answer can be revised; a refusal has nothing in it to keep. **So helpful comes first.**

# %% [markdown]
# ## Demonstrations: what to do
#
# How does a model become helpful? Show it. Make the model so small that you can see all of it: a *policy*, a probability
# for each of four answers to one question. Figures here are made up.

# %%
from helptune.toys.answers import ANSWERS, QUESTION, TEXTS, UNTRAINED

print(QUESTION)
for name, p in zip(ANSWERS, UNTRAINED, strict=True):
    print(f"{p:.2f}  {name:9} {TEXTS[name]}")

# %% [markdown]
# People now demonstrate answers. **Behaviour cloning** makes what they did likely: it minimizes the mean of -log π(demonstrated
# answer), the surprise of notebook 00. What is trained is a number for each answer, its *logit* z; softmax turns them into a policy,
# $\pi_i = e^{z_i} / \sum_j e^{z_j}$. If answer i is a share $f_i$ of the demonstrations, two lines say it all:
#
# - loss: $\;L = -\sum_i f_i \log \pi_i$
# - gradient with respect to the logits: $\;\pi - f$
#
# The gradient vanishes exactly where the policy *is* the data. Derive it, if you like; the check is by finite differences:

# %%
import numpy as np

from helptune.toys.answers import demonstrator
from helptune.toys.imitation import demonstrations, imitate, imitation_loss

counts, logits, step = demonstrations(demonstrator(evasive=0.1), 40, seed=3), np.log(UNTRAINED), 1e-5
_, gradient = imitation_loss(logits, counts)
moved = [imitation_loss(logits + step * e, counts)[0] - imitation_loss(logits - step * e, counts)[0] for e in np.eye(4)]
assert np.allclose(gradient, np.array(moved) / (2 * step)), "pi - f is not the slope of the loss"
print("40 demonstrations:", dict(zip(ANSWERS, counts.tolist(), strict=True)))

# %% [markdown]
# **Predict first:** the demonstrators evade in 10% of cases and are wrong in a tenth of the others. How many demonstrations does it take until the
# policy is within 5 points of them? What happens when more of them evade? Move the sliders.

# %%
from helptune.interactive import explore, slider
from helptune.plots.helpful_first import policies


def learned(count, evasive):
    counts = demonstrations(demonstrator(evasive), count, seed=3)
    return counts / counts.sum(), imitate(UNTRAINED, counts)


def draw(ax, count, evasive):
    shown, policy = learned(count, evasive)
    policies(ax, ANSWERS, {"untrained": UNTRAINED, "demonstrations": shown, "trained": policy})


# %%
def words(count, evasive):
    policy = learned(count, evasive)[1]
    told = ", ".join(f"{name} {p:.0%}" for name, p in zip(ANSWERS, policy, strict=True))
    off = abs(policy - demonstrator(evasive)).max()
    return (
        f"After {count} demonstrations the policy: {told}. It is at most {100 * off:.0f} points off its demonstrators."
    )


explorer = explore(
    draw, words, count=slider(1, 400, 8, name="demonstrations"), evasive=slider(0.0, 1.0, 0.1, 0.1, "share that evades")
)
explorer

# %% [markdown]
# *In words: three bars for each answer. The untrained policy mostly echoes. The trained one has the heights of the demonstrations; echoing
# is gone, since nobody showed it.*

# %%
explorer.controls["count"].value = 400
print(explorer.words)
explorer.controls["evasive"].value = 0.9
print(explorer.words)

# %% [markdown]
# **What did you observe?** The error shrinks like one over the square root of the count. Some 60 demonstrations come within 5 points
# as often as not; about 250 do in 95 of 100 draws. For one question! But a policy gets no better than what it clones. It misleads as
# often as its demonstrators do, and 90% evasive data makes a 90% evasive policy.
#
# A language model is such a policy for every *prefix* of an answer, with the next token as the choice. The sum over
# tokens of -log π is the same loss, taken over the assistant's tokens only (notebook 04 takes it apart; exercise 2 lets you write it).

# %% [markdown]
# ## Preferences: which is better
#
# To write a good answer is hard; to say which of two is better is easier. A preference model gives each answer a **reward** r. Bradley
# and Terry (1952): i is preferred to j with probability σ(rᵢ - rⱼ), where σ(z) = 1 / (1 + e⁻ᶻ).
#
# **Predict first:** add 2 to every reward. Which entries of the table change?

# %%
from helptune.plots.helpful_first import table
from helptune.toys.preference import win_probabilities


def draw_wins(ax, **rewards):
    table(ax, win_probabilities(np.array([*rewards.values()])), [f"{name} wins" for name in rewards], [*rewards])
    ax.set_title("probability that the row is preferred to the column", fontsize=10)


def tell_wins(**rewards):
    best, second = sorted(rewards, key=lambda name: -rewards[name])[:2]
    p = win_probabilities(np.array([rewards[best], rewards[second]]))[0, 1]
    return f"{best} has the highest reward; it is preferred to {second} with probability {p:.2f}."


# %%
start = dict(zip(ANSWERS, (1.5, 0.0, 0.0, -1.5), strict=True))
wins = explore(draw_wins, tell_wins, **{name: slider(-4.0, 4.0, r, 0.5) for name, r in start.items()})
wins

# %% [markdown]
# *In words: a table of four rows and four columns. Its diagonal is 0.50, entries mirrored at the diagonal add up to 1, and
# helps against misleads is the darkest.*

# %%
before = wins.words
for control in wins.controls.values():
    control.value += 2
assert wins.words == before, "only differences of rewards should count"
print(before)

# %% [markdown]
# Nothing changes: only differences count, so we fix the mean at 0. Now go the other way, from comparisons to rewards. In two lines:
#
# - loss of a comparison: $\;L = -\log \sigma(r_{preferred} - r_{other})$
# - gradient: $\;-(1-p)$ for the preferred answer, $\;+(1-p)$ for the other, with $p = \sigma(\ldots)$: what surprises pushes most.
#
# **Predict first:** in our 18 comparisons, `helps` usually wins, and `evades` mostly loses to it but beats `misleads`. Will the rewards grow for ever?

# %%
from helptune.plots.helpful_first import reward_paths
from helptune.toys.answers import COMPARISONS
from helptune.toys.preference import fit_rewards

path = fit_rewards(COMPARISONS, len(ANSWERS))
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
reward_paths(ax, ANSWERS, path[:41])
plt.show()

# %% [markdown]
# *In words: four rewards over 40 steps. helps rises to about 1.4, misleads falls to about -1.5, the two others stay near 0; all level off.*
#
# They level off because no answer (and no group of answers against the rest) won every comparison, or lost every one. The reward of an answer
# that never loses grows for ever: one reason to stop real preference models early. Does the library, which solves for the same likelihood in another way, agree?

# %%
from helptune.evaluate.strength import strengths
from helptune.evaluate.votes import Vote, VoteSet

votes = tuple(
    Vote(f"made up {n}", ANSWERS[i], ANSWERS[j], "first", "nobody", "machine") for n, (i, j) in enumerate(COMPARISONS)
)
theirs = {s.model: s.value.value for s in strengths(VoteSet(votes), ANSWERS, "machine", resamples=10).strengths}
difference = max(abs(theirs[name] - r) for name, r in zip(ANSWERS, path[-1], strict=True))
assert difference < 1e-3, f"rewards differ by {difference:.4f}: descend longer"
print({name: round(float(r), 2) for name, r in zip(ANSWERS, path[-1], strict=True)})

# %% [markdown]
# ### What, and which
#
# Demonstrations say **what** to do, preferences say **which** is better. The second can improve on the first: tilt the cloned policy by
# the rewards, π(i) ∝ π_clone(i) · exp(rᵢ / β). This is what reinforcement learning with a penalty β on moving away from the clone tends to.
#
# **Predict first:** what happens to `misleads`, which the demonstrators showed? And to `echoes`, which they did not?

# %%
clone = imitate(UNTRAINED, demonstrations(demonstrator(evasive=0.1), 400, seed=3))
tilted = clone * np.exp(path[-1] / 1.0)
tilted /= tilted.sum()
figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
policies(ax, ANSWERS, {"untrained": UNTRAINED, "cloned": clone, "cloned, then preferences": tilted})
plt.show()
assert tilted[3] < clone[3], "preferences should make misleading rarer than its demonstrations"

# %% [markdown]
# *In words: preferences raise helps above its share in the demonstrations, and make evades and misleads rarer. echoes stays near zero.*
#
# **Notice:** the tilt only *multiplies*: it chooses among what the clone already does. A policy that never helps cannot be preferred into helping. Hence the
# order of the pipeline, once more: demonstrations first, preferences after.

# %% [markdown]
# ## How data shapes behaviour
#
# Now the real model. The same questions and facts, told in two styles, by rule:

# %%
from helptune.toys.styles import STYLES, questions

training, held_back = questions()
print(len(training), "questions to train on,", len(held_back), "held back;", training[5].prompt[-1].content)
for name, style in STYLES.items():
    print(f"{name:9}{style(training[5]).reference}")

# %% [markdown]
# Each style trains an adapter of its own, a LoRA of rank 8 (notebook 02 explains it), for 12 steps; the base stays frozen.

# %%
import jax

from helptune.adapt.adapters import init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.data.packing import collate, plan_batches, tokenize
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import init_state, train_step

method, rows, length, steps = LoraConfig(rank=8, alpha=16), 2, 256, 12
optimizer = make_optimizer(OptimizerConfig(learning_rate=8e-4, warmup_steps=2), steps)
untrained = init_adapters(method, base.config, jax.random.key(0))


# %%
def trained_on(style):
    examples = tokenize(map(style, training), tokenizer, base.config, length)
    state = init_state(jax.tree.map(jax.numpy.copy, untrained), optimizer)
    for row in plan_batches([len(e) for e in examples], length, rows, epochs=steps, seed=0, max_steps=steps):
        batch = jax.tree.map(lambda a: a[None], collate(examples, row, length, rows))
        state, _ = train_step(base, state, batch, jax.random.key(1), method=method, optimizer=optimizer)
    return state.adapters


adapters = {"no adapter": untrained} | {name: trained_on(style) for name, style in STYLES.items()}
print(*adapters, sep=", ")

# %% [markdown]
# **Predict first:** measure each adapter, and none, on the held-back questions in *both* styles. Which has the lowest loss on each
# style? And will training on the one style help or harm the other?

# %%
from helptune.train.config import TrainConfig
from helptune.train.fit import eval_batches, evaluate_loss

config = TrainConfig(seq_len=length, batch_rows=rows)
tests = [eval_batches(tokenize(map(s, held_back), tokenizer, base.config, length), config) for s in STYLES.values()]
losses = np.array([[evaluate_loss(base, a, method, test) for test in tests] for a in adapters.values()])
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
table(ax, losses, [*adapters], [f"{name} answers" for name in STYLES])
ax.set_title("held-back loss, nats per token", fontsize=10)
plt.show()

# %% [markdown]
# *In words: a table of losses. Rows: no adapter, terse, friendly. Columns: terse and friendly answers. In each column the adapter that was
# trained on it has the lowest loss.*

# %%
best = [list(adapters)[row] for row in losses.argmin(axis=0)]
assert best == list(STYLES), f"best on terse, best on friendly: {best}. Was each trained on its own style?"
print("each adapter is the best on its own style")

# %% [markdown]
# **Notice:** the terse adapter does far worse on friendly answers than no adapter at all: it is sure that an answer ends after a sentence.
# The first token after the greeting, after the first sentence and before the offer surprises it by 50 to 65 nats, the base by 4 to 12; those 27 of 418
# tokens are half of its loss. The friendly adapter helps a little with terse answers. What one set of demonstrations teaches, another may have to unlearn.
#
# What does that look like? One batch serves the base and both adapters, by a number for each row. (Texts may differ on your machine.)
#
# **Predict first:** how will the friendly adapter answer a question about cats that neither style was trained on?

# %% tags=["nbval-ignore-output"]
from helptune.adapt.mixed import side_by_side


def answers(chat, limit=56):
    prompt, _ = render(chat, tokenizer, base.config, reply=True)
    mixed = side_by_side([adapters[name] for name in STYLES], method, np.arange(3))
    return dict(zip(adapters, generate(base, [prompt] * 3, Sampling(max_new_tokens=limit), mixed), strict=True))


for question in ("What is the capital of Italy?", "Why do cats purr?"):
    print(question)
    for name, written in answers([{"role": "user", "content": question}]).items():
        print(f"  {name:11}{tokenizer.decode(written.tokens).strip()!r}")

# %% [markdown]
# **What did you observe?** 28 conversations are enough to teach *how* to answer: that a question wants an answer, in which tone, how long it
# is, and (mostly) that it ends. They do not teach *what is true*: the same weights that say "Rome" tersely may say something else in friendly words, and
# nobody here knows about cats. Style is cheap, knowledge is not; Zhou et al. 2023 argue that nearly all of it comes from
# pretraining. Be careful what you show: it all comes back.
#
# And the critique of above? **Predict first:** both adapters have learned to answer. Can they criticize?

# %% tags=["nbval-ignore-output"]
critiques = answers(chat)
for name, written in critiques.items():
    print(f"{name:11}{'ends' if written.ended else 'goes on'}: {tokenizer.decode(written.tokens).strip()!r}")

# %% [markdown]
# Each begins with a sentence of its own style, where the base echoes the request: that much is new. But it is no critique, and in a chat of
# three turns, which they never saw, they may forget to stop. A model follows the *kinds* of instruction it was shown. So the full stage shows 972
# conversations of 18 kinds, several turns among them, and offers larger models; and whether the result can criticize is to be measured before
# stage 3 begins, not assumed.

# %% [markdown]
# ## What is handed over
#
# | from | to | what |
# |---|---|---|
# | stage 1, safety classifier | this stage | a score for prompts and answers: it screens the demonstrations, and watches what the tuned model says |
# | this stage, helpful | stage 3, critique and revision | an adapter that follows instructions, with its data card, and the measured rate of unsafe answers, still to be lowered |
# | this stage, helpful | stages 3 and 4 | helpful answers to harmless prompts, mixed into later training so that help is not lost |

# %% [markdown]
# ## Summary
#
# - Constitutional AI asks a model to answer, criticize and revise. All three are instructions, so the model must follow those first.
# - A base model has the form at best; a model that was only made harmless says nothing, which no critique can improve.
# - A demonstration says what to do: loss -log π(what was shown); the policy becomes its data, with all its faults.
# - A comparison says which is better: loss -log σ(r preferred - r other); it chooses among what the policy can already do.
# - 28 conversations change the style of the real Gemma 3 270M; they add no knowledge, and no instruction of another kind.

# %% [markdown]
# ## Toward constitutional training
#
# Stage 3 is this notebook's first loss on other data: revisions in place of demonstrations. Its data is as good as the
# critic, who is the model you train here. Stage 4 is the second loss with another voter: a model compares two answers by a principle, in place
# of a person. (In the paper its vote is a probability, which weighs the losses of both outcomes.) What you have seen of small data (the policy becomes its data; an answer that
# never loses has no finite reward) holds for both.

# %% [markdown]
# ## Exercises
#
# [Four exercises](../exercises/01_helpful_first/01_helpful_first.ipynb): who wins a comparison, the loss of a demonstration, the loss of a comparison
# with its gradient, and whether a stage may be skipped.

# %% [markdown]
# ## Further reading
#
# - Bai et al. 2022, [Constitutional AI: Harmlessness from AI Feedback](https://arxiv.org/abs/2212.08073): sections 1 and 3 for this notebook, 4.1 for the judge, 4.4 for evasion; the figures are those of 3.1 and 3.2.
# - Bai et al. 2022, [Training a Helpful and Harmless Assistant with RLHF](https://arxiv.org/abs/2204.05862): help and harm, pulling apart, measured.
# - Askell et al. 2021, [A General Language Assistant as a Laboratory for Alignment](https://arxiv.org/abs/2112.00861): helpful, honest, harmless; imitation beside preference modelling.
# - Ouyang et al. 2022, [Training language models to follow instructions with human feedback](https://arxiv.org/abs/2203.02155): demonstrations first, then comparisons.
# - Christiano et al. 2017, [Deep reinforcement learning from human preferences](https://arxiv.org/abs/1706.03741): the loss of a comparison, for a network.
# - Rafailov et al. 2023, [Direct Preference Optimization](https://arxiv.org/abs/2305.18290): the tilted policy, and how to learn it without a reward model.
# - Zhou et al. 2023, [LIMA: Less Is More for Alignment](https://arxiv.org/abs/2305.11206): a thousand good demonstrations.
# - Bradley and Terry 1952, *Rank analysis of incomplete block designs: I. The method of paired comparisons*, Biometrika 39.
# - Pomerleau 1989, *ALVINN: an autonomous land vehicle in a neural network*: behaviour cloning, on a road.
