"""What the known mistakes in porting Gemma cost, made one at a time on the real weights.

Loud mistakes show in the loss. Quiet ones move it less than one passage differs from the next, some of them downwards,
so nobody who lacks the right value would notice: only the layer-by-layer golden comparison catches them.
`test_gemma_parity.py` ties the correct hidden states used here to the reference.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from gemma_golden import GOLDEN_TOLERANCE, first_layers, hidden_states, relative_difference

from helptune.gemma import model
from helptune.gemma.config import GemmaConfig
from helptune.gemma.tokenizer import BOS

pytestmark = pytest.mark.real

PASSAGE = (
    "The honey bee lives in colonies of up to sixty thousand individuals. Each colony has one queen, who lays all the "
    "eggs, and a few hundred drones, whose only task is to mate. All other bees are workers. They gather nectar and "
    "pollen, feed the larvae, build the comb from wax, and guard the entrance of the hive. A worker that has found a "
    "rich field of flowers tells the others where it lies by a dance on the comb."
)
DEPTHS = (1, 6, 18)


def configured(**changes):
    return lambda base, patch: base.replace(config=replace(base.config, **changes))


def patched(name, function):
    """Replace one function that `forward` calls."""

    def make(base, patch):
        patch.setattr(model, name, function)
        return base

    return make


def shifted_norms(by):
    def make(base, patch):
        blocks = {name: leaf + by if name.endswith("norm") else leaf for name, leaf in base.blocks.items()}
        return base.replace(blocks=blocks, final_norm=base.final_norm + by)

    return make


def globals_first(base, patch):
    """Layers 0, 6, 12 global instead of 5, 11, 17."""
    patch.setattr(GemmaConfig, "is_global", property(lambda self: tuple(i % 6 == 0 for i in range(self.layers))))
    return base


def embedded_times(factor):
    return patched("embed", lambda base, tokens, noise: base.embedding[tokens] * factor)


def interleaved(x, rope):
    """Pairs (2i, 2i + 1), as in other models, instead of (i, i + H/2)."""
    sin, cos = rope[:, :, :, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1).reshape(x.shape)


def scaled_by_width(q, k, v, distance, window, attend=model.attend):
    """1 / sqrt(width / heads) = 1 / sqrt(160), where Gemma divides by the root of its head width, 256."""
    return attend(q * (256 / 160) ** 0.5, k, v, distance, window)


def nothing(base, patch):
    return base


# name -> (how it is made, what stands before the text, the least it must cost in nats a token)
LOUD = {
    "no <bos>": (nothing, (), 1.0),
    "double <bos>": (nothing, (BOS, BOS), 0.01),
    "no sqrt(d) on the embedding": (embedded_times(1.0), (BOS,), 5.0),
    "norm +1 applied twice": (shifted_norms(+1), (BOS,), 5.0),
    "norm +1 missing": (shifted_norms(-1), (BOS,), 5.0),
    "no qk-norm": (configured(qk_norm=False), (BOS,), 3.0),
    "no post norms": (configured(post_norms=False), (BOS,), 50.0),
    "interleaved RoPE": (patched("rotate", interleaved), (BOS,), 1.0),
    "SiLU for GELU": (patched("geglu", lambda gate, up: jax.nn.silu(gate) * up), (BOS,), 0.4),
    "all RoPE bases 1M": (configured(rope_base_local=1e6), (BOS,), 0.1),
    "scores over sqrt(160)": (patched("attend", scaled_by_width), (BOS,), 0.03),
    "window 32": (configured(window=32), (BOS,), 0.1),
}
# name -> (how it is made, the most it moves the loss of this passage, up or down); elsewhere window 64 costs up to 0.15
QUIET = {
    "erf GELU": (patched("geglu", lambda gate, up: jax.nn.gelu(gate, approximate=False) * up), 0.002),
    "sqrt(d) rounded to bfloat16": (embedded_times(25.25), 0.002),
    "all RoPE bases 10k": (configured(rope_base_global=1e4), 0.1),
    "wrong global pattern": (globals_first, 0.1),
    "window 64": (configured(window=64), 0.1),
}


@pytest.fixture(scope="module")
def passage(tokenizer):
    return tokenizer.encode(PASSAGE)


def nll(base, passage, prefix=(BOS,)):
    """Mean over the same targets whatever stands before the text: each token of the passage but the first."""
    hidden = hidden_states(base, [*prefix, *passage])[-len(passage) : -1]
    scores = jax.nn.log_softmax(model.logits(base, hidden))
    return -float(jnp.take_along_axis(scores, jnp.array(passage[1:])[:, None], axis=-1).mean())


@pytest.fixture(scope="module")
def right_nll(real_base, passage):
    return nll(real_base, passage)


@pytest.fixture(scope="module")
def right_states(real_base, passage):
    return [hidden_states(first_layers(real_base, depth), [BOS, *passage]) for depth in DEPTHS]


@pytest.mark.parametrize("mistake", LOUD)
def test_loud_mistake_raises_the_loss(mistake, real_base, passage, right_nll, monkeypatch):
    make, prefix, least = LOUD[mistake]
    wrong = nll(make(real_base, monkeypatch), passage, prefix)
    print(f"\n{mistake:28} {right_nll:7.4f} -> {wrong:8.4f}")
    assert wrong - right_nll > least


@pytest.mark.parametrize("mistake", QUIET)
def test_quiet_mistake_is_caught_by_the_golden_comparison(
    mistake, real_base, passage, right_nll, right_states, monkeypatch
):
    make, most = QUIET[mistake]
    base = make(real_base, monkeypatch)
    wrong = nll(base, passage)
    states = [hidden_states(first_layers(base, depth), [BOS, *passage]) for depth in DEPTHS]
    difference = max(map(relative_difference, states, right_states))
    print(f"\n{mistake:28} {right_nll:7.4f} -> {wrong:8.4f}, hidden states differ by {difference:.1e}")
    assert abs(wrong - right_nll) < most
    assert difference > 20 * GOLDEN_TOLERANCE
