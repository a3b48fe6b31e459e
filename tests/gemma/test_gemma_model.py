"""Laws of the forward pass: who may see whom, what an adapter adds, and what a configuration allows and counts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gemma_golden import first_layers

from helptune.gemma.base import SITES, init_base
from helptune.gemma.config import gemma3_1b, gemma3_270m, gemma_2b, gemma_7b, tiny
from helptune.gemma.model import embed, forward, logits

ROW = 32
LENGTHS = (5, 12, 9)


@jax.jit
def run(base, tokens, positions, segments, adapter=None):
    """Hidden states of a single row."""
    return forward(base, tokens, positions, segments, adapter)[0][0]


def text(seed, length):
    return np.random.default_rng(seed).integers(3, 512, length).tolist()


def pack(*texts, padding_token=0):
    """One row of ROW tokens: the texts one after another, each counting its own positions, then padding."""
    padding = [padding_token] * (ROW - sum(map(len, texts)))
    tokens = [token for part in (*texts, padding) for token in part]
    positions = [position for part in (*texts, padding) for position in range(len(part))]
    segments = [i + 1 for i, part in enumerate(texts) for _ in part] + [0] * len(padding)
    return tuple(jnp.array([row]) for row in (tokens, positions, segments))


def spans(texts):
    ends = np.cumsum([len(part) for part in texts])
    return [slice(end - len(part), end) for part, end in zip(texts, ends, strict=True)]


def changed(hidden, other):
    """The positions where two runs differ by even one bit."""
    return np.flatnonzero((np.asarray(hidden) != np.asarray(other)).any(-1)).tolist()


@pytest.fixture(scope="module")
def texts():
    return [text(seed, length) for seed, length in enumerate(LENGTHS)]


def test_packed_texts_equal_the_same_texts_alone(tiny_base, texts):
    packed = run(tiny_base, *pack(*texts))
    for part, span in zip(texts, spans(texts), strict=True):
        np.testing.assert_allclose(packed[span], run(tiny_base, *pack(part))[: len(part)], atol=2e-5)


def test_packed_segments_never_see_each_other(tiny_base, texts):
    """Another text in one segment changes that segment, and not one bit of the others."""
    before = run(tiny_base, *pack(*texts))[: sum(LENGTHS)]
    for i, span in enumerate(spans(texts)):
        edited = [*texts[:i], text(99, len(texts[i])), *texts[i + 1 :]]
        where = changed(before, run(tiny_base, *pack(*edited))[: sum(LENGTHS)])
        assert where
        assert set(where) <= set(range(span.start, span.stop))


def test_nobody_sees_padding(tiny_base, texts):
    before, after = (run(tiny_base, *pack(*texts, padding_token=token)) for token in (0, 7))
    assert set(changed(before, after)) <= set(range(sum(LENGTHS), ROW))


def test_no_token_sees_a_later_one(tiny_base):
    tokens = text(0, ROW)
    where = changed(run(tiny_base, *pack(tokens)), run(tiny_base, *pack([*tokens[:9], 7, *tokens[10:]])))
    assert where[0] == 9


@pytest.mark.parametrize(
    ("global_every", "layers", "reach"),
    [(3, 1, 7), (3, 2, 14), (1, 1, ROW - 1)],
    ids=["one local layer", "two local layers", "a global layer"],
)
def test_a_local_layer_looks_back_window_minus_one_positions(global_every, layers, reach):
    """Window 8 is the token itself and seven before it; a second layer sees what the first has gathered."""
    base = first_layers(init_base(replace(tiny(3), global_every=global_every), jax.random.key(0)), layers)
    tokens = text(0, ROW)
    where = changed(run(base, *pack(tokens)), run(base, *pack([7, *tokens[1:]])))
    assert where == list(range(reach + 1))


@struct.dataclass
class PlainDelta:
    """The simplest adapter: whole matrices, added at some sites."""

    layers: dict

    def delta(self, layer, site, x, y):
        return x @ layer[site] if site in layer else None


@pytest.mark.parametrize("sites", [SITES, ("k", "down")], ids=["all sites", "two sites"])
def test_an_adapter_adds_its_own_product_at_each_of_its_sites(tiny_base, sites):
    random = np.random.default_rng(0)
    delta = {site: 0.05 * random.normal(size=tiny_base.blocks[site].shape).astype("f") for site in sites}
    added = tiny_base.replace(blocks={n: leaf + delta.get(n, 0.0) for n, leaf in tiny_base.blocks.items()})
    batch = pack(text(0, ROW))
    adapted = run(tiny_base, *batch, PlainDelta(delta))
    np.testing.assert_allclose(adapted, run(added, *batch), atol=2e-5)
    assert changed(adapted, run(tiny_base, *batch))


@pytest.mark.parametrize(("dtype", "factor"), [("bfloat16", 55.5), ("float32", np.sqrt(3072))])
def test_embedding_factor_is_rounded_to_the_models_dtype(tiny_base, dtype, factor):
    base = tiny_base.replace(embedding=jnp.ones((512, 3072), dtype), config=replace(tiny_base.config, width=3072))
    np.testing.assert_allclose(embed(base, jnp.array([[5]])).astype(jnp.float32), factor, rtol=1e-7)


def test_a_bfloat16_model_stays_bfloat16_until_the_logits(tiny_base, texts):
    base = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tiny_base)
    hidden = run(base, *pack(*texts))
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
