"""Parity of Gemma 1 with an independent implementation: DeepMind's Transformer, configured as Gemma 1, in float32.

The weights are random, the norms too, and travel the whole way: written as the published Orbax tree, read by our
loader. With a key head for each query head (7B) and with one shared key head (2B).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from gemma_golden import first_layers, hidden_states, relative_difference
from gemma_layouts import kaggle_tree, write_orbax

from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.config import tiny
from helptune.gemma.layers import rms_norm
from helptune.gemma.model import logits
from helptune.gemma.reference import reference_tree

TOLERANCE = 1e-6  # relative, per layer and for the logits; 1.6e-7 to 3.7e-7 measured
CONFIGS = {
    "7b": replace(tiny(1), layers=3),
    "2b": replace(tiny(1), layers=3, kv_heads=1),
    "grouped": replace(tiny(1), layers=3, kv_heads=2),
}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def tokens(config):
    return jax.random.randint(jax.random.key(1), (40,), 3, config.vocab)


@pytest.fixture(scope="module")
def reference(config, tokens):
    """Logits, and the output of every block."""
    from gemma import gm  # takes 10 to 20 seconds
    from gemma.gm.nn import _modules

    theirs = gm.nn.config.TransformerConfig(
        num_embed=config.vocab, embed_dim=config.width, hidden_dim=config.mlp_width, num_heads=config.heads,
        head_dim=config.head_width, num_kv_heads=config.kv_heads, final_logit_softcap=None, use_post_attn_norm=False,
        use_post_ffw_norm=False, attention_types=(_modules.AttentionType.GLOBAL,) * config.layers,
    )  # fmt: skip
    output, state = gm.nn.Transformer(config=theirs, tokens="tokens", dtype=jnp.float32).apply(
        {"params": reference_tree(init_base(config, jax.random.key(0)))},
        tokens[None],
        capture_intermediates=lambda module, _: isinstance(module, _modules.Block),
        mutable=["intermediates"],
    )
    seen = state["intermediates"]
    return output.logits[0], [seen[f"layer_{i}"]["__call__"][0][1][0] for i in range(config.layers)]


@pytest.fixture(scope="module")
def ours(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("orbax") / "tree"
    write_orbax(folder, kaggle_tree(init_base(config, jax.random.key(0))))
    return load_checkpoint(folder, config, "float32")


def test_every_layer_equals_the_reference_implementation(ours, tokens, reference):
    for depth, theirs in enumerate(reference[1], start=1):
        found = hidden_states(first_layers(ours, depth), tokens)
        difference = relative_difference(found, rms_norm(theirs, ours.final_norm))
        print(f"\nafter {depth} layers: relative difference {difference:.1e}")
        assert difference < TOLERANCE


def test_logits_equal_the_reference_implementation(ours, tokens, reference):
    difference = relative_difference(logits(ours, hidden_states(ours, tokens)), reference[0])
    print(f"\nlogits: relative difference {difference:.1e}")
    assert difference < TOLERANCE
