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
# # 00 · Start here
#
# **Question: what does a language model do before anyone taught it to help?**
#
# About 5 minutes to read, under 2 minutes to run on 2 CPU cores. You need Python; nothing else.
# Afterwards you can load the real Gemma 3 270M, read its tokens, and say in what way a base model fails as an assistant.

# %% [markdown]
# ## Does my machine work?
#
# What it says is about your machine, so it may differ from what you see here.

# %% tags=["nbval-ignore-output"]
from helptune.experiment.doctor import examine

machine = examine()
for check in machine["checks"]:
    print("ok" if check["ok"] else check["advice"], "-", check["name"])

# %% [markdown]
# ## What is this model?
#
# The weights are the real, pretrained Gemma 3 270M. The first time, loading takes half a minute.
# Its vocabulary has 262,144 tokens (pieces of text), and the *embedding table* holds 640 numbers for each of them.
# **Predict first:** what share of its 268 million parameters is that?

# %%
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer

base, tokenizer = load_base(), load_embedded_tokenizer()
share = base.embedding.size / base.config.parameters
print(f"{base.config.parameters:,} parameters, {share:.0%} of them in the embedding")

# %% [markdown]
# Nearly two thirds: the vocabulary is large and the model is small. The same table serves twice: it turns tokens into numbers on the
# way in, and scores the next token on the way out (it is *tied*).
#
# ## What does the model read?
#
# Tokens, each by its number. `▁` marks a space.

# %%
text = "Why is the sky blue?"
ids = tokenizer.encode(text)
print([tokenizer.piece(i) for i in ids])
print("round trip:", tokenizer.decode(ids) == text)

# %% [markdown]
# ## How does it continue a text?
#
# A base model has learned one thing: to guess the next token. Every text starts with `<bos>`; without it, this model is lost.
# How badly it guessed is its *surprise*, -log p of the token that came, in nats: 0 for a sure thing, 0.7 for a coin flip.
#
# **Predict first:** in the passage below, which words will surprise it most, and which hardly?

# %%
import numpy as np

from helptune.evaluate.score import score_text

passage = "The Danube is a river in Europe. It rises in Germany and flows into the Black Sea."
nll = score_text(base, tokenizer, passage)
print(f"{len(nll)} tokens, mean surprise {nll.mean():.1f} nats")

# %%
import matplotlib.pyplot as plt

pieces = [tokenizer.piece(i) for i in tokenizer.encode(passage)]
figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
ax.bar(range(len(nll)), nll, color="#0072B2")
ax.set_xticks(range(len(nll)), pieces, rotation=60, ha="right")
ax.set_ylabel("surprise (nats)")
ax.set_title("Where the model could not guess the next token")
plt.show()

# %% [markdown]
# *In words: one bar a token. `Danube` towers at 15 nats; `rises` and `Germany` follow with 4 to 5. Most others are below 2.*
#
# **Notice:** what could have been anything is hard, as the first noun; `Sea` after `Black` is nearly free. Fine-tuning will make *answers* less
# surprising.
#
# ## Does it answer?
#
# A chat is a text with marked turns. We open the model's turn and let it write. (The text may differ a little on your machine.)
#
# **Predict first:** the model has read much about the sky. Will it tell you why it is blue?

# %% tags=["nbval-ignore-output"]
from helptune.gemma.chat import render
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling

prompt, _ = render([{"role": "user", "content": text}], tokenizer, base.config, reply=True)
(reply,) = generate(base, [prompt], Sampling(max_new_tokens=40))
print(tokenizer.decode(reply.tokens))
print("stopped by itself:", reply.ended)

# %% [markdown]
# **What did you observe?** It hands the question back, again and again, with some stray tokens. It may well know why the sky is blue; but it has
# hardly seen these marks of a chat, and was not trained to answer between them, nor to end.
# It was never *shown* an assistant. That is what `make finetune` does, with 972 short conversations, and what the
# next notebooks take apart.
#
# ## Check yourself
#
# `mine` passes, by repeating itself. Put a text of your own in its place that stays below 1 nat without that. What kind of text does it
# take, and how long must it be? (Try a proverb, and counting to fifteen in words.)

# %%
mine = "tick tock " * 20
surprise = float(np.mean(score_text(base, tokenizer, mine)))
assert surprise < 1, f"your text still surprises the model by {surprise:.2f} nats a token: make it more predictable"
print("below 1 nat: predictable text is what the model has nothing left to learn from")

# %% [markdown]
# ## Where am I in the course?
#
# Each notebook from 01 on has exercises in the folder `exercises`. Their checks remember what you solved; run this cell again whenever you
# want to see it.

# %% tags=["nbval-ignore-output"]
from helptune.exercises.panel import overview

overview()

# %% [markdown]
# *In words: a row for each notebook, with the number of exercises that are solved, and how many there are.*
#
# ## Summary
#
# - Gemma 3 270M has 268 million parameters, two thirds of them in the table of its 262,144 tokens.
# - A base model continues texts. Its surprise, in nats a token, says how well.
# - Asked a question in a chat, it repeats it: nobody showed it that a question wants an answer, and that an answer ends.
#
# ## Toward constitutional training
#
# This course is stage 2 of a project that follows Constitutional AI ([Bai et al. 2022](https://arxiv.org/abs/2212.08073)): a model criticizes and
# revises its own answers (stage 3), then pairs of them are judged by a model, too (stage 4). Each of these is a request, and you have just seen how this
# model treats a request. [01 · Helpful first](01_helpful_first.ipynb) says why learning to answer comes before the rest.
#
# ## Further reading
#
# - Gemma Team 2025, [Gemma 3 Technical Report](https://arxiv.org/abs/2503.19786): the family that this model belongs to.
# - Gemma Team 2024, [Gemma: Open Models Based on Gemini Research and Technology](https://arxiv.org/abs/2403.08295): the 7B model that the same code trains on GPUs.
# - Kudo and Richardson 2018, [SentencePiece](https://arxiv.org/abs/1808.06226): how text becomes tokens.
