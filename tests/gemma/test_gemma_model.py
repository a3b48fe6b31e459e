"""Laws of the forward pass: who may see whom, what an adapter adds, and what a configuration allows and counts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gemma_golden import first_layers, hidden_states

from helptune.gemma.config import gemma3_1b, gemma3_270m, gemma_2b, gemma_7b, tiny
from helptune.gemma.model import SITES, embed, forward, init_base, logits, site_shapes

LENGTHS = (5, 12, 9)
PADDING = 4


def text(seed, length):
    return jax.random.randint(jax.random.key(seed), (length,), 3, 512)


def pack(texts, padding=PADDING):
    """One row: the texts one after another, each counting its own positions, and padding at the end."""
    tokens = jnp.concatenate([*texts, jnp.zeros(padding, jnp.int32)])
    positions = jnp.concatenate([jnp.arange(n) for n in (*map(len, texts), padding)])
    segments = jnp.concatenate([jnp.full(len(t), i + 1) for i, t in enumerate(texts)] + [jnp.zeros(padding, jnp.int32)])
    return tokens[None], positions[None], segments[None]


def spans(lengths):
    ends = np.cumsum(lengths)
    return [slice(end - n, end) for n, end in zip(lengths, ends, strict=True)]


def changed(hidden, other):
    """The positions where two runs differ by even one bit."""
    return np.flatnonzero((np.asarray(hidden) != np.asarray(other)).any(-1)).tolist()


def test_packed_texts_equal_the_same_texts_alone(tiny_base):
    texts = [text(i, n) for i, n in enumerate(LENGTHS)]
    packed = forward(tiny_base, *pack(texts))[0][0]
    for alone, span in zip(texts, spans(LENGTHS), strict=True):
        np.testing.assert_allclose(packed[span], hidden_states(tiny_base, alone), atol=2e-5)


def test_packed_segments_never_see_each_other(tiny_base):
    texts = [text(i, n) for i, n in enumerate(LENGTHS)]
    before = forward(tiny_base, *pack(texts, padding=0))[0][0]
    for i, span in enumerate(spans(LENGTHS)):
        edited = [text(99, len(t)) if j == i else t for j, t in enumerate(texts)]
        where = changed(before, forward(tiny_base, *pack(edited, padding=0))[0][0])
        assert where
        assert set(where) <= set(range(span.start, span.stop))


def test_nobody_sees_padding(tiny_base):
    tokens, positions, segments = pack([text(0, 9)])
    other = tokens.at[:, 9:].set(7)
    before, after = (forward(tiny_base, t, positions, segments)[0][0] for t in (tokens, other))
    assert set(changed(before, after)) <= {9, 10, 11, 12}


def test_no_token_sees_a_later_one(tiny_base):
    tokens = text(0, 16)
    where = changed(hidden_states(tiny_base, tokens), hidden_states(tiny_base, tokens.at[9].set(7)))
    assert where[0] == 9


@pytest.mark.parametrize(
    ("global_every", "layers", "reach"),
    [(3, 1, 7), (3, 2, 14), (1, 1, 39)],
    ids=["one local layer", "two local layers", "a global layer"],
)
def test_a_local_layer_looks_back_window_minus_one_positions(global_every, layers, reach):
    """Window 8 is the token itself and seven before it; a second layer sees what the first has gathered."""
    base = init_base(replace(tiny(3), global_every=global_every), jax.random.key(0))
    base, tokens = first_layers(base, layers), text(0, 40)
    where = changed(hidden_states(base, tokens), hidden_states(base, tokens.at[0].set(7)))
    assert where == list(range(reach + 1))


@struct.dataclass
class PlainDelta:
    """The simplest adapter: whole matrices, added at some sites."""

    layers: dict

    def delta(self, layer, site, x):
        return x @ layer[site] if site in layer else None


@pytest.mark.parametrize("sites", [SITES, ("k", "down")], ids=["all sites", "two sites"])
def test_an_adapter_adds_its_own_product_at_each_of_its_sites(tiny_base, sites):
    config = tiny_base.config
    delta = {
        site: 0.05 * jax.random.normal(jax.random.key(i), (config.layers, *site_shapes(config)[site]))
        for i, site in enumerate(sites)
    }
    added = tiny_base.replace(blocks={n: leaf + delta.get(n, 0.0) for n, leaf in tiny_base.blocks.items()})
    batch = pack([text(0, 12)])
    adapted = forward(tiny_base, *batch, PlainDelta(delta))[0]
    np.testing.assert_allclose(adapted, forward(added, *batch)[0], atol=2e-5)
    assert changed(adapted[0], forward(tiny_base, *batch)[0][0])


@pytest.mark.parametrize(("dtype", "factor"), [(jnp.bfloat16, 55.5), (jnp.float32, 3072**0.5)])
def test_embedding_factor_is_rounded_to_the_models_dtype(dtype, factor):
    base = init_base(replace(tiny(1), width=3072), jax.random.key(0), dtype)
    base = base.replace(embedding=jnp.ones_like(base.embedding))
    np.testing.assert_allclose(embed(base, jnp.array([[5]])).astype(jnp.float32), factor, rtol=1e-7)


def test_a_bfloat16_model_stays_bfloat16_until_the_logits():
    base = init_base(tiny(3), jax.random.key(0), jnp.bfloat16)
    hidden = hidden_states(base, text(0, 5))
    assert (hidden.dtype, logits(base, hidden).dtype) == (jnp.bfloat16, jnp.float32)


def test_only_layers_5_11_17_of_the_270m_are_global():
    assert [i for i, flag in enumerate(gemma3_270m().is_global) if flag] == [5, 11, 17]
    assert all(gemma_7b().is_global)


@pytest.mark.parametrize(
    ("config", "count"),
    [(gemma3_270m(), 268_098_176), (gemma_7b(), 8_537_680_896), (gemma_2b(), None), (gemma3_1b(), None)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_parameter_count_is_the_size_of_all_leaves(config, count):
    """Shapes only: nothing is allocated."""
    base = jax.eval_shape(lambda: init_base(config, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(base)) == config.parameters
    assert count in (None, config.parameters)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"kv_heads": 3}, "kv_heads=3"), ({"head_width": 15}, "head_width=15"), ({"window": None}, "global_every=3")],
)
def test_an_impossible_config_is_refused_by_field(change, field):
    with pytest.raises(ValueError, match=f"tiny-3: .*{field}"):
        replace(tiny(3), **change)
