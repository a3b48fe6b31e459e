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
# # 03 · Gemma internals
#
# **Question: what is inside a block?**
#
# About an hour to read, 1 to 2 minutes to run on 2 CPU cores. You need [00](00_start_here.ipynb), matrix products and the softmax.
# Afterwards you can write a Gemma block from nothing, prove that it is the right one, and tell mistakes that shout from mistakes that whisper.
#
# We follow one text through the model, write each piece on the way, and compare it at once with the library's. At the end your model equals ours, and that of Gemma's authors.
#
# ```
# x ─┬─ norm ─ q,k,v ─ norm q,k ─ rotate q,k ─ attend ─ o ─ norm ─(+)─┬─ norm ─ gate,up ─ geglu ─ down ─ norm ─(+)─ x
#    └─────────────────────────────────────────────────────────────┘ └──────────────────────────────────────────┘
# ```
#
# *In words: x holds a row of numbers for each token, as many as the model is wide. A block adds to x twice: first what attention has read from other tokens, then what the MLP (matrices with a curve between them, each token on its own) makes of it. Each of the two is normalized before and after.*

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer
from helptune.gemma.config import PUBLISHED, gemma3_270m, gemma_7b
from helptune.gemma.tokenizer import BOS
from helptune.plots import internals

base, tokenizer = load_base("float32"), load_embedded_tokenizer()
config = base.config

# %%
text = (
    "The honey bee lives in colonies of up to sixty thousand individuals. Each colony has one queen, who lays all the "
    "eggs, and a few hundred drones, whose only task is to mate. All other bees are workers. They gather nectar and "
    "pollen, feed the larvae, build the comb from wax, and guard the entrance of the hive. A worker that has found a "
    "rich field of flowers tells the others where it lies by a dance on the comb."
)
passage = tokenizer.encode(text)
ids = jnp.array([BOS, *passage])
T = len(ids)
print(f"{T} tokens; {config.layers} blocks of width {config.width}")

# %% [markdown]
# ## The tied vocabulary
#
# A token enters as a row of the embedding. **Predict first:** the embedding is 63% of Gemma 3 270M. How much of Gemma 7B is it, with nearly the same vocabulary?

# %%
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
internals.parameter_shares(ax, PUBLISHED)
plt.show()

# %% [markdown]
# *In words: the embedding is 21% of Gemma 2B, 9% of Gemma 7B, 63% of Gemma 3 270M and 30% of Gemma 3 1B. Most of the rest is MLP; attention takes 7% to 17%.*
#
# The vocabulary is a fixed price, whatever the size of the model. It would be twice that price if the output layer had a matrix of its own: the scores of the next token are products with the same rows. The embedding is *tied*.
#
# One matrix then has two jobs. **Predict first:** a row has 640 numbers. Is it nearer to length 1 or to length 25, the root of 640?

# %%
rows = jnp.linalg.norm(base.embedding, axis=1)
print(f"length of a row: {rows.min():.2f} to {rows.max():.2f}")
print(f"size of one number in it: {jnp.sqrt(jnp.mean(base.embedding**2)):.2f}")

# %% [markdown]
# **Notice:** all rows have length 1.03: good for the output, where a product with a row should not depend on how long the row is. As an input that is small: its numbers are about 0.04, and what the blocks add is not.
# So Gemma multiplies by the root of the width on the way in (and not on the way out).


# %%
def my_embed(embedding, ids, factor=640**0.5):
    return embedding[ids] * factor


x = my_embed(base.embedding, ids)
sizes = jnp.sqrt(jnp.mean(x**2, axis=-1))
assert np.allclose(sizes, 1, atol=0.1), "after the multiplication every token's numbers should have size 1"
print("size of one number now:", round(float(sizes.mean()), 2))

# %% [markdown]
# ## RMSNorm: a standard size
#
# Every piece of a block begins by making its input a standard size: it divides by the root of the mean square, then multiplies each feature by a learned `1 + scale` (Zhang and Sennrich 2019).
# The 1 is Gemma's: a scale of zero means "leave it". Three details are easily lost: float32 inside, one cast at the end, and an epsilon of 10⁻⁶ under the root, so that zeros stay zeros.
#
# **Predict first:** vectors of many lengths, in the plane, with scale 0. Where do they end afterwards?


# %%
def my_norm(x, scale):
    x32 = x.astype(jnp.float32)
    rms = jnp.sqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + 1e-6)
    return (x32 / rms * (1 + scale)).astype(x.dtype)


before = jnp.array([[3.0, 1.0], [0.5, 0.4], [-0.4, 2.0], [-2.5, -0.8], [0.6, -0.7]])
figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
internals.lengths(ax, before, my_norm(before, jnp.zeros(2)))
plt.show()

# %% [markdown]
# *In words: five arrows of different lengths. After the norm all end on one circle, of radius √2, and each points where it pointed before.*
#
# The length goes, the direction stays. Nothing is subtracted: that is what LayerNorm does, and RMSNorm leaves out. Then the scale weighs the features, and here it does so strongly:

# %%
from helptune.gemma.layers import rms_norm

w = {name: leaf[0] for name, leaf in base.blocks.items()}  # the weights of the first block
h = my_norm(x, w["pre_attention_norm"])
factors = 1 + w["pre_attention_norm"]
print(f"1 + scale: {factors.min():.1f} to {factors.max():.1f}, median {jnp.median(factors):.1f}")
assert np.allclose(h, rms_norm(x, w["pre_attention_norm"]), rtol=1e-5), (
    "compare the float32, the epsilon, the 1 + scale"
)
for name in ("pre_attention_norm", "q_norm", "pre_mlp_norm"):
    medians = 1 + jnp.median(base.blocks[name], axis=1)
    print(f"{name} of all blocks: medians {medians.min():.1f} to {medians.max():.1f}")

# %% [markdown]
# **Notice:** factors of 12 do not look like "1 and a bit". So the common trap does not show in the numbers: some files store `scale`, others `1 + scale` (the GGUF file our weights come from is one). Whoever adds the 1 twice, or never, is off by a twelfth in this norm, and by more than half in some others. We shall measure what that costs.
#
# ## Heads: four that ask, one that answers
#
# Three matrices make queries, keys and values. **Predict first:** the model's width is 640. How wide are the queries of all heads together?

# %%
q, k, v = ((h @ w[site]).reshape(T, -1, config.head_width) for site in "qkv")
for name, heads in (("q", q), ("k", k), ("v", v)):
    print(name, heads.shape, "from a matrix", w[name].shape)

# %% [markdown]
# **Notice:** four query heads of 256 features are 1,024, more than 640: nothing ties the head width to the model's. And four query heads share one key and value head: grouped-query attention (Ainslie et al. 2023).
#
# The reason is what must be kept while the model writes: the keys and values of all tokens before. Gemma 7B has 16 of each.
#
# **Predict first:** heads are 256 wide in both models, of 18 and 28 layers. How many kilobytes a token does the cache of each take, in bfloat16 (2 bytes a number)?


# %%
def my_cache_bytes(config, kv_heads=None, tokens=1):
    each = (kv_heads or config.kv_heads) * config.head_width * 2  # 2 bytes a number
    return tokens * config.layers * 2 * each  # keys and values


small, large = gemma3_270m(), gemma_7b()
print(
    f"270M: {my_cache_bytes(small) / 1024:.0f} KiB a token, {my_cache_bytes(small, 4) / 1024:.0f} if no head were shared"
)
print(f"7B: {my_cache_bytes(large) / 1024:.0f} KiB a token, {my_cache_bytes(large, 1) / 1024:.0f} if all shared one")
assert my_cache_bytes(large) == 458_752, "layers x (keys and values) x heads x width x 2 bytes"

# %% [markdown]
# Gemma 7B needs 3.8 GB for one text of 8,192 tokens, more than a fifth of what its weights take. Five such texts at once need more room than the model.
#
# Gemma 3 cuts once more: 15 of its 18 layers look back 512 tokens only, so a cache *may* forget the rest.

# %%
tokens = np.geomspace(64, small.context, 60)
plain = np.array([my_cache_bytes(small, tokens=t) for t in tokens])
far = sum(small.is_global) / small.layers  # layers that see everything
windowed = far * plain + (1 - far) * np.minimum(plain, my_cache_bytes(small, tokens=512))
figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.loglog(tokens, 4 * plain / 1e6, ":", color="#D55E00", linewidth=2, label="a key head for each query head")
ax.loglog(tokens, plain / 1e6, "--", color="#E69F00", linewidth=2, label="one key head")
ax.loglog(tokens, windowed / 1e6, color="#0072B2", linewidth=2, label="one, and windows of 512")
ax.set_xlabel("tokens of the text")
ax.set_ylabel("cache (MB)")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *In words: three rising lines on logarithmic axes. Sharing one head divides the cache by 4 at any length. Windows change nothing up to 512 tokens; at 32,768 they take it from 604 MB to 109 MB.*
#
# (This library's own cache keeps every layer whole: on a laptop texts are short, and one layout is simpler.)
#
# ## Queries and keys are normalized, too
#
# Gemma 3 norms every query and key over its 256 features. Gemma 1 does not. **Predict first:** a score is q·k/16, 16 being the root of 256. How large is the largest score in this layer with the norm, and how large without?


# %%
def my_scores(q, k):
    return jnp.einsum("tnh,sh->nts", q, k[:, 0]) / 16


nq, nk = my_norm(q, w["q_norm"]), my_norm(k, w["k_norm"])
print(
    f"largest score, normalized: {jnp.abs(my_scores(nq, nk)).max():.0f}, raw: {jnp.abs(my_scores(q, k)).max() / 1000:.1f} thousand"
)

# %% [markdown]
# A softmax over scores in the thousands is a choice of one token, with no gradient for the others. With the norm, scores cannot grow without a scale that says so. (Gemma 2 capped scores by a tanh; Gemma 3 has the norm in its place.)
#
# ## RoPE: positions you can see
#
# So far nothing knows where a token stands. RoPE (Su et al. 2021) *rotates*: feature i and feature i + 128 of a head form a pair, a point in the plane, and position p turns it by p / base^(i/128). The first pair turns by one radian a token, the last hardly at all.

# %%
from helptune.interactive import choice, explore, slider

clocks = explore(
    internals.rope_clocks,
    internals.rope_words,
    size=(7.5, 2.4),
    position=slider(0, 512, 5),
    base=choice([("10,000 (local layers)", 1e4), ("1,000,000 (global layers)", 1e6)]),
)
clocks

# %% [markdown]
# Move the position. Pair 0 races, pair 32 takes ten times as long, pair 127 needs 58,000 tokens for a turn. Together they are a clock with many hands: fast ones tell neighbours apart, slow ones tell far from near.
#
# **Predict first:** a global layer looks across 32,768 tokens. Why does it have the larger base? Choose it, and compare the slow hands.

# %%
print("local: ", clocks.words)
clocks.controls["base"].value = 1e6
print("global:", clocks.words)

# %% [markdown]
# **Notice:** with base 10,000 only 9 of the 128 hands need more than 32,768 tokens for a turn; all others come round, and then two distances look alike to them. With base 1,000,000 there are 48 such hands.


# %%
def my_angles(positions, rope_base, width=256):
    return positions[:, None] / rope_base ** (2 * jnp.arange(width // 2) / width)


def my_rotate(x, angles):
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)  # halves: feature i with i + 128
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %%
from helptune.gemma.rope import rope_tables, rotate

angles = my_angles(jnp.arange(T), 1e4)
theirs = rotate(nq[None], rope_tables(jnp.arange(T)[None], 256, 1e4))[0]
assert np.allclose(my_rotate(nq, angles), theirs, atol=1e-4), "compare the pairs, the sign of the sine, the exponent"
kept = jnp.linalg.norm(my_rotate(nq, angles), axis=-1) / jnp.linalg.norm(nq, axis=-1)
print("a rotation keeps lengths:", bool(np.allclose(kept, 1, atol=1e-5)))

# %% [markdown]
# Why rotate? Two vectors turned by the same angle keep their product. So a score depends on how *far* a key lies behind, not on where both stand.
#
# **Predict first:** we take one real query and one real key, put the key at position p and the query d tokens later, and draw the score over d. How do the curves for p = 0, 1,000 and 20,000 differ?


# %%
def score_at(p, distances):
    turned_q = my_rotate(jnp.repeat(nq[40:41, :1], len(distances), axis=0), my_angles(p + distances, 1e4))
    turned_k = my_rotate(nk[38:39], my_angles(jnp.array([p]), 1e4))
    return turned_q[:, 0] @ turned_k[0, 0] / 16


distances = jnp.arange(0, 101)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for p, line, color in ((0, "o", "#E69F00"), (1_000, "-", "#0072B2"), (20_000, ":", "#333333")):
    ax.plot(distances, score_at(p, distances), line, color=color, markersize=4, linewidth=2, label=f"key at {p:,}")
ax.set_xlabel("distance d from key to query (tokens)")
ax.set_ylabel("score")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *In words: one curve, drawn three times: points, a line and dots lie on each other. It falls from 2.5 to about 0.5 over 100 tokens, and waves, since every pair adds a cosine of its own speed.*

# %%
moved = jnp.abs(score_at(20_000, distances) - score_at(0, distances)).max()
assert moved < 0.05, "the score should depend on the distance only: do query and key turn by the same angles?"
print("the score depends on the distance only:", bool(moved < 0.05))

# %% [markdown]
# **Notice:** only the difference of two angles counts. So two things are free to choose *before* training: which way to turn, and the pairs (other models pair feature 2i with 2i + 1). These weights were trained with one choice; we shall see what the others cost them.
#
# ## Windows: who sees whom
#
# A token sees itself and what came before. In a *local* layer it sees the last 512 tokens only, itself among them; every sixth layer is *global*. **Predict first:** which ones, counting from 0?


# %%
def my_mask(T, window):
    back = jnp.arange(T)[:, None] - jnp.arange(T)[None]  # how far column s lies behind row t
    return (back >= 0) & (back < window)


figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
internals.visibility(axes[0], my_mask(16, 5), "local, with a window of 5")
internals.visibility(axes[1], my_mask(16, 16), "global")
plt.show()

# %% [markdown]
# *In words: two squares of 16 by 16 tokens. On the right everything on and below the diagonal is filled. On the left only a band is: the diagonal and the four tokens before it.*

# %%
pattern = jnp.array([(i + 1) % 6 == 0 for i in range(18)])
print("layer by layer:", "".join("G" if far else "l" for far in pattern.tolist()))
assert tuple(pattern.tolist()) == config.is_global, "global are the layers 5, 11 and 17"
assert my_mask(1000, 512)[999].sum() == 512, "a window of 512 holds 512 tokens, the reader among them"

# %% [markdown]
# **What did you observe?** The last layer is global. Local layers pass things on: over five of them a token hears, at fifth hand, of what lies 5 × 511 tokens back. The global ones make it direct.
#
# ## Attention, put together
#
# Scores, a softmax over what is visible, a mean of values. The scale is 256^(-1/2), the head width's, whatever the model's width.


# %%
def my_attend(q, k, v, visible, scale=256**-0.5):
    k, v = (jnp.repeat(y, q.shape[1] // y.shape[1], axis=1) for y in (k, v))  # a copy for each head that shares it
    scores = jnp.einsum("tnh,snh->nts", q * scale, k)
    shares = jax.nn.softmax(jnp.where(visible, scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


def my_attention(x, w, angles, visible, turn=my_rotate, qk_norm=True, scale=256**-0.5):
    q, k, v = ((x @ w[site]).reshape(len(x), -1, 256) for site in "qkv")
    if qk_norm:
        q, k = my_norm(q, w["q_norm"]), my_norm(k, w["k_norm"])
    mixed = my_attend(turn(q, angles), turn(k, angles), v, visible, scale)
    return mixed.reshape(len(x), -1) @ w["o"]


# %%
from helptune.gemma.attention import attend
from helptune.gemma.attention import distances as behind

rq, rk = my_rotate(nq, angles), my_rotate(nk, angles)
ones = jnp.ones((1, T), int)
back = behind(jnp.arange(T)[None], ones, jnp.arange(T)[None], ones)
theirs = attend(rq[None], rk[None], v[None], back, jnp.int32(512))[0]
ours = my_attend(rq, rk, v, my_mask(T, 512))
assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3), "compare the scale, the mask, the order of the repeated heads"
print("attention equals the library's:", ours.shape)

# %% [markdown]
# ## The gated MLP, and why names matter
#
# Shazeer (2020) tried MLPs in which one projection *gates* another: `down(act(gate(x)) * up(x))`. The activation gives the name: sigmoid is GLU, GELU is **GeGLU**, SiLU (also called Swish) is **SwiGLU**. Llama uses SwiGLU, and Gemma is often said to. Its first report says "the approximated version of the GeGLU activation function". Approximated means that GELU has its *tanh* form, in Gemma 3's code, too:
#
# $\mathrm{gelu}(z) \approx \tfrac{z}{2}\left(1 + \tanh\left(\sqrt{2/\pi}\,(z + 0.044715\,z^3)\right)\right)$
#
# **Predict first:** where do SiLU and GELU differ most, and do real gates get such inputs?


# %%
def my_gelu(z):
    return 0.5 * z * (1 + jnp.tanh((2 / jnp.pi) ** 0.5 * (z + 0.044715 * z**3)))


def my_mlp(x, w, gate=my_gelu):
    return (gate(x @ w["gate"]) * (x @ w["up"])) @ w["down"]


x1 = x + my_norm(my_attention(h, w, angles, my_mask(T, 512)), w["post_attention_norm"])
h1 = my_norm(x1, w["pre_mlp_norm"])

# %%
z = np.linspace(-5, 3, 200)
figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
internals.gates(ax, z, {"tanh-GELU (Gemma)": my_gelu(z), "SiLU": jax.nn.silu(z)}, h1 @ w["gate"])
plt.show()

# %% [markdown]
# *In words: both curves are 0 far left and z far right. SiLU lies below GELU on both sides, most at -2 and at 2, by 0.19. It closes later: GELU is closed at -3, SiLU lets -0.14 through. The grey histogram shows that real inputs of this layer lie just there: nine in ten between -3 and 1.*

# %%
from helptune.gemma.layers import geglu

others = {"SiLU": jax.nn.silu, "exact (erf) GELU": lambda z: jax.nn.gelu(z, approximate=False)}
right = my_mlp(h1, w)
for name, gate in others.items():
    moved = jnp.linalg.norm(my_mlp(h1, w, gate) - right) / jnp.linalg.norm(right)
    print(f"{name}: this MLP's output moves by {100 * moved:.2g}%")
g, u = h1 @ w["gate"], h1 @ w["up"]
assert np.allclose(my_gelu(g) * u, geglu(g, u), rtol=1e-3, atol=1e-4), "the activation acts on the gate, not on up"

# %% [markdown]
# **Notice:** two names that are used for each other, and a fifth of the output. The exact GELU moves a thousand times less, and that made it last: Google's own PyTorch port had it until March 2024 (google/gemma_pytorch, pull request 37), and so had others. A port of Gemma 2 with SiLU was found out when the model gave empty answers (NVIDIA/TensorRT-Model-Connect, pull request 177).
#
# ## One whole block, and eighteen
#
# All pieces are there. Gemma 3 norms what attention and MLP give once more before adding it (*post norms*).


# %%
def my_block(x, w, angles, visible, gate=my_gelu, post_norms=True, **attention):
    post = my_norm if post_norms else lambda y, scale: y
    h = my_attention(my_norm(x, w["pre_attention_norm"]), w, angles, visible, **attention)
    x = x + post(h, w["post_attention_norm"])
    h = my_mlp(my_norm(x, w["pre_mlp_norm"]), w, gate)
    return x + post(h, w["post_mlp_norm"])


# %% [markdown]
# The weights of all blocks lie stacked, and `scan` runs one compiled block over them. Local and global layers differ in two numbers, the window and the base.

# %%
from functools import partial


@partial(jax.jit, static_argnames=("gate", "turn", "qk_norm", "post_norms"))  # these change the program
def my_gemma(base, ids, is_global=pattern, window=512, bases=(1e4, 1e6), factor=640**0.5, **pieces):
    near, far = (my_angles(jnp.arange(len(ids)), b) for b in bases)

    def block(x, layer):
        w, is_global = layer
        visible = my_mask(len(ids), jnp.where(is_global, len(ids), window))
        x = my_block(x, w, jnp.where(is_global, far, near), visible, **pieces)
        return x, x

    x, states = jax.lax.scan(block, my_embed(base.embedding, ids, factor), (base.blocks, is_global))
    return my_norm(x, base.final_norm), states


# %% [markdown]
# **Predict first:** the library computes the same in another order: attention in parts, matrices joined. Will the results be equal to the last digit?

# %%
from dataclasses import replace

from helptune.gemma.model import forward

hidden, states = my_gemma(base, ids)
for depth in (1, 6, 18):
    blocks = {name: leaf[:depth] for name, leaf in base.blocks.items()}
    cut = base.replace(config=replace(config, layers=depth), blocks=blocks)
    theirs, _ = forward(cut, ids[None], jnp.arange(T)[None], ones)
    ours = my_norm(states[depth - 1], base.final_norm)
    far = jnp.abs(ours - theirs[0]).max() / jnp.abs(ours).max()
    assert far < 1e-5, f"first wrong after {depth} layers: which piece acts there for the first time?"
    print(f"after {depth} layers equal to the last digit: {bool(far == 0)}; to 1 part in 100,000: {bool(far < 1e-5)}")

# %% [markdown]
# Not to the last digit, but to about the sixth: floating-point sums depend on their order. That is what "equal" means for two implementations.
#
# But both may share a mistake. So we ask Gemma's authors: `reference_states` runs DeepMind's `gemma` package on our weights and keeps what each of its blocks gives. The cell takes 10 to 20 seconds, since that package brings TensorFlow along.

# %%
from helptune.gemma.reference import reference_states

reference = reference_states(base, ids.tolist())


def far_from(states, reference):
    return [float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in zip(states, reference, strict=True)]


ours = far_from(states, reference.blocks)
assert max(ours) < 1e-5, f"layer {np.argmax(np.array(ours) > 1e-5)} is the first that differs from DeepMind's"
last = jnp.abs(hidden[-1] @ base.embedding.T - reference.last).max()
print("18 layers equal DeepMind's:", max(ours) < 1e-5, "| largest difference of a logit:", f"{last:.2f}")

# %% [markdown]
# You have written Gemma, and it is the real one.
#
# ### What the norms hold
#
# **Predict first:** x entered with numbers of size 1. How large are they after 18 blocks that only ever *add*?

# %%
sizes = jnp.sqrt(jnp.mean(states**2, axis=-1))  # [layer, token]
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.semilogy(sizes[:, 0], "s--", color="#E69F00", label="<bos>")
ax.semilogy(sizes[:, 1:].mean(axis=1), "o-", color="#0072B2", label="mean of the others")
ax.set_xticks(range(0, 18, 2))
ax.set_xlabel("after layer")
ax.set_ylabel("size of the numbers in x (rms)")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *In words: on a logarithmic axis both lines rise. Ordinary tokens go from about 8 after the first layer to over 1,000; `<bos>` starts fifteen times higher, reaches 4,000, and falls at the end.*
#
# **Notice:** x grows a thousandfold, and no block notices: its pre-norm takes the length away. The post norms set how much a block may *say*: later layers have to speak louder to be heard. And `<bos>` is no ordinary token: it is where heads look that find nothing else, an *attention sink* (Xiao et al. 2023).
#
# ## Mistakes, and what they cost
#
# Ports of Gemma have had many of these ([a list of 2024](https://unsloth.ai/blog/gemma-bugs)). With your model a mistake is one argument. The first cell holds what goes in and how big things are, the second what the pieces do. Two need a word:
#
# - *scores over sqrt(160)*: 160 is the width over the number of heads, what a head's width is in many models, and not in this one.
# - *sqrt(d) in bfloat16*: the root of 640 is 25.298, and 25.25 in bfloat16. Gemma's own code rounds the factor to the type it computes in. So 25.25 is right in a bfloat16 run, and wrong in ours, which is in float32.


# %%
def shifted(by):
    blocks = {name: leaf + by if name.endswith("norm") else leaf for name, leaf in base.blocks.items()}
    return base.replace(blocks=blocks, final_norm=base.final_norm + by)


mistakes = {
    "no <bos>": {"start": 0},
    "double <bos>": {"start": 2},
    "no sqrt(d) on the embedding": {"factor": 1.0},
    "sqrt(d) in bfloat16": {"factor": 25.25},
    "norm: +1 twice": {"base": shifted(+1)},
    "norm: +1 missing": {"base": shifted(-1)},
    "scores over sqrt(160)": {"scale": 160**-0.5},
}


# %%
def interleaved(x, angles):
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1).reshape(x.shape)


mistakes |= {"SiLU for GELU": {"gate": jax.nn.silu}, "erf GELU": {"gate": others["exact (erf) GELU"]}}
mistakes |= {"interleaved RoPE": {"turn": interleaved}}
mistakes |= {"RoPE turned backwards": {"turn": lambda x, angles: my_rotate(x, -angles)}}
mistakes |= {"no qk-norm": {"qk_norm": False}, "no post norms": {"post_norms": False}}
mistakes |= {"window 32": {"window": 32}, "window 64": {"window": 64}}
mistakes |= {"all RoPE bases 1M": {"bases": (1e6, 1e6)}, "all RoPE bases 10k": {"bases": (1e4, 1e4)}}
mistakes |= {"layers 0, 6, 12 global": {"is_global": jnp.arange(18) % 6 == 0}}
print(len(mistakes), "mistakes")

# %% [markdown]
# **Predict first:** write your guesses, in nats a token, for as many as you like; they will appear as diamonds. The right model's loss is about 3 here, and pure guessing among 262,144 tokens costs 12.5.

# %%
guesses = {"SiLU for GELU": 0.1, "erf GELU": 0.1, "no <bos>": 0.1, "no qk-norm": 0.1}
assert set(guesses) <= set(mistakes), "a guess has a name that is not in the list of mistakes"


# %%
def measure(base=base, start=1, **change):
    """Surprise at each token of the passage but the first, and the states. All texts have one length: compiled once."""
    ids = jnp.array([BOS] * start + passage + [BOS] * (2 - start))  # no token sees what comes after it
    hidden, states = my_gemma(base, ids, **change)
    scores = jax.nn.log_softmax(hidden[start : start + len(passage) - 1] @ base.embedding.T)
    return -jnp.take_along_axis(scores, jnp.array(passage[1:])[:, None], axis=-1)[:, 0], states[:, :T]


surprise, _ = measure()
halves = [float(half.mean()) for half in np.array_split(surprise, 2)]
print(f"right: {surprise.mean():.2f} nats; first half {halves[0]:.1f}, second half {halves[1]:.1f}")

# %%
found = {name: measure(**change) for name, change in mistakes.items()}
costs = {name: float((wrong - surprise).mean()) for name, (wrong, _) in found.items()}
for name in sorted(costs, key=costs.get, reverse=True):
    near = "within 0.1" if abs(costs[name]) < 0.1 else f"{costs[name]:+.1f}"
    print(f"{name:28}", "over 100" if costs[name] > 100 else near)

# %%
figure, ax = plt.subplots(figsize=(8, 5.5), layout="constrained")
internals.mistake_costs(ax, costs, guesses, unseen=0.1)
plt.show()

# %% [markdown]
# *In words: one bar a mistake, on a logarithmic axis. No post norms costs 275 nats; the norms' 1 and the missing sqrt(d) cost 12 to 19; no qk-norm 7; no `<bos>` and RoPE with other pairs or the other way round 2 to 2.4; SiLU 1. Two bars are hatched, since the loss falls. The lowest seven lie in the grey part, below 0.1.*
#
# **What did you observe?** Three kinds:
#
# - *Broken*: no post norms, the norms' 1, no sqrt(d): worse than pure guessing. No qk-norm comes near it. You see it in the first sentence.
# - *Ill*: no `<bos>`, RoPE of another kind, SiLU, base 1M everywhere, a window of 32. The model still writes. It is a bad model, and you may take it for the model that was published.
# - *Silent*: below 0.1. The two halves of our own text differ by 0.6, so nobody who lacks the right value would know. With a window of 64, the loss even *falls*.
#
# Another text has other figures, and a mistake near the border may change its kind. Silent is not harmless, either: this text has 92 tokens. With more than 512, a wrong global pattern forgets other things, and a wrong base turns further.
# On 2,500 tokens of this course's own pages (once, in float32, 2026-11-26) bases of 10,000 everywhere cost 0.01 nats a token on the first 90, 0.35 between 1,500 and 2,000 and 1.05 beyond; global layers at 0, 6 and 12 cost 0.04, 0.57 and 0.52. What you fine-tune on such a model is fitted to another model than the one you deploy on.
#
# ## What finds the silent ones
#
# A loss is one number with everything mixed in. A *golden test* compares each layer's state with a trusted implementation. **Predict first:** our tolerance is a difference of 1 in 100,000. Of the seven silent ones we leave out the double `<bos>`, whose tokens all stand one place later. How many of the other six does it find, and after which layer?

# %%
silent = [name for name in costs if abs(costs[name]) < 0.1 and "start" not in mistakes[name]]
differences = {name: far_from(found[name][1], reference.blocks) for name in silent}
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
internals.golden(ax, differences, ours, tolerance=1e-5)
plt.show()

# %% [markdown]
# *In words: the right code stays below one in a million, far under the dashed tolerance. The six mistakes run above it: erf GELU at 1 to 3 in 10,000, sqrt(d) in bfloat16 at 2 to 11 in 10,000, the others at 1 in 100 and more. All are there after layer 0 but "all RoPE bases 10k", which begins at layer 5.*

# %%
for name, values in differences.items():
    print(f"{name:24} first seen after layer", int(np.argmax(np.array(values) > 1e-5)))
assert all(max(values) > 1e-5 for values in differences.values()), "the golden test has missed one"

# %% [markdown]
# **Notice:** it also says *where*. A difference that begins at layer 5 is one of the first global layer: its base or its mask. This library holds such tests in `tests/gemma/test_gemma_parity.py` and `test_gemma_mistakes.py`.
#
# ## Check yourself
#
# The window of 64 lowered the loss of this text, the one of 32 raised it. Find a window that costs between 0.5 and 1 nat.

# %%
mine = 18
cost = float((measure(window=mine)[0] - surprise).mean())
assert 0.5 < cost < 1, f"a window of {mine} costs {cost:.2f} nats: a shorter one costs more"
print("found: three global layers carry a text that the other fifteen have nearly forgotten")

# %% [markdown]
# ## Summary
#
# - A block adds twice to x: what attention read, what the MLP made of it. Norms before take the length away; norms after set how loud a block speaks.
# - Positions are rotations, so scores depend on distances. Shared key heads and windows make the cache small.
# - The vocabulary is tied: rows of length 1 on the way out, times sqrt(d) on the way in.
# - GeGLU is not SwiGLU: a fifth of an MLP's output, a nat of loss.
# - A good loss proves little. States that equal a reference, layer by layer, prove much.
#
# ## Toward constitutional training
#
# Stage 3 lets a model criticize and revise its own answers; stage 4 trains on a model's judgments (RLAIF). Both *compare* models: before and after, with and without a principle, often by small differences. A silent mistake in the forward pass is a small difference, too, and it enters both sides of some comparisons and one side of others, such as a judge that runs in another engine than the policy. Before you believe a difference between two models, make sure that they are the same code.
#
# ## Exercises
#
# [Write the norm, the gated MLP, RoPE and windowed attention yourself](../exercises/03_gemma_internals/03_gemma_internals.ipynb), with checks that know the mistakes of this notebook by name.
#
# ## Further reading
#
# - Gemma Team, *Gemma: Open Models Based on Gemini Research and Technology*, 2024, [arXiv:2403.08295](https://arxiv.org/abs/2403.08295); *Gemma 3 Technical Report*, 2025, [arXiv:2503.19786](https://arxiv.org/abs/2503.19786)
# - B. Zhang, R. Sennrich, *Root Mean Square Layer Normalization*, 2019, [arXiv:1910.07467](https://arxiv.org/abs/1910.07467)
# - Unsloth, *Fixing All Gemma Bugs*, 2024, [unsloth.ai/blog/gemma-bugs](https://unsloth.ai/blog/gemma-bugs): mistakes that were made, and how they were found
# - N. Shazeer, *GLU Variants Improve Transformer*, 2020, [arXiv:2002.05202](https://arxiv.org/abs/2002.05202): short, and honest about why it works
# - J. Su et al., *RoFormer: Enhanced Transformer with Rotary Position Embedding*, 2021, [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)
# - J. Ainslie et al., *GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints*, 2023, [arXiv:2305.13245](https://arxiv.org/abs/2305.13245)
# - G. Xiao et al., *Efficient Streaming Language Models with Attention Sinks*, 2023, [arXiv:2309.17453](https://arxiv.org/abs/2309.17453)
# - O. Press, L. Wolf, *Using the Output Embedding to Improve Language Models*, 2016, [arXiv:1608.05859](https://arxiv.org/abs/1608.05859): tied vocabularies
# - The code that this notebook rebuilds: `lib/helptune/gemma/layers.py`, `rope.py`, `attention.py`, `model.py`
