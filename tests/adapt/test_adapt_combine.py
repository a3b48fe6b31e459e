"""Laws of combining: what the sum adds is the sum of what the parts add, and a cut one is the nearest of its rank."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.artifact import AdapterCard, load_adapter, save_adapter
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.adapt.combine import combine, truncate
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError
from helptune.gemma.config import tiny

MODEL = tiny(3)
ONE, TWO = LoraConfig(rank=4, alpha=8.0, sites=("q", "down")), LoraConfig(rank=2, alpha=3.0, sites=("v", "down"))


def card(method, base="tiny-3", sha="a1"):
    return AdapterCard(base, sha, method, step=9, eval_loss=1.0)


def update(adapters, method, site):
    """scale A B, [L, in, out], in float64; zero where the adapter has no such site."""
    if site not in adapters:
        return 0.0
    a, b = (np.asarray(adapters[site][name], np.float64) for name in "ab")
    return method.scale * np.einsum("lir,lro->lio", a, b)


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2))
def test_what_a_combination_adds_is_the_weighted_sum_of_what_its_parts_add(w1, w2):
    one, two = (
        jax.tree.map(lambda leaf, s=s: leaf + 0.1 * jax.random.normal(jax.random.key(s), leaf.shape), pair)
        for s, pair in (
            (1, init_adapters(ONE, MODEL, jax.random.key(1))),
            (2, init_adapters(TWO, MODEL, jax.random.key(2))),
        )
    )
    combined, found = combine([(one, card(ONE), w1), (two, card(TWO), w2)])
    assert isinstance(found.method, LoraConfig)
    assert (found.method.rank, found.method.scale, found.method.sites) == (6, 1.0, ("q", "v", "down"))
    for site in found.method.sites:
        expected = w1 * update(one, ONE, site) + w2 * update(two, TWO, site)
        np.testing.assert_allclose(update(combined, found.method, site), expected, rtol=1e-4, atol=1e-5)


def test_one_part_with_weight_one_is_the_adapter_itself(tiny_base, hidden, trained):
    adapters = trained(ONE, tiny_base.config)
    combined, found = combine([(adapters, card(ONE), 1.0)])
    np.testing.assert_allclose(
        hidden(tiny_base, attach(combined, found.method)), hidden(tiny_base, attach(adapters, ONE)), atol=1e-5
    )


def test_an_adapter_minus_itself_is_the_base(tiny_base, hidden, trained):
    adapters = trained(ONE, tiny_base.config)
    nothing, found = combine([(adapters, card(ONE), 1.0), (adapters, card(ONE), -1.0)])
    np.testing.assert_allclose(hidden(tiny_base, attach(nothing, found.method)), hidden(tiny_base), atol=1e-5)


def test_the_card_of_a_combination_keeps_the_base_and_claims_no_loss(trained):
    found = combine([(trained(ONE, MODEL), card(ONE), 0.5)])[1]
    assert found == replace(card(found.method), step=0, eval_loss=None)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_cut_adapter_is_the_truncated_svd_of_the_whole(trained, rank):
    adapters = trained(ONE, MODEL)
    cut, method, lost = truncate(adapters, ONE, rank)
    error, whole = 0.0, 0.0
    for site in ONE.sites:
        full = update(adapters, ONE, site)
        u, s, vt = np.linalg.svd(full, full_matrices=False)
        best = np.einsum("lir,lr,lro->lio", u[:, :, :rank], s[:, :rank], vt[:, :rank])
        np.testing.assert_allclose(update(cut, method, site), best, atol=1e-4)
        error, whole = error + np.sum((full - best) ** 2), whole + np.sum(full**2)
    assert lost == pytest.approx(np.sqrt(error / whole), rel=1e-3)


def test_cutting_what_a_combination_did_not_need_loses_nothing(trained):
    """The same adapter twice has the rank of one."""
    adapters = trained(ONE, MODEL)
    twice, found = combine([(adapters, card(ONE), 0.5), (adapters, card(ONE), 0.5)])
    cut, method, lost = truncate(twice, found.method, 4)
    assert lost < 1e-3
    for site in ONE.sites:
        np.testing.assert_allclose(update(cut, method, site), update(adapters, ONE, site), atol=1e-4)


def test_a_rank_that_a_narrow_site_cannot_fill_is_filled_with_zeros(tmp_path, trained):
    """Of 16 outputs no update has more than 16 directions; the adapter still has one rank on all sites."""
    wide = LoraConfig(rank=24, sites=("k", "down"))
    parts = [(trained(wide, MODEL, seed), card(wide), 1.0) for seed in (1, 2)]
    summed, found = combine(parts)
    cut, method, _ = truncate(summed, found.method, 40)
    save_adapter(tmp_path, cut, replace(found, method=method))
    loaded, _ = load_adapter(tmp_path, MODEL, "a1")
    np.testing.assert_allclose(update(loaded, method, "k"), update(summed, found.method, "k"), rtol=1e-3, atol=1e-3)


def test_the_untrained_adapter_can_be_cut_and_loses_nothing():
    assert truncate(init_adapters(ONE, MODEL, jax.random.key(0)), ONE, 2)[2] == 0.0


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no adapter to combine"),
        ([({}, card(BottleneckConfig(4)), 1.0)], "a bottleneck is not linear"),
        ([({}, card(ONE), 1.0), ({}, card(ONE, sha="b2"), 1.0)], "one is of tiny-3 a1, another of tiny-3 b2"),
        ([({}, card(ONE), float("nan"))], "weight nan"),
    ],
    ids=["none", "bottleneck", "other base", "weight"],
)
def test_what_cannot_be_combined_is_refused(parts, message):
    with pytest.raises(AdapterError, match=message):
        combine(parts)


@pytest.mark.parametrize("rank", [0, 4, 5])
def test_a_rank_that_is_not_smaller_is_refused(rank):
    with pytest.raises(AdapterError, match="an adapter of rank 4 can be cut to 1 to 3"):
        truncate({"q": {"a": jnp.ones((1, 4, 4)), "b": jnp.ones((1, 4, 4))}}, ONE, rank)
