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
# About an hour to read and play, about 2 minutes to run on 2 CPU cores. You need Python, matrix products and derivatives;
# [00 · Start here](00_start_here.ipynb) first. Afterwards you can say what a rank is and see it, write LoRA in twenty lines,
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
# The **singular value decomposition** writes any matrix as a sum of *outer products*, a column times a row:
#
# $$M = s_1 u_1 v_1^T + s_2 u_2 v_2^T + \dots \qquad s_1 \ge s_2 \ge \dots \ge 0$$
#
# The columns $u_i$ are orthogonal and of length 1, and so are the rows $v_i^T$: all the strength is in the numbers $s_i$. A sum of r such products has
# **rank** r. Keep the r largest, and you have r columns and r rows: $r\,(64 + 96)$ numbers.


# %%
def best_rank(M, r):
    """The r strongest of the outer products that M is made of."""
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return (U[:, :r] * S[:r]) @ Vt[:r]


assert np.allclose(best_rank(M, 64), M), "all 64 products together are the picture itself"

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
# *In words: the picture on the left, and on the right the same from few outer products: bands and crosses at rank 1 or 2, a blurred landscape at 8, all of it
# at 30.*

# %%
pictures.controls["rank"].value = 12
print(pictures.words)

# %% [markdown]
# **What did you observe?** A fraction of the numbers makes nearly all of the picture. From rank 39 on, two thin matrices would hold *more* numbers than the picture has.
#
# ### Nothing of that rank comes nearer
#
# Eckart and Young (1936): among *all* matrices of rank r this one is nearest to M, and what it misses is known beforehand: the root of the sum of the $s_i^2$ left out.
# Here is the competition: the best that can be done with r random directions, and with r of the picture's own columns.
# **Predict first:** how far behind will they be at rank 8?

# %%
S = np.linalg.svd(M, compute_uv=False)
ranks = np.arange(1, 33)


def missed(basis):
    """How far M is from the best matrix whose columns are mixtures of those of `basis`."""
    Q = np.linalg.qr(basis)[0]
    return np.linalg.norm(M - Q @ (Q.T @ M)) / np.linalg.norm(M)


noise = np.random.default_rng(0).normal(size=(64, 32))
random = [missed(noise[:, :r]) for r in ranks]
columns = [missed(M[:, np.linspace(0, 95, r + 2).astype(int)[1:-1]]) for r in ranks]
best = [np.linalg.norm(M - best_rank(M, r)) / np.linalg.norm(M) for r in ranks]

# %%
figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
ax.plot(ranks, random, "^:", color="#D55E00", label="r random directions", markersize=4)
ax.plot(ranks, columns, "s--", color="#E69F00", label="r columns of the picture", markersize=4)
ax.plot(ranks, best, "o-", color="#0072B2", label="r largest singular values", markersize=4)
ax.set(xlabel="rank r", ylabel="missing share of the norm", yscale="log", title="Nothing beats the SVD")
ax.legend(frameon=False)
plt.show()
predicted = [np.sqrt(np.sum(S[r:] ** 2)) / np.linalg.norm(M) for r in ranks]
assert np.allclose(best, predicted), "compare with the root of the sum of squares of the values left out"
print(f"missing at rank 8: {random[7]:.2f} random, {columns[7]:.3f} columns, {best[7]:.3f} best")

# %% [markdown]
# *In words: three falling lines on a logarithmic axis. Random directions hardly help, real columns do, the singular directions are below both everywhere.*
#
# The library cuts adapters with the same theorem, `truncate` in `adapt/combine.py`. It never builds the whole matrix, but it must agree:

# %%
from helptune.adapt.combine import truncate
from helptune.adapt.lora import LoraConfig

whole = {"q": {"a": M[None], "b": np.eye(96)[None]}}  # the picture as an adapter: M times the identity
cut, config, lost = truncate(whole, LoraConfig(rank=96, alpha=96), 8)
thin = np.asarray(cut["q"]["a"][0] @ cut["q"]["b"][0])
print("A and B:", cut["q"]["a"].shape[1:], cut["q"]["b"].shape[1:])
print("the same as ours:", np.allclose(thin, best_rank(M, 8), atol=1e-4))

# %% [markdown]
# Two thin matrices, A of 64 x 8 and B of 8 x 96, and their product is our picture.
#
# ## The same idea, for a change
#
# LoRA does not squeeze the weights. They stay, whole and frozen. It squeezes the *change*: $W' = W + \Delta W$ with $\Delta W = A B$.
#
# Here is a world where that is right by construction. A teacher computes $y = x\,(W + \Delta W)$; we know W, and of $\Delta W$ only the examples.

# %%
import jax
import jax.numpy as jnp

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
# Now LoRA itself: a frozen W, a trained A [64, R] and B [R, 64]. The loss is the squared error of an example. So that one compiled function serves all ranks,
# A has 64 columns here, and those beyond the rank are zero. (They stay zero; you will soon see why.)


# %%
def start(key, rank):
    """A small and random in its first `rank` columns; B zero."""
    a = jax.random.uniform(key, (D, D), minval=-1, maxval=1) / D**0.5
    return {"a": jnp.where(jnp.arange(D) < rank, a, 0), "b": jnp.zeros((D, D))}


def loss(lora, scale):
    error = X @ W + scale * (X @ lora["a"] @ lora["b"]) - Y
    return jnp.mean(jnp.sum(error**2, axis=-1))


# %%
from functools import partial

import optax


# %%
@partial(jax.jit, static_argnames="steps")
def fit(rank, scale, rate, steps=100):
    """The loss before each step, and A and B after the last."""
    rule, lora = optax.adam(rate), start(jax.random.key(5), rank)

    def step(state, _):
        value, gradient = jax.value_and_grad(loss)(state[0], scale)
        change, memory = rule.update(gradient, state[1])
        return (optax.apply_updates(state[0], change), memory), value

    (lora, _), losses = jax.lax.scan(step, (lora, rule.init(lora)), length=steps)
    return losses, lora


# %% [markdown]
# The change has the singular values 4, 3, 2, 1, and since no input direction is rarer than another, the loss of any $AB$ is just $\lVert \Delta W - AB \rVert^2$. **Predict first:** with rank 1, what is the lowest loss that
# training can reach? And with rank 2, 3, 4? (Eckart and Young know.)

# %%
from helptune.plots.lora import by_rank

steps, few = 400, [1, 2, 3, 4, 8]
curves = np.array([fit(r, 8 / r, 0.01, steps)[0] for r in few])
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
# **What did you observe?** 14 = 3² + 2² + 1². Training found the very best matrix of rank 1, without ever computing an SVD. No number of steps gets below that floor. And a rank larger
# than needed costs numbers, not quality.
#
# ## Why alpha / rank is there
#
# LoRA multiplies $AB$ by a **scale**. Hu et al. take alpha / R, where alpha is a number you choose once. Why not just alpha?
#
# $AB$ is a sum of R products $a_r b_r^T$. B starts at zero, and Adam's first step moves each number of B by the learning rate, up or down, however large the gradient. So each
# of the R products makes a small step *the same way*, towards a lower loss. R of them go R times as far. **Divide by R, and the step no longer depends on the rank.**
#
# We measure it: how far does the first step of Adam carry $\Delta W$ along the way it has to go, as a share of that way? **Predict first:** from rank 1 to 64, by what factor does that grow if
# the scale is 1? 1 / R? 1 / √R?

# %%
SCALES = {"1": lambda r: 1.0 + 0 * r, "1 / √R": lambda r: 1 / jnp.sqrt(r), "1 / R": lambda r: 1 / r}
powers = jnp.array([1.0, 2, 4, 8, 16, 32, 64])


def first_step(key, rank, scale, adam):
    """The share of delta that the first step brings."""
    lora = start(key, rank)
    slope = jax.grad(loss)(lora, scale)["b"]
    moved = -0.01 * (jnp.sign(slope) if adam else slope)
    return jnp.sum(scale * lora["a"] @ moved * delta) / jnp.sum(delta**2)


# %%
keys = jax.random.split(jax.random.key(1), 200)


def mean_shares(rule, adam):
    """For each rank, the mean over 200 random A."""
    each = jax.vmap(jax.vmap(lambda rank, key: first_step(key, rank, rule(rank), adam), (None, 0)), (0, None))
    return each(powers, keys).mean(1)


# %%
def draw_steps(adam, title):
    ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")[1]
    styles = (("#D55E00", "^:"), ("#E69F00", "s--"), ("#0072B2", "o-"))
    for (name, rule), (color, style) in zip(SCALES.items(), styles, strict=True):
        ax.plot(powers, mean_shares(rule, adam), style, color=color, label=f"scale {name}")
    ax.set(xscale="log", yscale="log", xlabel="rank R", ylabel="share of the way in one step", title=title)
    ax.set_xticks(powers, [f"{r:.0f}" for r in powers])
    ax.legend(frameon=False)
    plt.show()


# %%
draw_steps(True, "One step of Adam")
shares = {name: mean_shares(rule, True) for name, rule in SCALES.items()}
grown = {name: float(share[-1] / share[0]) for name, share in shares.items()}
print("from rank 1 to 64:", {name: f"x {factor:.0f}" for name, factor in grown.items()})
assert abs(grown["1 / R"] - 1) < 0.1, "with 1 / R the step should be the same at every rank"

# %% [markdown]
# *In words: three straight lines. With scale 1 the step grows from rank 1 to rank 64 by 64, with 1 / √R by 8, with 1 / R it is level.*
#
# ### What that buys: a learning rate that stays put
#
# Train 100 steps at many learning rates and ranks, with alpha such that all three rules agree at rank 8. **Predict first:** in which panel do the curves lie on top of one another?

# %%
rates, ranks = 2.0 ** jnp.arange(-14, -6), jnp.array([8.0, 16, 32, 64])


def end_losses(scale):
    """Loss after 100 steps [ranks, rates]; alpha is such that all scales are 1 at rank 8."""

    def end(r, rate):
        return fit(r, scale(r) / scale(8.0), rate)[0][-1]

    return np.asarray(jax.vmap(jax.vmap(end, (None, 0)), (0, None))(ranks, rates))


found = {name: end_losses(scale) for name, scale in SCALES.items()}

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharey=True)
for ax, (name, losses) in zip(axes, found.items(), strict=True):
    by_rank(ax, rates, losses, ranks.astype(int).tolist())
    ax.set(xscale="log", xlabel="learning rate of Adam", title=f"scale: alpha x {name}")
axes[0].set_ylabel("loss after 100 steps")
plt.show()
spread = {name: losses[:, 4].max() / losses[:, 4].min() for name, losses in found.items()}
print("at one learning rate, worst rank / best rank:", {name: f"{x:.1g}" for name, x in spread.items()})
assert spread["1 / R"] < 1.4, "with alpha / R all ranks should learn alike at one learning rate"

# %% [markdown]
# *In words: three panels, four curves each, all falling from left to right. With scale 1 the curves stand apart: each doubling of the rank shifts them left by one doubling of the
# learning rate. With 1 / √R they are half as far apart. With 1 / R they lie on one another.*
#
# **That is why alpha / rank is there: you tune the learning rate once, and then change the rank as you like.** (A real model is less tidy than this toy; notebook 08 sweeps ranks and learning rates on Gemma.)
#
# Now the sliders (again, the three rules agree at rank 8). **Predict first:** learning rate fixed, alpha fixed: what does the rank change under each rule? And does doubling alpha resemble something you know?

# %%
reference = np.asarray(fit(8, 1.0, 0.001)[0])


# %%
def learned(rank, alpha, rule):
    return np.asarray(fit(rank, alpha / 8 * float(SCALES[rule](rank) / SCALES[rule](8.0)), 0.001)[0])


def draw(ax, **settings):
    ax.plot(reference, color="#E69F00", linestyle="--", label="rank 8, alpha 8")
    ax.plot(learned(**settings), color="#0072B2", label="yours")
    ax.set(xlabel="step", ylabel="loss", ylim=(0, 31))
    ax.legend(frameon=False)


def words(**settings):
    return f"After 100 steps: loss {learned(**settings)[-1]:.1f}; with rank 8 and alpha 8 it is {reference[-1]:.1f}."


# %%
from helptune.interactive import choice

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
# **Notice:** more alpha, faster learning: alpha works much like the learning rate (not exactly; the learning rate moves A as well as B). One such knob is enough, so Hu et al. set alpha once, to the first rank they try, and tune the learning rate.
#
# ### Another rule: alpha / √R
#
# Under alpha / R a larger rank learns *no faster*: 64 thin products share what one would do. Kalajdzievski (2023) sees a fault in that: large ranks are held back, so nobody finds them useful. The
# paper's scale is alpha / √R, with a proof that neither what the adapter adds nor its gradients grow or shrink with R. Where does a root come from? Take plain gradient descent. B's gradient carries the scale, the product $AB$ carries it
# again, and R products add up: $R \times \text{scale}^2$. **Predict first:** which of the three lines is level now?

# %%
draw_steps(False, "One step of plain gradient descent")
level = mean_shares(SCALES["1 / √R"], False)
assert abs(float(level[-1] / level[0]) - 1) < 0.1, "with 1 / √R this step should be the same at every rank"

# %% [markdown]
# *In words: three straight lines again. Now 1 / √R is level, scale 1 rises by 64 and 1 / R falls by 64.*
#
# **What did you observe?** Which scale is neutral depends on the optimizer. With Adam, alpha / R makes all ranks learn alike; alpha / √R gives larger ranks larger steps,
# which may be what you want (`LoraConfig(rank_stabilized=True)`). The rule is part of the adapter: store rank, alpha *and* rule, or it comes back too strong or too weak.
#
# ## Why B starts at zero
#
# The toy is understood; now the real Gemma 3 270M, in float32. We put an adapter of rank 16 beside all seven projections of its 18 layers.

# %%
from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.certificate import token_logits
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer
from helptune.gemma.tokenizer import BOS

base, tokenizer = load_base("float32"), load_embedded_tokenizer()
rows = [[BOS, *tokenizer.encode("The sky is blue because air scatters short waves more than long ones.")]]
lora = LoraConfig(rank=16, alpha=32)
fresh = init_adapters(lora, base.config, jax.random.key(0))
before = token_logits(base, rows)[0]
after = token_logits(base, rows, attach(fresh, lora))[0]
print(f"logits {before.shape}, identical to the last bit: {np.array_equal(before, after)}")
assert np.array_equal(before, after), "a new adapter must not change the model"

# %% [markdown]
# Inserted, and nothing changed: training starts from what the model knows. Two other starts come to mind: both matrices zero, or both random. With $g$ the gradient that arrives at the output,
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
# At a projection of [in, out] an adapter has $R\,(\text{in} + \text{out})$ numbers in place of in x out. **Predict first:** rank 16 on all projections of Gemma 7B, with its 8.5 billion parameters: how many millions?

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
# For each number that it trains, training with Adam keeps four in float32: the weight, its gradient, and two running means. That is 16 bytes. LoRA has in addition the frozen model, 2 bytes a
# number in bfloat16; so has full fine-tuning, as the working copy of its float32 weights. **Predict first:** Gemma 7B, 16 bytes for each of 8.5 billion: does it fit on a GPU of 80 GB?

# %%
from helptune.plots.lora import memory_bars

MODELS = {model.name: model for model in (gemma_7b(), gemma3_270m())}


def gigabytes(model, rank):
    """(frozen, full, LoRA)."""
    config = MODELS[model]
    return 2e-9 * config.parameters, 16e-9 * config.parameters, 16e-9 * count(config, rank)


def draw(ax, model, rank):
    config = MODELS[model]
    copy = gigabytes(model, rank)[0]
    memory_bars(ax, [copy, copy], [config.parameters, count(config, rank)], ["full", f"LoRA, rank {rank}"])


# %%
def words(model, rank):
    frozen, full, thin = gigabytes(model, rank)
    return (
        f"{model}: {frozen:.1f} GB in bfloat16 either way; with it full fine-tuning keeps {full:.1f} GB, "
        f"LoRA of rank {rank} {thin:.2f} GB for {count(MODELS[model], rank) / 1e6:.1f} million numbers."
    )


memory = explore(draw, words, size=(7, 3), model=choice(list(MODELS)), rank=slider(1, 128, 16))
memory

# %% [markdown]
# *In words: two bars. Full fine-tuning: a grey part for the model and four long coloured parts. LoRA: the same grey part, and next to it a sliver.*
#
# **Notice:** the sliver is what LoRA shrinks. The frozen model stays, and so do the activations that wait for the backward pass, which this picture leaves out: [What LoRA saves, and what it does not](lora_cost.md) has them measured.
#
# ## Does a real change have a low rank?
#
# In the toy the change had rank 4 because we made it so. What about a real one? We fine-tune *without* LoRA: every entry of the v projection of every layer of the real model may move, in a short run over 48 curated conversations, each seen once. Then we
# take the singular values of what moved, as section 7 of Hu et al. does.

# %%
from helptune.data.conversation import load_curated
from helptune.toys.full_update import mean_nll, short_batches, train_update

small = load_base()  # bfloat16: half the time, and rounding does not matter here
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
widths = {name: float(effective_rank(s)) for name, s in values.items()}
print("rank 16 holds more than half:", {name: bool(share[15] > 0.5) for name, share in energy.items()})
print("effective rank above 100:", {name: width > 100 for name, width in widths.items()})
assert energy["the update"][15] > 3 * energy["random"][15], "the update should be far steeper than chance"

# %%
figure, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
for (name, share), style, color in zip(
    energy.items(), ("-", "--", ":"), ("#0072B2", "#E69F00", "#D55E00"), strict=True
):
    label = f"{name}: {share[15]:.0%} in 16, effective rank {widths[name]:.0f}"
    ax.plot(np.arange(1, 257), share, style, color=color, label=label, linewidth=2)
ax.set(xscale="log", xlabel="rank kept", ylabel="share of the squared norm", title="v of layer 9, 640 x 256")
ax.set_ylim(0, 1.4)
ax.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
ax.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# *In words: three rising curves. The update's is far above the others at small ranks; the frozen W goes with the random matrix near the bottom. All reach 1 at rank 256.*
#
# **Notice:** W looks random; nobody could thin it. The update is concentrated. And yet its *effective rank* (exp of the entropy of its singular values) is far above 16: a long tail of small values. So
# is rank 16 enough, or not?
#
# A norm cannot answer that; the loss can. Cut the update to rank r, and measure how much of the improvement is left. **Predict first:** at rank 1? At 16?

# %%
kept = [1, 2, 4, 8, 16, 32, 64, 128]
cuts = [(U[..., :r] * S[:, None, :r]) @ Vt[:, :r] for r in kept]
practiced, gain = np.array([(old - both_losses(cut)) / (old - new) for cut in cuts]).T
share = [np.sum(S[:, :r] ** 2) / np.sum(S**2) for r in kept]
dust = jax.random.normal(jax.random.key(3), update["v"].shape)
dust *= jnp.linalg.norm(update["v"]) / jnp.linalg.norm(dust)
by_chance = ((old - both_losses(dust)) / (old - new))[1]

# %%
figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
ax.plot(kept, gain, "o-", color="#0072B2", label=f"held back: {old[1]:.2f} to {new[1]:.2f} nats")
ax.plot(kept, practiced, "v-.", color="#009E73", label=f"practice: {old[0]:.2f} to {new[0]:.2f} nats")
ax.plot(kept, share, "s--", color="#E69F00", label="squared norm")
ax.axhline(by_chance, color="#D55E00", linestyle=":", label="random, held back")
ax.set(xscale="log", xlabel="rank kept", ylabel="share of it kept", title="What is left of a real update")
ax.set_ylim(-0.1, 1.1)
ax.set_xticks(kept, [str(r) for r in kept])
figure.legend(loc="outside right center", frameon=False)
plt.show()
assert gain[4] > 0.9 > 0.1 > abs(by_chance), "compare rank 16 with a random matrix of the same norm"
print("rank 16 keeps more than 90% of what was learned for others; a random matrix gives less than 10%")

# %% [markdown]
# *In words: four lines over the rank kept. The improvement on held-back conversations starts near 0.8 at rank 1 and is almost 1 from rank 8 on. That on practiced conversations and the squared norm climb slowly
# to 1. A random matrix gives about nothing.*
#
# **What did you observe?** One direction a layer already holds most of what *carries over* to other conversations, and 16 hold nearly all of it. The long tail helps mostly with the practiced conversations, as memory of them would.
#
# Be careful with what this shows. The run is short, the data small, and one site moved; a gradient of a few hundred tokens has few directions to begin with, while Adam, which makes all entries move about equally, adds the long tail.
# A hard task, or more data, can need more. What others found points the same way: Aghajanyan et al. (2020) trained 200 numbers, projected at random into all weights of RoBERTa, and reached 90% of full fine-tuning on a paraphrase task (MRPC); Hu et al. (2021,
# section 7) found little gain beyond very small ranks on theirs. **Enough is a finding about updates, not a theorem about matrices**: notebook 08 measures it for your data.
#
# ## Merging
#
# The adapter is linear, so it can move into the weights: $W + \text{scale} \cdot AB$. The merged model costs nothing extra to run. Our cut update *is* an adapter: share each singular value between A and B.

# %%
from helptune.adapt.certificate import logit_difference
from helptune.adapt.merge import merge

r = 16
root = np.sqrt(S[:, :r])
adapter = {"v": {"a": jnp.asarray(U[..., :r] * root[:, None]), "b": jnp.asarray(root[..., None] * Vt[:, :r])}}
thin = LoraConfig(rank=r, alpha=r, sites=("v",))
merged = merge(base, adapter, thin, "float32")
beside, inside = token_logits(base, rows, attach(adapter, thin)), token_logits(merged.base, rows)
apart = logit_difference(beside, inside)
print("same first choices:", apart.same_choice == 1, "- largest difference below 0.01:", apart.max < 0.01)
assert apart.max < 0.01 < np.abs(beside[0] - before).max(), (
    "merged, the adapter should do what it does beside the model"
)

# %% [markdown]
# In float32, merging is exact up to rounding: the same sums in another order. But models are stored in **bfloat16**, which keeps 8 significant bits: near 0.02, its steps are about 0.0001 wide. **Predict first:** the update
# moves a typical weight by one or two hundredths of its size. What happens to that when the sum is rounded?

# %%
delta = np.asarray(thin.scale * adapter["v"]["a"] @ adapter["v"]["b"])
W = np.abs(np.asarray(small.blocks["v"], np.float32))
step_of = 2.0 ** (np.floor(np.log2(np.maximum(W, 1e-30))) - 7)  # the distance to the next bfloat16
sizes = np.log2(np.abs(delta) / step_of).ravel()
figure, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
ax.hist(sizes, bins=np.arange(-10, 6, 0.5), color="#0072B2", weights=np.full(sizes.size, 1 / sizes.size))
ax.axvline(-1, color="#D55E00", linestyle="--")
ax.text(-1.3, 0.09, "less than half a step:\nrounded away", color="#D55E00", ha="right", va="top")
ax.set(xlabel="change of a weight, in steps of bfloat16 (powers of 2)", ylabel="share of weights")
plt.show()

# %% [markdown]
# *In words: a histogram with its hump at two steps, right of the dashed line at half a step. More than a tenth of all weights lies left of the line; what lies right of it is rounded to whole steps.*

# %%
from helptune.adapt.certificate import site_rounding

rounding = site_rounding(small, adapter, thin, "bfloat16")["v"]
in_bfloat16 = merge(small, adapter, thin, "bfloat16")
minus = in_bfloat16.base.blocks["v"].astype(jnp.float32) - delta
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
# Before LoRA came the **bottleneck** (Houlsby et al. 2019): after a projection, down to a few features, a nonlinearity, up again, added to the output. It begins as the identity, too. **Predict first:** double the input of both. Which one doubles its answer?

# %%
from helptune.adapt.bottleneck import BottleneckConfig, attach_bottleneck, init_bottleneck

method = BottleneckConfig(width=64, placement="houlsby")
bottleneck = init_bottleneck(method, base.config, jax.random.key(4))["o"]
bottleneck = {name: leaf[0] for name, leaf in bottleneck.items()}  # of one layer
bottleneck["up"] = jax.random.normal(jax.random.key(5), bottleneck["up"].shape) / 8  # as if trained
pair = {"a": fresh["gate"]["a"][0], "b": noisy["gate"]["b"][0]}
x = jax.random.normal(jax.random.key(6), (1, 1, 640))
sizes = jnp.linspace(-3, 3, 41)
straight = [attach(fresh, lora).delta({"adapters": {"gate": pair}}, "gate", t * x, x)[0, 0, 0] for t in sizes]
bent = [attach_bottleneck({}).delta({"o": bottleneck}, "o", x, t * x)[0, 0, 0] for t in sizes]

# %%
figure, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
for values, style, color, name in ((straight, "-", "#0072B2", "LoRA"), (bent, "--", "#D55E00", "bottleneck")):
    ax.plot(sizes, np.array(values) / np.abs(values).max(), style, color=color, label=name, linewidth=2)
ax.set(xlabel="size of the input", ylabel="one output (its largest = 1)", title="Linear, and not")
ax.legend(frameon=False)
plt.show()
doubled = {
    name: bool(np.allclose(2 * v[25], v[30], rtol=1e-3)) for name, v in (("LoRA", straight), ("bottleneck", bent))
}
print("doubles with its input:", doubled)
for kind in (lora, method, BottleneckConfig(64, "pfeiffer")):
    millions = adapter_parameters(base.config, kind) / 1e6
    print(f"{millions:.2f} million numbers: {type(kind).__name__} on {', '.join(kind.sites)}")

# %% [markdown]
# *In words: a straight line through zero, and a curve that bends.*
#
# **Notice:** a matrix can only draw straight lines. No W' does what the bottleneck does, so it **cannot be merged**, and every token pays for it: the delay that Hu et al. set out to avoid.
#
# ## Summary
#
# - The best matrix of rank r is the r strongest outer products; what it misses is the root of the sum of squares of the rest.
# - LoRA leaves W whole and makes the *change* thin. Too small a rank has a floor; a larger one than needed costs numbers only.
# - $AB$ is a sum of R products that Adam moves alike, so its first step grows with R. **alpha / R takes that growth away: the learning rate need not be tuned again when the rank changes.** alpha / √R does so for plain gradient descent, and lets large ranks take larger steps with Adam.
# - B starts at zero so that nothing changes at first; A must not, or nothing ever will.
# - Rank 16 trains 1.4% of the 270M and 0.6% of the 7B. Gradients and Adam shrink with it; the frozen model and activations do not.
# - Linear adapters can be merged. In bfloat16 that loses a part; keep the base.
#
# ## Toward constitutional training
#
# Constitutional AI (Bai et al. 2022) trains a model several times: helpful first, then on its own critiques and revisions (stage 3), then by preferences against a constitution (stage 4, RLAIF). With LoRA a stage is a few megabytes. Merge it, begin the next
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
# - Aghajanyan, Zettlemoyer, Gupta 2020, *Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning*, [arXiv:2012.13255](https://arxiv.org/abs/2012.13255).
# - Houlsby et al. 2019, *Parameter-Efficient Transfer Learning for NLP*, [arXiv:1902.00751](https://arxiv.org/abs/1902.00751).
# - Eckart and Young 1936, *The approximation of one matrix by another of lower rank*, Psychometrika 1, 211–218.
# - Bai et al. 2022, *Constitutional AI: Harmlessness from AI Feedback*, [arXiv:2212.08073](https://arxiv.org/abs/2212.08073).
