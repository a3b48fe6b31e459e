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
# # 02 · LoRA mathematics
#
# **Question: why are two thin matrices enough?**
#
# About an hour in two halves, a toy and the real model, with a place for a break between them; the exercises are another hour. It runs in about 2 minutes on 2 CPU cores.
# You need Python, matrix products and derivatives; [00 · Start here](00_start_here.ipynb) first. Afterwards you can say what a rank is and see it, write LoRA in twenty lines,
# and explain to a colleague why its update is multiplied by alpha / rank, why B starts at zero, and what it saves.

# %% [markdown]
# ## A matrix you can see
#
# A picture is a matrix: 64 rows of 96 numbers, 6,144 in all. Do we need them all?

# %%
import matplotlib.pyplot as plt
import numpy as np

from helptune.toys.landscape import landscape

M = landscape()
figure, ax = plt.subplots(figsize=(4.5, 3), layout="constrained")
ax.imshow(M, cmap="cividis", vmin=0, vmax=1)
ax.set(title=f"a matrix of {M.shape[0]} x {M.shape[1]}", xlabel="column", ylabel="row")
plt.show()

# %% [markdown]
# *In words: a bright sun in a sky that grows lighter downwards, two ranges of dark hills, a lake with waves below.*
#
# The **singular value decomposition** (SVD) writes any matrix as a sum of *outer products*, a column times a row:
#
# $$M = s_1 u_1 v_1^T + s_2 u_2 v_2^T + \dots \qquad s_1 \ge s_2 \ge \dots \ge 0$$
#
# The columns $u_i$ are orthogonal and of length 1, and so are the rows $v_i^T$: all the strength is in the *singular values* $s_i$. A sum of r such products has
# **rank** r. Keep the r strongest, and you have r columns and r rows: $r\,(64 + 96)$ numbers.
#
# No matrix of rank r is nearer to M (Eckart and Young 1936), and what it misses is known beforehand: the root of the sum of the $s_i^2$ left out. (Distances are *norms*: the root of the sum of all squares.) You will need that soon.


# %%
def best_rank(M, r):
    """The r strongest of the outer products that M is made of."""
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return (U[:, :r] * S[:r]) @ Vt[:r]


S = np.linalg.svd(M, compute_uv=False)
missed = np.linalg.norm(M - best_rank(M, 8))
assert np.allclose(best_rank(M, 64), M), "all 64 products together are the picture itself"
assert np.isclose(missed, np.sqrt(np.sum(S[8:] ** 2))), "compare with the singular values left out"

# %% [markdown]
# **Predict first:** from which rank on will you recognize the sun, and from which can you no longer tell the pictures apart?
# Then move the slider (Tab reaches it, arrow keys move it).

# %%
from helptune.interactive import explore, slider
from helptune.plots.lora import side_by_side


def draw(ax, rank):
    side_by_side(ax, M, best_rank(M, rank), ("all 6,144 numbers", f"rank {rank}: {rank * (64 + 96):,} numbers"))


def words(rank):
    missing = np.linalg.norm(M - best_rank(M, rank)) / np.linalg.norm(M)
    return f"Rank {rank}: {rank * (64 + 96):,} numbers in place of 6,144, and {missing:.1%} of the norm is missing."


pictures = explore(draw, words, size=(7, 2.6), rank=slider(1, 38, 4))
pictures

# %% [markdown]
# *In words: the picture on the left, and on the right the same from few outer products: bands and crosses at rank 1 or 2, a square sun over blurred hills at 4, nearly all of it at 12.*
#
# **What did you observe?** A tenth of the numbers, rank 4, misses only 6% of the norm. From rank 39 on, two thin matrices would hold *more* numbers than the picture has.
#
# ## The same idea, for a change
#
# LoRA does not squeeze the weights of a model. They stay, whole and frozen. It squeezes the *change* that training makes: $W' = W + \Delta W$ with $\Delta W = A B$, two thin matrices.
#
# In this world that is right by construction. A teacher computes $y = x\,(W + \Delta W)$; we know W, and of $\Delta W$ only the examples.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import optax

D = 64
keys = jax.random.split(jax.random.key(0), 4)


def orthogonal(key, rows, columns):
    return jnp.linalg.qr(jax.random.normal(key, (rows, columns)))[0]


# %%
W = jax.random.normal(keys[0], (D, D)) / D**0.5
delta = orthogonal(keys[1], D, 4) * jnp.array([4.0, 3.0, 2.0, 1.0]) @ orthogonal(keys[2], D, 4).T
X = orthogonal(keys[3], 256, D) * 16  # 256 examples; no direction of the input is rarer than another
Y = X @ (W + delta)
print("ranks of W, delta and their sum:", [int(jnp.linalg.matrix_rank(m)) for m in (W, delta, W + delta)])

# %% [markdown]
# **Notice:** W has full rank, and so has the sum. No thin matrices could stand for either of them. The *change* has rank 4.
#
# Now LoRA itself: a frozen W, a trained A [64, R] and B [R, 64]. The loss is the squared error of an example. (A has 64 columns here, and those beyond the rank
# are zero, so that one compiled function serves all ranks. They stay zero; you will see why.)


# %%
def start(key, rank):
    """A small and random in its first `rank` columns; B zero."""
    a = jax.random.uniform(key, (D, D), minval=-1, maxval=1) / D**0.5
    return {"a": jnp.where(jnp.arange(D) < rank, a, 0), "b": jnp.zeros((D, D))}


def loss(lora, scale):
    error = X @ W + scale * (X @ lora["a"] @ lora["b"]) - Y
    return jnp.mean(jnp.sum(error**2, axis=-1))


# %% [markdown]
# Plain gradient descent moves each number by learning rate x gradient. Language models are trained by Adam, which first divides each gradient by its own usual size: each number moves by about the
# *learning rate*, whether its gradient is large or small.


# %%
@partial(jax.jit, static_argnames="steps")
def fit(rank, scale, rate, steps=100):
    """The loss before each step."""
    rule, lora = optax.adam(rate), start(jax.random.key(5), rank)

    def step(state, _):
        value, gradient = jax.value_and_grad(loss)(state[0], scale)
        change, memory = rule.update(gradient, state[1])
        return (optax.apply_updates(state[0], change), memory), value

    return jax.lax.scan(step, (lora, rule.init(lora)), length=steps)[1]


# %% [markdown]
# The change has the singular values 4, 3, 2, 1, and since no input direction is rarer than another, the loss of any $AB$ is just $\lVert \Delta W - AB \rVert^2$. **Predict first:** with rank 1, what is the lowest loss that
# training can reach? And with rank 2, 3, 4? (Eckart and Young know.)

# %%
from helptune.plots.lora import by_rank

steps, few = 400, [1, 2, 3, 4, 8]
curves = np.array([fit(r, 8 / r, 0.01, steps) for r in few])
floors = [14, 5, 1]
figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
by_rank(ax, np.arange(steps), curves, few)
for line in ax.lines:
    line.set_markevery(40)
ax.hlines(floors, 0, steps, color="#333333", linestyle=":", linewidth=1)
ax.set(xlabel="step", ylabel="loss", yscale="log", ylim=(1e-3, 40), title="Too thin cannot, thick enough can")
plt.show()
assert np.allclose(curves[:3, -1], floors, rtol=0.01), "each floor: squares of the singular values left out"
print("loss at the end:", dict(zip(few, curves[:, -1].round(2).tolist(), strict=True)))

# %% [markdown]
# *In words: five falling curves. Ranks 1, 2 and 3 end on dotted floors at 14, 5 and 1. Ranks 4 and 8 fall below a thousandth.*
#
# **What did you observe?** 14 = 3² + 2² + 1². Training found the very best matrix of rank 1, without an SVD, and no number of steps gets below that floor. A rank larger than needed costs numbers, not quality.
#
# ## Why alpha / rank is there
#
# LoRA multiplies its product by a **scale**: $\Delta W = \text{scale} \cdot AB$. Hu et al. (2021) take alpha / R, where alpha is a number you choose once. Why divide by the rank?
#
# $AB$ is a sum of R products: column r of A times row r of B. B starts at zero, and the first step of Adam moves every number of B by the learning rate, up or down, whichever
# lowers the loss. So each of the R products takes a step of about the same size, and all of them downhill: together they go R times as far as one. The scale multiplies what they do:
#
# $$\text{first step of Adam} \;\propto\; R \times \text{scale}$$
#
# **Divide by R, and the step no longer depends on the rank.** We measure it, as a share of the way to the true $\Delta W$. **Predict first:** from rank 1 to 64, by what factor does the step grow if the scale is 1 / R? 1 / √R? 1?

# %%
SCALES = {"1 / R": lambda r: 1 / r, "1 / √R": lambda r: r**-0.5, "1": lambda r: 1.0}


def first_step(ranks, rule, adam):
    """The share of delta that the first step brings, at each rank: the mean over 200 random A."""

    def share(rank, key):
        lora, scale = start(key, rank), rule(rank)
        slope = jax.grad(loss)(lora, scale)["b"]
        moved = -0.01 * (jnp.sign(slope) if adam else slope)
        return jnp.sum(scale * lora["a"] @ moved * delta) / jnp.sum(delta**2)

    keys = jax.random.split(jax.random.key(1), 200)
    return jax.vmap(jax.vmap(share, (None, 0)), (0, None))(ranks, keys).mean(1)


# %%
from helptune.plots.lora import over_ranks

powers = 2.0 ** jnp.arange(7)
shares = {f"scale {name}": first_step(powers, rule, adam=True) for name, rule in SCALES.items()}
ax = over_ranks(plt.subplots(figsize=(6.5, 3.2), layout="constrained")[1], powers, shares)
ax.set(yscale="log", xlabel="rank R", ylabel="share of the way in one step", title="One step of Adam")
plt.show()
grown = {name: float(share[-1] / share[0]) for name, share in shares.items()}
print("from rank 1 to 64:", {name: f"x {factor:.0f}" for name, factor in grown.items()})
assert abs(grown["scale 1 / R"] - 1) < 0.1, "with 1 / R the step should be the same at every rank"

# %% [markdown]
# *In words: three straight lines. With 1 / R the step is level from rank 1 to rank 64, with 1 / √R it grows by 8, with scale 1 by 64.*
#
# ### What that buys: a learning rate that stays put
#
# One step is not a training. Train 100 steps at many learning rates and ranks, with alpha such that all three rules agree at rank 8. **Predict first:** in which panel do the curves lie on top of one another?

# %%
rates, ranks = 2.0 ** jnp.arange(-14, -6), jnp.array([8.0, 16, 32, 64])


def end_losses(rule):
    """Loss after 100 steps [ranks, rates]; alpha is such that all scales are 1 at rank 8."""

    def end(r, rate):
        return fit(r, rule(r) / rule(8.0), rate)[-1]

    return np.asarray(jax.vmap(jax.vmap(end, (None, 0)), (0, None))(ranks, rates))


found = {name: end_losses(rule) for name, rule in SCALES.items()}

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharey=True)
for ax, (name, losses) in zip(axes, found.items(), strict=True):
    by_rank(ax, rates, losses, ranks.astype(int).tolist())
    ax.set(xscale="log", xlabel="learning rate of Adam", title=f"scale: alpha x {name}")
axes[0].set_ylabel("loss after 100 steps")
plt.show()
spread = {name: losses[:, 4].max() / losses[:, 4].min() for name, losses in found.items()}
print("at one learning rate, worst rank / best rank:", {name: float(f"{x:.1g}") for name, x in spread.items()})
assert spread["1 / R"] < 1.4, "with alpha / R all ranks should learn alike at one learning rate"

# %% [markdown]
# *In words: three panels, four curves each, all falling from left to right. With 1 / R they lie on one another. With scale 1 they stand apart: each doubling of the rank shifts them left by one doubling of the
# learning rate. With 1 / √R they are half as far apart.*
#
# **That is why alpha / rank is there: you tune the learning rate once, and then change the rank as you like.** (A real model is less tidy, but Schulman et al. (2025) find the same on Llama models: the best learning rate hardly depends on the rank.
# Notebook 08 sweeps both on Gemma.)
#
# And what is alpha for? Move the sliders (again, the three rules agree at rank 8). **Predict first:** what does the rank change under each rule? And does doubling alpha resemble something you know?

# %%
reference = np.asarray(fit(8, 1.0, 0.001))


def learned(rank, alpha, rule):
    scale = alpha / 8 * SCALES[rule](rank) / SCALES[rule](8)
    return np.asarray(fit(rank, scale, 0.001))


def draw(ax, **settings):
    ax.plot(reference, color="#E69F00", linestyle="--", label="rank 8, alpha 8")
    ax.plot(learned(**settings), color="#0072B2", label="yours")
    ax.set(xlabel="step", ylabel="loss", ylim=(0, 31))
    ax.legend(frameon=False)


# %%
from helptune.interactive import choice


def words(**settings):
    return f"After 100 steps: loss {learned(**settings)[-1]:.1f}; with rank 8 and alpha 8 it is {reference[-1]:.1f}."


rule = choice([(f"alpha x {name}", name) for name in SCALES], "1 / R")
training = explore(draw, words, rank=slider(8, 64, 32), alpha=slider(1, 32, 8), rule=rule)
training

# %% [markdown]
# *In words: the loss over 100 steps, yours beside that of rank 8 with alpha 8. Under alpha / R the rank slider hardly moves your curve; under alpha x 1 it bends it down.*

# %%
for name in SCALES:
    training.controls["rule"].value, training.controls["rank"].value = name, 64
    print(f"rank 64, alpha x {name}: {training.words}")

# %% [markdown]
# **What did you observe?** More alpha, faster learning, much as with a larger learning rate (not exactly: the learning rate moves A as well as B). Read it so: **alpha is the rank at which the scale is 1.** With alpha 8, every rank goes as far in a step as rank 8 does
# without a scale. One such knob is enough: Hu et al. set alpha to the first rank they try, leave it there, and tune the learning rate.
#
# ### Another rule: alpha / √R
#
# Under alpha / R a larger rank learns *no faster*: 64 thin products share what one would do. Kalajdzievski (2023) sees a fault in that: large ranks are held back, so nobody finds them useful. His scale is alpha / √R (*rank-stabilized*, rsLoRA). Where does a root come from?
# From *plain* gradient descent. There B moves by its gradient, which carries the scale (Adam divided it away); the product carries it again; and R products add up:
#
# $$\text{first step of gradient descent} \;\propto\; R \times \text{scale}^2$$
#
# **Predict first:** which of the three lines is level now?

# %%
shares = {f"scale {name}": first_step(powers, rule, adam=False) for name, rule in SCALES.items()}
ax = over_ranks(plt.subplots(figsize=(6.5, 3.2), layout="constrained")[1], powers, shares)
ax.set(yscale="log", xlabel="rank R", ylabel="share of the way in one step", title="One step of plain gradient descent")
plt.show()
level = shares["scale 1 / √R"]
assert abs(float(level[-1] / level[0]) - 1) < 0.1, "with 1 / √R this step should be the same at every rank"

# %% [markdown]
# *In words: three straight lines again. Now 1 / √R is level, scale 1 rises by 64 and 1 / R falls by 64.*
#
# **What did you observe?** Which scale is neutral depends on the optimizer. With Adam, alpha / R makes all ranks learn alike, and alpha / √R gives larger ranks larger steps: rank 64 √8 = 2.8 times those of rank 8.
# That may be what you want (`LoraConfig(rank_stabilized=True)`). The rule is part of the adapter: store rank, alpha *and* rule, or it comes back too strong or too weak.
#
# ---
#
# **Half-way: a good place for a break.** The second half puts the same two matrices beside the real Gemma 3 270M. (With a new kernel, choose *Run All Above Selected Cell* first.)
#
# ## Why B starts at zero
#
# Each of the 18 layers of the model has seven weight matrices, its *projections* (notebook 03 opens them). We put an adapter of rank 16 beside every one, and compare the *logits*: at each place of a text, a score for every token that may come next.

# %%
from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.certificate import token_logits
from helptune.adapt.lora import LoraConfig
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer
from helptune.gemma.tokenizer import BOS

base, tokenizer = load_base("float32"), load_embedded_tokenizer()
rows = [[BOS, *tokenizer.encode("The sky is blue because air scatters blue light.")]]
lora = LoraConfig(rank=16, alpha=32)
fresh = init_adapters(lora, base.config, jax.random.key(0))
before = token_logits(base, rows)[0]
after = token_logits(base, rows, attach(fresh, lora))[0]
print(f"logits {before.shape}, identical to the last bit: {np.array_equal(before, after)}")
assert np.array_equal(before, after), "a new adapter must not change the model"

# %% [markdown]
# Inserted, and nothing changed: training starts from what the model knows. Two other starts come to mind: both matrices zero, or both random. With $g$ the gradient of the loss with respect to the output $xW + \text{scale} \cdot xAB$,
#
# $$\frac{\partial\,\text{loss}}{\partial B} = \text{scale} \cdot (xA)^T g \qquad\qquad \frac{\partial\,\text{loss}}{\partial A} = \text{scale} \cdot x^T (g B^T)$$
#
# **Predict first:** for each of the three starts, is the gradient of A zero? Of B? Do the logits change?

# %%
from helptune.data.packing import Batch
from helptune.train.step import nll_sum

ids = np.array(rows)
ones = np.ones((1, ids.shape[1] - 1), np.int32)
batch = Batch(ids[:, :-1], ids[:, 1:], ones.astype(np.float32), ones.cumsum(1, dtype=np.int32) - 1, ones)
zeros = jax.tree.map(jnp.zeros_like, fresh)
noisy = {site: pair | {"b": jax.random.normal(jax.random.key(2), pair["b"].shape) / 4} for site, pair in fresh.items()}
starts = {"A random, B zero": fresh, "both zero": zeros, "both random": noisy}
slopes = jax.jit(jax.grad(nll_sum, argnums=1), static_argnums=2)
for name, adapter in starts.items():
    gradient = slopes(base, adapter, lora, batch)
    a, b = (any(bool(jnp.any(pair[leaf])) for pair in gradient.values()) for leaf in "ab")
    same = np.array_equal(before, token_logits(base, rows, attach(adapter, lora))[0])
    print(f"{name:>16}: gradient of A {a!s:>5}, of B {b!s:>5}, logits unchanged {same}")

# %% [markdown]
# **What did you observe?**
#
# - *Both zero*: no gradient for A nor for B, now and forever. The adapter is dead. (That is how the toy's unused columns stayed zero.)
# - *Both random*: everything learns, from a damaged model.
# - *A random, B zero*: nothing changes, and B has a gradient. After one step B is no longer zero, and A learns too.
#
# A zero and B random would do as well: one of the two must be zero, not both.
#
# ## What it saves, counted
#
# At a projection of [in, out] an adapter has $R\,(\text{in} + \text{out})$ numbers in place of in x out. **Predict first:** rank 16 on all projections of the 270M is 3.8 million numbers, 1.4% of the model. Is the share larger or smaller for Gemma 7B, with its 8.5 billion?

# %%
from helptune.gemma.base import site_shapes
from helptune.gemma.config import gemma3_270m, gemma_7b
from helptune.train.flops import adapter_parameters


def count(model, rank):
    return sum(model.layers * rank * (d_in + d_out) for d_in, d_out in site_shapes(model).values())


for model in (gemma3_270m(), gemma_7b()):
    assert count(model, 16) == adapter_parameters(model, lora), "count both matrices, at every site of every layer"
    print(f"{model.name}: {count(model, 16):,} of {model.parameters:,}, {count(model, 16) / model.parameters:.2%}")

# %% [markdown]
# Smaller: in + out grows more slowly than in x out.
#
# For each number that it trains, training with Adam keeps four in float32: the weight, its gradient, and two running means (of the gradient and of its square). That is 16 bytes. LoRA has in addition the frozen model, in bfloat16 (a float of
# 2 bytes); full fine-tuning computes with such a copy, too. **Predict first:** a GPU has 80 GB. Does Gemma 7B fit, trained in full? With LoRA?

# %%
from helptune.plots.lora import memory_bars

MODELS = {model.name: model for model in (gemma_7b(), gemma3_270m())}


def draw(ax, model, rank):
    full, thin = MODELS[model].parameters, count(MODELS[model], rank)
    memory_bars(ax, [2e-9 * full] * 2, [full, thin], ["full", f"LoRA, rank {rank}"])


def words(model, rank):
    full, thin = MODELS[model].parameters, count(MODELS[model], rank)
    beside = f"full fine-tuning keeps {16e-9 * full:.1f} GB, LoRA of rank {rank} {16e-9 * thin:.2f} GB"
    return f"{model}: {2e-9 * full:.1f} GB in bfloat16 either way. Beside it, {beside} ({thin / 1e6:.1f} million)."


# %%
memory = explore(draw, words, size=(7, 3), model=choice(list(MODELS)), rank=slider(1, 128, 16))
memory

# %% [markdown]
# *In words: two bars. Full fine-tuning: a grey part for the model and four long coloured parts. LoRA: the same grey part, and next to it a sliver.*
#
# **Notice:** the frozen model stays, and so do the results of each layer that wait for the backward pass (the *activations*), which this picture leaves out: [What LoRA saves, and what it does not](lora_cost.md) has them measured.
#
# ## Does a real change have a low rank?
#
# The toy's change had rank 4 because we made it so. What about a real one? We fine-tune *without* LoRA: every entry of one projection (v) of every layer may move, in a short run over 48 of the course's conversations, each seen once.

# %%
from helptune.data.conversation import load_curated
from helptune.toys.full_update import mean_nll, short_batches, train_update

small = load_base()  # in bfloat16: half the time
practice = short_batches(load_curated("train"), tokenizer, small.config, count=48, rows=2)
(held_back,) = short_batches(load_curated("heldout"), tokenizer, small.config, count=8, rows=8)
update, losses = train_update(small, practice, sites=("v",), rate=1e-4)
print("dW:", update["v"].shape, "-", len(losses), "steps")


# %%
def both_losses(change):
    """Nats a token on the first 8 rows of practice, and on the held-back conversations."""
    return np.array([mean_nll(small, {"v": jnp.asarray(change)}, batch) for batch in (seen, held_back)])


seen = jax.tree.map(lambda *rows: np.concatenate(rows), *practice[:4])
old, new = both_losses(0 * update["v"]), both_losses(update["v"])
assert (new < old - 0.3).all(), "the update should help, also with conversations it was not trained on"
print("more than 0.3 nats a token better, on practice and on held-back conversations")

# %% [markdown]
# The update works on conversations it has never seen. Now its singular values, layer by layer. **Predict first:** in a random matrix of 640 x 256, the 16 strongest directions hold about 15% of
# the squared norm. In this update? In the frozen weights themselves?

# %%
from helptune.train.gradients import effective_rank

U, S, Vt = np.linalg.svd(np.asarray(update["v"]), full_matrices=False)  # of each of the 18 layers
W9, chance = np.asarray(base.blocks["v"][9]), np.random.default_rng(0).normal(size=(640, 256))
values = {"the update": S[9]}
values |= {name: np.linalg.svd(m, compute_uv=False) for name, m in (("frozen W", W9), ("random", chance))}
energy = {name: np.cumsum(s**2) / np.sum(s**2) for name, s in values.items()}
named = {f"{name}: effective rank {effective_rank(values[name]):.0f}": share for name, share in energy.items()}
ax = over_ranks(plt.subplots(figsize=(7.5, 3.2), layout="constrained")[1], np.arange(1, 257), named)
ax.set(xlabel="rank kept", ylabel="share of the squared norm", title="v of layer 9, 640 x 256")
plt.show()
assert energy["the update"][15] > 3 * energy["random"][15], "the update should be far steeper than chance"

# %% [markdown]
# *In words: three rising curves. The update's is far above the others at small ranks; the frozen W goes with the random matrix near the bottom. All reach 1 at rank 256.*
#
# **Notice:** W looks random; nobody could thin it. The update is concentrated, 16 directions hold more than half, and yet it has a long tail: its *effective rank* is far above 16 (exp of the entropy of the singular values, scaled to sum 1; R if R of them are equal and the others zero). Is rank 16 enough, or not?
#
# A norm cannot answer that; the loss can. Cut the update to rank r, and measure how much of the improvement is left. **Predict first:** at rank 1? At 16? Of a *random* change of the same norm?

# %%
kept = [1, 2, 4, 8, 16, 32, 64, 128]
cuts = [(U[..., :r] * S[:, None, :r]) @ Vt[:, :r] for r in kept]
practiced, gain = np.array([(old - both_losses(cut)) / (old - new) for cut in cuts]).T
dust = jax.random.normal(jax.random.key(3), update["v"].shape)
dust *= jnp.linalg.norm(update["v"]) / jnp.linalg.norm(dust)
by_chance = ((old - both_losses(dust)) / (old - new))[1]
left = {"improvement, held back": gain, "squared norm": [np.sum(S[:, :r] ** 2) / np.sum(S**2) for r in kept]}
left |= {"random change, held back": [by_chance] * len(kept), "improvement, practice": practiced}
ax = over_ranks(plt.subplots(figsize=(7.5, 3.2), layout="constrained")[1], kept, left)
ax.set(xlabel="rank kept", ylabel="share of it kept", title="What is left of a real update", ylim=(-0.1, 1.1))
plt.show()
assert gain[4] > 0.9 > 0.1 > abs(by_chance), "compare rank 16 with a random matrix of the same norm"

# %% [markdown]
# *In words: four lines over the rank kept. The improvement on held-back conversations starts near 0.8 at rank 1 and is almost 1 from rank 8 on. That on practiced conversations and the squared norm climb slowly
# to 1. A random matrix gives about nothing.*
#
# **What did you observe?** One direction a layer already holds most of what *carries over* to other conversations, and 16 hold nearly all of it. The long tail helps mostly with the practiced conversations, as memory of them would.
#
# The run is short, the data small, and one projection moved: a hard task, or more data, can need more. Others found the like. Aghajanyan et al. (2020) trained 200 numbers, projected at random into all weights of RoBERTa, and reached 90% of full fine-tuning
# on MRPC, a paraphrase task; Hu et al. (section 7) gained little beyond very small ranks. **Enough is a finding about updates, not a theorem about matrices**: notebook 08 measures it for your data.
#
# ## Merging
#
# The update, cut, *is* an adapter: two thin matrices a layer. The library cuts by the same theorem (without ever building the whole matrix), and must agree with us:

# %%
from helptune.adapt.combine import truncate

r = 16
whole = {"v": {"a": jnp.asarray(update["v"]), "b": jnp.tile(jnp.eye(256), (18, 1, 1))}}  # dW times the identity
adapter, thin, _ = truncate(whole, LoraConfig(rank=256, alpha=256, sites=("v",)), r)
change = np.asarray(adapter["v"]["a"] @ adapter["v"]["b"])
print("A and B:", adapter["v"]["a"].shape, adapter["v"]["b"].shape, "- alpha / rank:", thin.alpha / thin.rank)
assert np.linalg.norm(change - cuts[4]) < 1e-3 * np.linalg.norm(change), "both should be the nearest of rank 16"

# %% [markdown]
# It is linear, so it can move into the weights: $W + \text{scale} \cdot AB$. The merged model costs nothing extra to run. Does it do the same?

# %%
from helptune.adapt.certificate import logit_difference
from helptune.adapt.merge import merge

merged = merge(base, adapter, thin, "float32")
beside, inside = token_logits(base, rows, attach(adapter, thin)), token_logits(merged.base, rows)
apart = logit_difference(beside, inside)
print("same first choices:", apart.same_choice == 1, "- largest difference below 0.01:", apart.max < 0.01)
assert apart.max < 0.01 < np.abs(beside[0] - before).max(), (
    "merged, the adapter should do what it does beside the model"
)

# %% [markdown]
# In float32, merging is exact up to rounding: the same sums in another order. But models are stored in **bfloat16**, which keeps 8 significant bits: near 0.02, its steps are about 0.0001 wide, and a change of less than half a step is rounded away. Our update
# moves a typical weight by two steps. **Predict first:** what part of the update does rounding lose: a thousandth, a hundredth, a tenth?

# %%
from helptune.adapt.certificate import site_rounding

rounding = site_rounding(small, adapter, thin, "bfloat16")["v"]
in_bfloat16 = merge(small, adapter, thin, "bfloat16")
minus = in_bfloat16.base.blocks["v"].astype(jnp.float32) - change
back = bool(jnp.all(minus.astype(jnp.bfloat16) == small.blocks["v"]))
print("part of the update that rounding lost, between 5% and 25%:", 0.05 < rounding.lost < 0.25)
print("weights that did not change at all, more than 5%:", rounding.unchanged > 0.05)
print("subtracting brings the base back:", back, "- unmerging by keeping it:", in_bfloat16.original is small)
assert not back, "half steps that were rounded away do not come back"

# %% [markdown]
# **What did you observe?** Merging in bfloat16 loses a part of what was learned, and subtracting does not undo it. So the library sums in float32, rounds once, keeps the base, and writes a *certificate* with these figures ([Adapters](adapters.md)).
#
# ## Adapters beside LoRA
#
# Before LoRA came the **bottleneck** (Houlsby et al. 2019): after a projection, down to a few features, a *nonlinearity*, up again, added to the output. It, too, starts by changing nothing. **Predict first:** double the input of both. Which one doubles its answer?

# %%
from helptune.adapt.bottleneck import BottleneckConfig, attach_bottleneck, init_bottleneck

method = BottleneckConfig(width=64, placement="houlsby")
one_layer = {name: leaf[0] for name, leaf in init_bottleneck(method, base.config, jax.random.key(4))["o"].items()}
one_layer["up"] = jax.random.normal(jax.random.key(5), one_layer["up"].shape) / 8  # as if trained
pair = {"a": fresh["gate"]["a"][0], "b": noisy["gate"]["b"][0]}
x = jax.random.normal(jax.random.key(6), (1, 1, 640))
straight = [attach(fresh, lora).delta({"adapters": {"gate": pair}}, "gate", t * x, x) for t in (1, 2)]
bent = [attach_bottleneck({}).delta({"o": one_layer}, "o", x, t * x) for t in (1, 2)]
for name, (once, twice) in {"LoRA": straight, "bottleneck": bent}.items():
    print(f"{name}: twice the input, twice the answer: {np.allclose(2 * once, twice, atol=1e-3)}")
for kind in (lora, method, BottleneckConfig(64, "pfeiffer")):
    millions = adapter_parameters(base.config, kind) / 1e6
    print(f"{millions:.2f} million numbers: {type(kind).__name__} on {', '.join(kind.sites)}")

# %% [markdown]
# **Notice:** no matrix $W'$ does what the bottleneck does, so it **cannot be merged**, and every token pays for it: the delay that Hu et al. set out to avoid.
#
# ## Summary
#
# - The best matrix of rank r is the r strongest outer products of the SVD.
# - LoRA leaves W whole and makes the *change* thin. Too small a rank has a floor; a larger one than needed costs numbers only.
# - $AB$ is a sum of R products, and Adam moves all of them downhill by equal steps: its first step grows with R x scale. **alpha / R takes the R away: the learning rate need not be tuned again when the rank changes.** alpha, the rank at which the scale is 1, works much like the learning rate.
# - Plain gradient descent grows with R x scale²: there alpha / √R (rsLoRA) is neutral. With Adam it gives larger ranks larger steps.
# - B starts at zero so that nothing changes at first; A must not be zero as well, or nothing ever will.
# - Rank 16 trains 1.4% of the 270M and 0.6% of the 7B. Gradients and Adam shrink with it; the frozen model and activations do not.
# - Linear adapters can be merged. In bfloat16 that loses a part; keep the base.
#
# ## Toward constitutional training
#
# Constitutional AI (Bai et al. 2022) trains a model several times: helpful first, then on its own critiques and revisions (stage 3), then by preferences against a constitution (stage 4, RLAIF). With LoRA a stage is a file of 15 MB (rank 16 on the 270M, in float32). Merge it, begin the next
# one with B zero, and that starts exactly where the last one ended. In stage 4 the model without its new adapter is the reference that the policy must not drift away from: no second model in memory.
#
# ## Exercises
#
# [02 · Exercises](../exercises/02_lora_math/02_lora_math.ipynb): count an adapter, write LoRA, derive its gradients, cut a matrix to a rank.
#
# ## Further reading
#
# - Hu et al. 2021, *LoRA: Low-Rank Adaptation of Large Language Models*, [arXiv:2106.09685](https://arxiv.org/abs/2106.09685). Sections 4 and 7.
# - Kalajdzievski 2023, *A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA*, [arXiv:2312.03732](https://arxiv.org/abs/2312.03732).
# - Schulman and Thinking Machines Lab 2025, *LoRA Without Regret*, [thinkingmachines.ai/blog/lora](https://thinkingmachines.ai/blog/lora/). Why alpha / R, on real models.
# - Aghajanyan, Zettlemoyer, Gupta 2020, *Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning*, [arXiv:2012.13255](https://arxiv.org/abs/2012.13255).
# - Houlsby et al. 2019, *Parameter-Efficient Transfer Learning for NLP*, [arXiv:1902.00751](https://arxiv.org/abs/1902.00751).
# - Eckart and Young 1936, *The approximation of one matrix by another of lower rank*, Psychometrika 1, 211–218.
# - Bai et al. 2022, *Constitutional AI: Harmlessness from AI Feedback*, [arXiv:2212.08073](https://arxiv.org/abs/2212.08073).
