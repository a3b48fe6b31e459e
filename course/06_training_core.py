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
# # 06 · Training core
#
# **Question: how does the real core work, so that a run can be cut in parts, spread over devices, or killed, and still learn the same?**
#
# About 55 minutes to read, under 3 minutes to run on 2 CPU cores. You need [02 · LoRA mathematics](02_lora_math.ipynb) and
# [04 · Chat and loss](04_chat_and_loss.ipynb). Afterwards you can read [`train/fit.py`](../lib/helptune/train/fit.py) and
# [`train/step.py`](../lib/helptune/train/step.py) from top to bottom, say why each line is there, and predict a run's memory before you start it.

# %% [markdown]
# ## Eight devices on your laptop
#
# XLA, the compiler below JAX, reads its flags when it starts, so this cell comes first. The first flag cuts your CPU into eight virtual
# devices. They are no faster, since they share your cores, but what they do is real: each holds its own arrays, and they send each other
# messages. The second flag compiles quickly rather than well: most programs here run once.

# %%
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"

import jax

print(jax.device_count(), "devices")

# %% [markdown]
# ## The whole loop on one screen
#
# **Predict first:** a run is killed after step 1,000 of 2,000. What must a checkpoint hold so that it can go on as if nothing had happened? Write
# your list down before you read on.
#
# This is `fit`, without its messages and measurements:
#
# ```python
# plan = plan_batches(lengths, ..., seed)                  # what every step will read, known before the first
# state = TrainState(adapters, opt_state, step=0)          # or the newest checkpoint
# while state.step < len(plan):
#     batch = collate(train, plan[state.step], ...)        # rows of tokens
#     state, result = train_step(base, state, batch, key)  # compiled once
#     if it_is_time:
#         checkpoints.save(state)
# ```
#
# And this is what `save` is given:

# %%
from dataclasses import fields

from helptune.train.step import TrainState

print([field.name for field in fields(TrainState)])

# %% [markdown]
# **Notice:** no place in the data, no random state, no learning rate. All three are functions of the seed and `step`, which is why
# they cannot get lost. The base is not there, either: it never changes. Let us see that it does not.
#
# ## One real step: what moves?
#
# The real Gemma 3 270M, in bfloat16, and LoRA of rank 16 at all seven sites.

# %%
from helptune.adapt.adapters import init_adapters, parameter_count
from helptune.adapt.lora import LoraConfig
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer

base, tokenizer = load_base("bfloat16"), load_embedded_tokenizer()
lora = LoraConfig(rank=16)
adapters = init_adapters(lora, base.config, jax.random.key(0))
count, arrays = parameter_count(adapters), jax.tree.leaves(adapters)
print(f"{count:,} of {base.config.parameters:,} parameters are trained: {count / base.config.parameters:.1%}")
print(f"they are {len(arrays)} arrays of {arrays[0].dtype}")

# %% [markdown]
# Data: every fortieth conversation of the course, and a plan of two rows a step. `parts` cuts a batch into micro-batches.

# %%
from helptune.data.conversation import load_curated
from helptune.data.packing import collate, plan_batches, tokenize

texts = tokenize(load_curated("train")[::40][:24], tokenizer, base.config, seq_len=256)
lengths = [len(text) for text in texts]
rows = plan_batches(lengths, seq_len=256, batch_rows=2, epochs=1, seed=0)[0]
batch = collate(texts, rows, seq_len=256, batch_rows=2)


def parts(batch, count):
    """[B, T] -> [count, B / count, T]"""
    return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)


# %% [markdown]
# To know whether anything moved we compare bytes, not numbers: a hash of every array.

# %%
from hashlib import sha256

import numpy as np


def fingerprints(tree):
    """{place in the tree: hash of the bytes there}"""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): sha256(np.asarray(leaf).tobytes()).hexdigest() for path, leaf in leaves}


def changed(before, after):
    return [place for place in before if before[place] != after[place]]


# %% [markdown]
# **Predict first:** one optimizer step. How many of the base's arrays change? How many of the 14 adapter arrays get a gradient, if B starts at
# zero? And how many of the 14 change?

# %%
import jax.numpy as jnp
from optax.tree_utils import tree_get

from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import init_state, train_step

before, frozen, key = fingerprints(adapters), fingerprints(base), jax.random.key(0)
optimizer = make_optimizer(OptimizerConfig(warmup_steps=0), 100)
state = init_state(jax.tree.map(jnp.copy, adapters), optimizer)
state, result = train_step(base, state, parts(batch, 1), key, method=lora, optimizer=optimizer)

moments = jax.tree.leaves(tree_get(state.opt_state, "mu"))
print(f"base: {len(changed(frozen, fingerprints(base)))} of {len(frozen)} arrays changed")
print(f"adapters: {sum(bool(m.any()) for m in moments)} of {len(moments)} got a gradient,", end=" ")
print(f"{len(changed(before, fingerprints(state.adapters)))} changed")

# %% [markdown]
# **What did you observe?** The base is the same, bit for bit. Only the seven B have a gradient: A's passes through B, which is zero. Still all 14
# changed. What moved A is weight decay: 0.01 of the learning rate, three millionths of each number. Remember how small that is.

# %%
assert not changed(frozen, fingerprints(base)), "the base moved: something other than the adapters was trained"
held = sum(leaf.nbytes for leaf in jax.tree.leaves((state.adapters, tree_get(state.opt_state, "mu"))))
held += sum(leaf.nbytes for leaf in jax.tree.leaves(tree_get(state.opt_state, "nu")))
print(f"a checkpoint: {held / count:.0f} bytes for each trained parameter")

# %% [markdown]
# ## Why the masters are float32
#
# The base is bfloat16: 8 significant bits, half the memory. The adapters, their gradients and moments are float32, "masters". A number
# in bfloat16 changes only if at least half of the distance to its neighbour is added. Adam's steps are about as large as the learning rate.

# %%
import matplotlib.pyplot as plt

from helptune.plots.training_core import rounding

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
rounding(ax, {"Adam at the peak, 3e-4": 3e-4, "Adam at the end, 3e-5": 3e-5})
plt.show()

# %% [markdown]
# *In words: two staircases over the size of the weight, from 1/4096 to 2: the largest step that rounding swallows. That of bfloat16 rises from
# 1e-6 to 4e-3 and crosses both steps on its way: weights above 1/128 ignore the smaller one, weights above 1/8 the larger. That of float32 is
# 65,536 times lower, far below both.*
#
# **Predict first:** A is uniform between $\pm 1/\sqrt{\text{in}}$, here $\pm 0.02$ to $\pm 0.04$. Round it to bfloat16, and add a step to each number. What share of them stays as it was, at the peak
# of the learning rate and at its end? And what share of the base's own weights would a typical step of full fine-tuning, 1e-5, not move?

# %%
from jax.numpy import bfloat16


def stuck(values, step):
    """The share of numbers that adding `step` to them in bfloat16 does not change."""
    low = np.asarray(values).astype(bfloat16)
    return float(np.mean((low.astype(np.float32) + step).astype(bfloat16) == low))


a = np.concatenate([np.ravel(leaf["a"]) for leaf in adapters.values()])
for name, values, step in (("A", a, 3e-4), ("A", a, 3e-5), ("the base's q", base.blocks["q"], 1e-5)):
    print(f"{stuck(values, step):4.0%} of {name} would not feel a step of {step}")

# %% [markdown]
# Does that matter, if the next step comes along? A toy: one weight goes from 1 to 2 by gradient descent, and each step covers 1% of what
# is left. **Predict first:** where does the weight end that is kept in bfloat16?


# %%
def descend(kept_as, read_as, goal=2.0, rate=0.01, steps=600):
    weight, path = np.asarray(1.0, kept_as), []
    for _ in range(steps):
        gradient = np.float32(weight.astype(read_as)) - np.float32(goal)
        weight = (weight.astype(np.float32) - np.float32(rate) * gradient).astype(kept_as)
        path.append(float(weight))
    return path


low, mixed = descend(bfloat16, bfloat16), descend(np.float32, bfloat16)

# %%
from helptune.plots.training_core import descents

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
descents(ax, {"kept in bfloat16": low, "kept in float32, read in bfloat16": mixed}, goal=2.0)
plt.show()

# %% [markdown]
# *In words: the weight kept in bfloat16 climbs in a line for 80 steps and then stays at 1.6, far below the goal. The one kept in float32 bends smoothly towards 2.*

# %%
print(f"kept in bfloat16: {low[-1]:.3f}; kept in float32: {mixed[-1]:.3f}")
assert low[-1] == low[300], "kept in bfloat16, the weight still moves: is the step larger than half of 1/128?"

# %% [markdown]
# **Notice:** reading a rounded copy does no harm; *adding up* in it does. Small steps must land where they can be kept. (Or round up and down at random:
# see *stochastic rounding* below.)
#
# ## A batch in parts
#
# Eight rows do not fit? Compute them in parts and add up. But what is added? A mean of each part's mean looks harmless. From here on the model
# is a tiny Gemma 3 with random weights, so that everything takes a moment; the code is the same. Token ids are folded into its
# vocabulary of 512.

# %%
from dataclasses import replace

from helptune.gemma.base import init_base
from helptune.gemma.config import tiny

small = init_base(replace(tiny(3), heads=8), jax.random.key(0))
short = [replace(text, ids=tuple(i % 512 for i in text.ids)) for text in texts]
thin = LoraConfig(rank=4)
trained = init_adapters(thin, small.config, key)
trained = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(key, x.shape), trained)  # as after some training
eight = collate(short, [[number] for number in range(8)], seq_len=256, batch_rows=8)
print("supervised tokens in each row:", eight.weights.sum(axis=1).astype(int).tolist())

# %% [markdown]
# **Predict first:** the gradient of these rows as 1 x 8, 2 x 4 or 8 x 1 micro-batches: how far apart are they? And how far is the mean of the eight
# rows' own gradients?

# %%
import optax


def distance(a, b):
    """How far tree a is from tree b, as a share of b's norm."""
    return float(optax.global_norm(jax.tree.map(jnp.subtract, a, b)) / optax.global_norm(b))


# %%
from helptune.train.step import gradients

compute = jax.jit(gradients, static_argnames="method")
whole, two, one = (compute(small, trained, thin, parts(eight, count), key)[2] for count in (1, 2, 8))
alone = [
    compute(small, trained, thin, jax.tree.map(lambda x, i=i: x[None, i : i + 1], eight), key)[2] for i in range(8)
]
averaged = jax.tree.map(lambda *leaves: sum(leaves) / 8, *alone)
print("2 x 4 and 8 x 1 equal 1 x 8 to 5 digits:", max(distance(two, whole), distance(one, whole)) < 1e-5)
print(f"the mean of means is off by {distance(averaged, whole):.0%}")

# %%
from helptune.plots.training_core import token_weights

supervised = eight.weights.sum(axis=1).astype(int)
right, wrong = np.full(8, 1 / supervised.sum()), 1 / (8 * supervised)
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
token_weights(ax, supervised, {"sums, divided once": right, "mean of means": wrong})
plt.show()

# %% [markdown]
# *In words: eight pairs of bars. With sums every token of every row weighs the same, a fraction of a percent. In the mean of means a token of the
# row with the fewest supervised tokens weighs more than six times as much as one of the row with the most.*
#
# **Notice:** the mean of means prefers short answers, and *which* tokens it prefers hangs on how the rows were cut. The core adds up numerators
# (nats) and denominators (tokens), over micro-batches and over devices, and divides once.

# %%
assert distance(one, whole) < 1e-5 < distance(averaged, whole), "parts should not matter, and means of means should"

# %% [markdown]
# ## The optimizer
#
# Each step: clip the gradient's norm to 1, then AdamW with the learning rate of that step. The rate is a function of the step, too. Four
# schedules of the library, over 100 steps:

# %%
from helptune.plots import schedules
from helptune.train.optimizer import SCHEDULES, learning_rate

configs = {name: OptimizerConfig(schedule=name, warmup_steps=10) for name in SCHEDULES}
rates = {name: [float(learning_rate(config, 100)(step)) for step in range(100)] for name, config in configs.items()}
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
schedules(ax, rates)
plt.show()

# %% [markdown]
# *In words: all four rise in a line to 3e-4 at step 10. Cosine falls in a smooth half wave, linear in a line, both to a tenth; constant stays at the peak;
# wsd (warmup, stable, decay) stays there until step 80 and then falls in a line.*
#
# AdamW is five lines. **Predict first:** at the very first step, how large is its update for a gradient of 0.001? For one of 1,000?


# %%
def adamw(w, m, v, g, t, rate, b1=0.9, b2=0.999, eps=1e-8, decay=0.01):
    m = b1 * m + (1 - b1) * g  # which way, lately
    v = b2 * v + (1 - b2) * g**2  # how large gradients are here
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)  # both began at 0
    return w - rate * (m_hat / (np.sqrt(v_hat) + eps) + decay * w), m, v


for g in (0.001, 1000.0):
    print(f"gradient {g}: update {adamw(0.0, 0.0, 0.0, g, 1, rate=3e-4)[0]:.1e}")

# %% [markdown]
# The size of the gradient cancels: a first step is as long as the learning rate. That is why one learning rate serves all sites, and why a warmup
# helps while v knows next to nothing. Now beside optax, which the core uses, for 20 steps of random gradients:

# %%
rng, theirs = np.random.default_rng(0), optax.adamw(3e-4, weight_decay=0.01)
ours = w = rng.normal(size=50).astype(np.float32)
m, v, kept = np.zeros(50), np.zeros(50), theirs.init(w)
for t in range(1, 21):
    g = rng.normal(size=50).astype(np.float32)
    ours, m, v = adamw(ours, m, v, g, t, rate=3e-4)
    updates, kept = theirs.update(g, kept, w)
    w = optax.apply_updates(w, updates)
assert np.allclose(ours, w, atol=1e-6), "the five lines and optax went different ways: compare the bias corrections"
print("20 steps, the same weights to 6 digits")

# %% [markdown]
# ## Compute it twice, keep it never
#
# The backward pass needs what the forward pass computed in each block. Keeping it takes memory; *rematerialization* keeps less and computes it
# again. `remat="full"` keeps one array a block, its input; `"dots"` keeps the large products and makes the cheap rest again.
#
# XLA says what a program will take, without running it. **Predict first:** a step of the 270M on 4 x 256 tokens. By which factor do the
# temporary arrays shrink from `none` to `full`?

# %%
from helptune.experiment.plan import GIB, lower_step
from helptune.experiment.presets import named_preset, override
from helptune.gemma.model import REMAT
from helptune.gemma.sharding import make_mesh

bars, one_device = {}, make_mesh((1, 1, 1), jax.devices()[:1])
for remat in REMAT:
    with jax.set_mesh(one_device):
        program = lower_step(base.config, override(named_preset("gemma-3-270m"), remat=remat), one_device)
    xla = program.compile().memory_analysis()
    bars[remat] = {"held": xla.argument_size_in_bytes / GIB, "temporary": xla.temp_size_in_bytes / GIB}
    print(f"{remat}: {program.as_text().count('dot_general')} products in the program")

# %%
from helptune.plots.training_core import stacked

figure, ax = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
stacked(ax, bars)
plt.show()
temporary = [bars[remat]["temporary"] for remat in REMAT]
assert temporary == sorted(temporary, reverse=True), "each policy should keep less than the one before it"

# %% [markdown]
# *In words: three bars. Somewhat more than half a GiB, base and state, is the same in all. On top of it lies what is temporary: about 0.6 GiB for none, 0.4 for
# dots, and little more than 0.1 for full, about a fifth of what none takes.*
#
# **Notice:** the program of `full` holds more products: a block's forward pass stands in its backward pass a second time. For a LoRA step that is 6
# operations a parameter and token instead of 4. It changes what is kept, never what is computed: the gradient is the same. The default
# is `none`; the preset for Gemma 7B uses `full`.
#
# ## One step on eight devices
#
# A *mesh* names the devices' axes: `data` and `fsdp` cut the rows of a batch, `fsdp` and `tensor` cut the frozen weights. One table,
# [`gemma/sharding.py`](../lib/helptune/gemma/sharding.py), says which. **Predict first:** on a mesh of (data 2, fsdp 2, tensor 2), how many devices hold the
# same block of q?

# %%
from helptune.gemma.sharding import base_shardings
from helptune.plots.training_core import placement

MESHES = {"(8, 1, 1)": (8, 1, 1), "(1, 8, 1)": (1, 8, 1), "(1, 1, 8)": (1, 1, 8), "(2, 2, 2)": (2, 2, 2)}
leaves = ("q", "o", "gate", "down", "embedding")
figure, axes = plt.subplots(len(MESHES), len(leaves), figsize=(10, 8), layout="constrained")
for line, (name, shape) in zip(axes, MESHES.items(), strict=True):
    placed = base_shardings(small, make_mesh(shape))
    for ax, leaf in zip(line, leaves, strict=True):
        array, sharding = (tree.blocks.get(leaf, tree.embedding) for tree in (small, placed))
        placement(ax, array.shape, sharding, f"{leaf} on {name}")
plt.show()

# %% [markdown]
# *In words: a table of matrices, a mesh in each row (data, fsdp, tensor), with the numbers of the devices that hold each block. With 8 along data
# every device holds everything. With 8 along fsdp, q and gate are cut into eight bands of rows, o and down into bands of columns. With 8 along
# tensor it is the other way round: the heads and the width of the MLP are cut. On (2, 2, 2) there are four blocks, each held by two devices.
# The embedding is cut by words wherever anything is cut.*
#
# Nobody writes a message by hand: XLA sees where arrays lie and inserts *collectives*. An all-reduce gives each device the sum of what all have, an
# all-gather gives each all the pieces, a reduce-scatter gives each a piece of the sum, an all-to-all swaps pieces. **Predict first:** is the step on eight devices the same as on
# one, bit for bit? Which collective does a pure data mesh need?

# %%
from helptune.gemma.sharding import on_mesh, replicate, shard_base

host = jax.device_get(init_state(trained, optimizer))
options = {"method": thin, "optimizer": optimizer}


def step_on(mesh):
    """(new adapters, the compiled program's text) of one step on a mesh."""
    with jax.set_mesh(mesh):
        whole_on_each = replicate((host, key), mesh)
        arguments = shard_base(small, mesh), whole_on_each[0], on_mesh(parts(eight, 1)), whole_on_each[1]
        program = train_step.lower(*arguments, **options).compile()
        return jax.device_get(program(*arguments)[0].adapters), program.as_text()


# %%
from helptune.toys.messages import messages

single, _ = step_on(one_device)
for name, shape in MESHES.items():
    adapted, text = step_on(make_mesh(shape))
    assert distance(adapted, single) < 1e-4, f"the step on {name} is another one than on a single device"
    print(f"{name}: the same adapters to 4 digits;", dict(messages(text)))

# %% [markdown]
# **What did you observe?** The same step, up to the order in which sums are rounded (it moves the adapters by 0.3%, so 4 digits would show a wrong one). With `data` alone there are two messages, both all-reduces:
# the gradients and the loss of each device's rows are added up. With `fsdp` most are all-gathers: the weights of a block's seven
# sites are put together when it runs, once forward and once backward. With `tensor` they are sums inside the blocks, of what was
# cut. (The rest belongs to the loss, where positions travel to the words, and to what makes the adapters' gradients whole everywhere.) `data` saves no
# memory for weights and talks least; the others save it and talk more.
#
# ## Data order is a function
#
# `plan_batches` computes what *every* step will read from the lengths and the seed. **Predict first:** two epochs of 24 conversations. How often is
# each read? Is the second epoch in the order of the first?

# %%
from helptune.plots.training_core import visits

order = plan_batches(lengths, seq_len=256, batch_rows=2, epochs=2, seed=0)
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
visits(ax, order, len(order) // 2)
plt.show()

# %% [markdown]
# *In words: a point for each visit, steps to the right, examples upwards. In each epoch every example has one point, and the two epochs
# have different orders. Several points above one step are conversations that share its rows.*

# %%
from collections import Counter

seen = Counter(number for step in order for row in step for number in row)
print("every example is read twice:", set(seen.values()) == {2} and len(seen) == len(texts))
assert order == plan_batches(lengths, 256, 2, 2, seed=0) != plan_batches(lengths, 256, 2, 2, seed=1)

# %% [markdown]
# ## Killed, and resumed bit by bit
#
# Now the promise of the first section. A run with dropout on the tiny model, of which step k is a function of the state, the seed and k:

# %%
dropped = replace(thin, dropout=0.05)
schedule = OptimizerConfig(learning_rate=1e-2, warmup_steps=3)
plan = plan_batches(lengths, seq_len=256, batch_rows=2, epochs=12, seed=0, max_steps=24)
resumed_optimizer = make_optimizer(schedule, len(plan))


def train(state, last, first_read=0):
    """Go on to step `last`, and keep the state of each step. `first_read` shifts the data, which nobody should."""
    path = []
    for step in range(int(state.step), last):
        batch = collate(short, plan[step - first_read], seq_len=256, batch_rows=2)
        state, _ = train_step(small, state, parts(batch, 2), key, method=dropped, optimizer=resumed_optimizer)
        path.append(jax.device_get(state))
    return path


# %% [markdown]
# All steps in one go, each state kept. Then again: three steps, a checkpoint with the library's `Checkpoints`, everything thrown away, a new state that knows
# nothing, restored, three more. **Predict first:** after step 6, of the 45 arrays of the state, how many have exactly the same bytes?


# %%
def fresh(seed=0):
    return init_state(init_adapters(dropped, small.config, jax.random.key(seed)), resumed_optimizer)


never_stopped = train(fresh(), 24)

# %%
import tempfile
from pathlib import Path

from helptune.train.checkpoint import Checkpoints, Progress

with tempfile.TemporaryDirectory() as folder:
    saved = Checkpoints(Path(folder))
    saved.save(jax.tree.map(jnp.array, train(fresh(), 3)[-1]), Progress())
    restored, _ = saved.restore(fresh(seed=99))
    saved.close()
resumed = train(restored, 6)

# %%
right, found = fingerprints(never_stopped[5]), fingerprints(resumed[-1])
print(f"{sum(right[place] == found[place] for place in right)} of {len(right)} arrays have the same bytes")
assert right == found, f"these differ: {changed(right, found)[:3]}; what did the checkpoint not hold?"

# %% [markdown]
# All of them. The random start with another seed left no trace, dropout was drawn again as it would have been, and the fourth batch was the fourth.
# (On the same machine and as many devices. Others add up in another order, as above, and agree to some digits only.)
#
# Now two resumes that go wrong, as they do in practice: one loses the optimizer's state, the other starts the data from the beginning. Both are
# killed after step 6 of 24. **Predict first:** which of them comes back to the path of the run that was never stopped?

# %%
from helptune.plots.training_core import drift


def killed_after_6():
    return jax.tree.map(jnp.array, never_stopped[5])


start = fresh().adapters
runs = {
    "resumed": train(killed_after_6(), 24),
    "optimizer lost": train(killed_after_6().replace(opt_state=fresh().opt_state), 24),
    "data restarted": train(killed_after_6(), 24, first_read=6),
}


# %%
def apart(state, right):
    """How far two runs are from each other, as a share of the way from the start."""
    a, b = state.adapters, right.adapters
    return float(
        optax.global_norm(jax.tree.map(jnp.subtract, a, b)) / optax.global_norm(jax.tree.map(jnp.subtract, b, start))
    )


far = {name: [apart(*pair) for pair in zip(path, never_stopped[6:], strict=True)] for name, path in runs.items()}
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
drift(ax, far, killed=6)
plt.show()
assert max(far["resumed"]) == 0 < min(far["optimizer lost"][-1], far["data restarted"][-1]), "which resume was exact?"

# %% [markdown]
# *In words: steps 7 to 24. The exact resume lies on zero. The other two leave it at once, and neither comes back: with the data restarted the
# run ends a third of its way off, with the optimizer lost two thirds.*
#
# With the optimizer's state went more than the moments: optax counts steps there, so the warmup began again, and the learning rate stayed six steps behind.
#
# And bit by bit? Of all numbers of the adapters at the end, the share that differ in each of their 32 bits:

# %%
from helptune.plots.training_core import differing_bits


def bits(state):
    """[numbers, 32], the sign first"""
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.adapters)])
    return np.unpackbits(flat.astype(">f4").view(np.uint8)).reshape(-1, 32)


shares = {name: (bits(path[-1]) != bits(never_stopped[-1])).mean(axis=0) for name, path in runs.items()}
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
differing_bits(ax, shares)
plt.show()

# %% [markdown]
# *In words: 32 places from the sign to the last bit of the mantissa. The exact resume is at zero in all of them. For the other two, all bits of the
# mantissa but the first two differ in half of the numbers: they agree no better than chance. Some bits of the exponent and some signs differ, too.*
#
# **Predict first:** all 24 conversations, without dropout: which of the three runs has the highest loss at the end?

# %%
from helptune.train.step import eval_step

everything = collate(short, [[number] for number in range(24)], seq_len=256, batch_rows=24)
for name, path in runs.items():
    nll, weight = eval_step(small, path[-1].adapters, everything, method=dropped)
    print(f"{name}: {nll / weight:.1f} nats a token")

# %% [markdown]
# **Notice:** the loss tells you nothing: no wrong run is worse, and the one that warmed up again is even ahead for now. It is the promise of the same bits that makes such a mistake visible, and the
# library's tests kill real runs at every moment and hold it to that.
#
# ## A run's memory, before anything is loaded
#
# Every array of a step can be counted from the configuration: base, masters, gradients, two moments, what waits for the backward pass, and
# the largest thing that exists for a moment. For Gemma 7B this sum was within 3% of what XLA allocates for an H100
# ([`train/memory.py`](../lib/helptune/train/memory.py)). **Predict first:** 8.5 billion parameters, 16 GiB in bfloat16. Does full fine-tuning fit on
# one GPU of 80 GB? Does LoRA?

# %%
from helptune.experiment.full import full_memory
from helptune.train.memory import step_memory
from helptune.train.topology import parse_topology

gpu, seven = parse_topology("h100:1"), named_preset("gemma-7b-it")

# %%
from helptune.gemma.config import gemma_7b
from helptune.plots.training_core import memory_parts


def predicted_bars(rank, rows, length):
    """A step of Gemma 7B with recomputed blocks: everything trained, and LoRA over three kinds of base."""
    method = replace(seven.lora, rank=rank)
    config = replace(seven.train, batch_rows=rows, accumulate=1, seq_len=length)
    bars = {"full": memory_parts(full_memory(gemma_7b(), config, "bfloat16"))}
    for precision in ("bfloat16", "int8", "int4"):
        memory = step_memory(gemma_7b(), method, (1, 1, 1), config, precision)
        bars[f"LoRA, {precision}"] = memory_parts(memory)
    return bars


# %%
bars = predicted_bars(rank=16, rows=8, length=1_024)
figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
stacked(ax, bars, gpu.memory / GIB, "a GPU of 80 GB")
plt.show()
totals = {name: sum(bar.values()) for name, bar in bars.items()}
print({name: f"{total:.1f} GiB" for name, total in totals.items()})
assert totals["full"] > gpu.memory / GIB > totals["LoRA, bfloat16"], "read the bars again: which of them fit?"

# %% [markdown]
# *In words: four bars and a line at 79 GiB. Full fine-tuning is nearly twice as high as the line, and most of it is masters, gradients and moments. The three
# LoRA bars lie far below; most of each is the frozen base, which shrinks with int8 and int4.*
#
# **Notice:** a trained parameter takes 18 bytes: 4 for its master, 2 for the copy that is read, 4 for its gradient, 8 for two moments. A frozen one
# takes the 2 of the copy, or less. The activations stay. [What LoRA saves](lora_cost.md) has the figures.
#
# Do not take a prediction on trust. We have no GPU here, so we make memory scarce: a step in a process of its own, to which Linux (and only Linux: elsewhere
# leave out the second cell) gives so many GiB beyond what it holds once the step is compiled. The model is a Gemma of 121 million parameters.

# %%
from helptune.toys.out_of_memory import predicted, step_within

for method in ("full", "lora"):
    print(f"{method}: predicted {predicted(method).total / GIB:.2f} GiB")

# %% [markdown]
# **Predict first:** each is tried with 0.6 and with 2.4 GiB. Which of the four steps fit?

# %%
for method in ("full", "lora"):
    print(f"{method}:", {f"with {gib} GiB": step_within(method, gib) for gib in (0.6, 2.4)})

# %% [markdown]
# As the sums said: with 0.6 GiB full fine-tuning ran out of memory and LoRA trained; with 2.4 GiB both did. This brackets the sum of full fine-tuning and
# only bounds that of LoRA. A test of the library comes closer: at 1.9 GiB full fine-tuning still fails.
#
# Now look for the limit on the real card. Which of rank, rows and row length matters most? Which hardly at all?


# %%
def draw(ax, rank, rows, length):
    stacked(ax, predicted_bars(rank, rows, length), gpu.memory / GIB, "a GPU of 80 GB")


def words(rank, rows, length):
    totals = {name: sum(bar.values()) for name, bar in predicted_bars(rank, rows, length).items()}
    told = ", ".join(
        f"{name} {total:.0f} GiB ({'fits' if total < gpu.memory / GIB else 'too much'})"
        for name, total in totals.items()
    )
    return f"{rows} rows of {length} tokens, rank {rank}: {told}"


# %%
from helptune.interactive import explore, slider

explorer = explore(
    draw, words, (6.4, 4.6), rank=slider(1, 256, 16), rows=slider(1, 64, 8), length=slider(256, 8192, 1024, 256)
)
explorer

# %%
for name, value in (("rank", 256), ("rank", 16), ("rows", 64), ("length", 2048)):
    explorer.controls[name].value = value
    print(explorer.words)

# %% [markdown]
# **What did you observe?** Sixteen times the rank adds 11 GiB over a bfloat16 base; eight times the rows add 30, and twice their length another 35. That is what
# `accumulate` is for: 64 rows as 8 parts of 8 are the same step, in little more than the memory of 8. `helptune plan` answers such questions for any GPU, TPU slice or mesh, and says what
# to change.
#
# ## Summary
#
# - The state of training is adapters, moments and a step. Everything else is frozen, or a function of (seed, step).
# - Small updates need float32 to land in. Reading rounded weights is fine, adding up in them is not.
# - A batch in parts is the same batch if sums are added and divided once. Means of means are another loss.
# - Recomputing, accumulating and sharding change memory, messages and time, never the step, up to the order of rounding.
# - A resume is exact if the bytes say so. Losses forgive mistakes that bytes do not.
# - Memory can be predicted from a configuration, and should be, before a GPU is rented.
#
# ## Toward constitutional training
#
# Stage 3 trains a model on its own revised answers, stage 4 by reinforcement learning from AI feedback. Both compare runs that differ in one thing: a
# principle, a critic, a reward. That is meaningful only if nothing else differs, down to the data order. And both run this very step: critique and
# revision end in supervised batches of very different lengths, where a mean of means would quietly prefer short revisions; policy gradients add up
# over many more micro-batches, with weights that are advantages instead of ones and zeros.
#
# ## Exercises
#
# [Exercises of notebook 06](../exercises/06_training_core/06_training_core.ipynb): a schedule, accumulation, AdamW and a data order that survives a kill.
#
# ## Further reading
#
# - Loshchilov and Hutter 2019, [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101): AdamW.
# - Micikevicius et al. 2018, [Mixed precision training](https://arxiv.org/abs/1710.03740): float32 masters.
# - Zamirai et al. 2020, [Revisiting BFloat16 training](https://arxiv.org/abs/2010.06192): stalled updates, stochastic rounding and Kahan summation.
# - Chen et al. 2016, [Training deep nets with sublinear memory cost](https://arxiv.org/abs/1604.06174): rematerialization.
# - Rajbhandari et al. 2020, [ZeRO](https://arxiv.org/abs/1910.02054): what fsdp cuts, and bytes a parameter.
# - Shoeybi et al. 2019, [Megatron-LM](https://arxiv.org/abs/1909.08053): what tensor cuts.
# - Xu et al. 2021, [GSPMD](https://arxiv.org/abs/2105.04663): how XLA derives the messages from placements.
# - Korthikanti et al. 2022, [Reducing activation recomputation](https://arxiv.org/abs/2205.05198): counting activations.
