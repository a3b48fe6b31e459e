"""Laws of the gradient analysis: what is measured through thin factors is what the full matrices would give."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_runs import CONFIG, LORA, STEPS, TRAIN, base, examples, metrics

from helptune.adapt.adapters import init_adapters
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.data.packing import collate, pack, plan_batches
from helptune.gemma.quantize import dequantize, quantize
from helptune.train.gradients import (
    analyse,
    cosines,
    effective_rank,
    frozen_norm,
    micro_gradient,
    parameter_ratio,
    site_norms,
    spectrum,
    split,
    stable_rank,
    step_norm,
    task_gradients,
)
from helptune.train.optimizer import make_optimizer
from helptune.train.step import init_state, train_step

LAYERS, IN, OUT, R = 3, 20, 12, 4
METHOD = replace(LORA, dropout=0.0)
SGD = optax.sgd(0.1)


def factors(seed=0, scale=1.0):
    a, b = (scale * jax.random.normal(key, shape) for key, shape in zip(
        jax.random.split(jax.random.key(seed)), ((LAYERS, IN, R), (LAYERS, R, OUT)), strict=True,
    ))  # fmt: skip
    return {"a": a, "b": b}


def as_float64(leaf):
    return np.asarray(leaf, np.float64)


def trained(method=METHOD, seed=3):
    """Adapters as training might leave them: nothing is zero."""
    new = init_adapters(method, base().config, jax.random.key(seed))
    return jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(jax.random.key(seed), leaf.shape), new)


def batch(rows=4):
    return collate(TRAIN, pack([len(e) for e in TRAIN], CONFIG.seq_len)[:rows], CONFIG.seq_len, rows)


def look(adapters, method=METHOD, rows=None, frozen=None):
    return analyse(frozen or base(), adapters, method, rows or batch(), SGD, SGD.init(adapters))


# The factors and the full matrix.


def test_the_spectrum_through_the_factors_is_that_of_the_full_product():
    pair = factors()
    full = np.linalg.svd(2.5 * np.asarray(pair["a"], np.float64) @ np.asarray(pair["b"], np.float64), compute_uv=False)
    np.testing.assert_allclose(spectrum(pair["a"], pair["b"], 2.5), full[:, :R], rtol=1e-4)
    np.testing.assert_allclose(full[:, R:], 0, atol=1e-10)


def test_the_step_in_factors_is_that_of_the_full_product():
    pair, step = factors(), factors(seed=1, scale=0.01)
    (a, b), (da, db) = (jax.tree.map(as_float64, (x["a"], x["b"])) for x in (pair, step))
    exact = (a + da) @ (b + db) - a @ b
    np.testing.assert_allclose(step_norm(pair, step), np.linalg.norm(exact, axis=(1, 2)), rtol=1e-5)


def test_a_step_of_a_billionth_is_still_measured():
    """Subtracting the two products in float32 gives nothing but rounding."""
    pair, step = factors(), factors(seed=1, scale=1e-9)
    (a, b), (da, db) = (jax.tree.map(as_float64, (x["a"], x["b"])) for x in (pair, step))
    exact = da @ b + a @ db
    np.testing.assert_allclose(step_norm(pair, step), np.linalg.norm(exact, axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("rank_of", [effective_rank, stable_rank])
def test_a_product_of_equal_orthogonal_factors_has_rank_r(rank_of):
    q = jnp.linalg.qr(factors()["a"])[0]
    assert rank_of(spectrum(q, 3 * jnp.swapaxes(q, -1, -2))) == pytest.approx([R] * LAYERS, rel=1e-5)


@pytest.mark.parametrize("rank_of", [effective_rank, stable_rank])
def test_an_update_in_one_direction_has_rank_one_and_none_has_rank_zero(rank_of):
    values = jnp.array([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1e-20, 0.0, 0.0]])
    assert rank_of(values) == pytest.approx([1, 0, 1])


def test_ranks_do_not_depend_on_the_size_of_the_update_and_never_exceed_r():
    values = spectrum(**factors())
    for rank_of in (effective_rank, stable_rank):
        np.testing.assert_allclose(rank_of(values), rank_of(1000 * values), rtol=1e-5)
        assert np.all((rank_of(values) >= 1) & (rank_of(values) <= R))
    assert np.all(stable_rank(values) <= effective_rank(values))


def test_the_effective_rank_is_the_exponential_of_the_entropy():
    assert effective_rank(jnp.array([3.0, 1.0])) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


@pytest.mark.parametrize("bits", [8, 4])
def test_the_norm_of_a_quantized_matrix_is_that_of_the_numbers_it_stands_for(bits):
    w = quantize(jax.random.normal(jax.random.key(0), (LAYERS, 64, OUT)), bits)
    whole = np.asarray(dequantize(w, jnp.float32), np.float64)
    np.testing.assert_allclose(frozen_norm(w), np.linalg.norm(whole, axis=(1, 2)), rtol=1e-5)


def test_the_norm_of_a_bfloat16_matrix_is_summed_in_float32():
    w = jnp.full((2, 64, 64), 0.01, jnp.bfloat16)
    np.testing.assert_allclose(frozen_norm(w), 64 * float(w[0, 0, 0]), rtol=1e-6)


def test_norms_of_the_sites_add_up_to_the_global_norm():
    gradient = {"q": factors(0), "down": factors(1)}
    total = sum(np.sum(np.square(norms)) for norms in site_norms(gradient).values())
    assert np.sqrt(total) == pytest.approx(float(optax.global_norm(gradient)), rel=1e-6)


def test_the_parameter_ratio_is_that_of_the_matrix_that_does_not_start_at_zero():
    pair = factors()
    step = {"a": 0.01 * pair["a"], "b": 99 * pair["b"]}
    np.testing.assert_allclose(parameter_ratio({"q": step}, {"q": pair})["q"], 0.01, rtol=1e-5)


# The whole analysis.


def test_the_noise_of_identical_rows_is_zero():
    row = batch(1)
    noise = look(trained(), rows=jax.tree.map(lambda leaf: np.repeat(leaf, 4, 0), row))["noise"]
    assert noise["trace"] == pytest.approx(0, abs=1e-4 * noise["squared"] * noise["tokens"])
    assert noise["rows"] == 4


def test_an_analysis_foresees_the_step_that_training_takes():
    optimizer = make_optimizer(CONFIG.optimizer, STEPS)
    state = init_state(trained(), optimizer)
    micro = jax.tree.map(lambda leaf: leaf[None], batch())
    for _ in range(2):  # the first step of a warmup has a learning rate of zero
        before = jax.tree.map(np.array, state.adapters)
        found = analyse(base(), state.adapters, METHOD, batch(), optimizer, state.opt_state)
        state, result = train_step(base(), state, micro, jax.random.key(0), method=METHOD, optimizer=optimizer)
    norms = np.concatenate([np.array(norms) for norms in found["norm"].values()])
    assert np.linalg.norm(norms) == pytest.approx(float(result.grad_norm), rel=5e-3)
    for site, old in before.items():
        new, w = jax.tree.map(np.array, state.adapters[site]), np.asarray(base().blocks[site])
        moved = METHOD.scale * (new["a"].astype(np.float64) @ new["b"] - old["a"].astype(np.float64) @ old["b"])
        ratio = np.linalg.norm(moved, axis=(1, 2)) / np.linalg.norm(w, axis=(1, 2))
        np.testing.assert_allclose(found["step_ratio"][site], ratio, rtol=6e-3)
        whole = METHOD.scale * np.linalg.norm(old["a"] @ old["b"], axis=(1, 2)) / np.linalg.norm(w, axis=(1, 2))
        np.testing.assert_allclose(found["moved"][site], whole, rtol=6e-3)


def test_at_the_start_nothing_has_moved_and_only_b_has_a_gradient():
    adapters = init_adapters(METHOD, base().config, jax.random.key(0))
    found = look(adapters)
    _, gradient, _ = micro_gradient(base(), adapters, batch(1), method=METHOD)
    for site in METHOD.sites:
        assert {*found["moved"][site], *found["effective_rank"][site], *found["parameter_ratio"][site]} == {0.0}
        assert not np.any(gradient[site]["a"])
        assert np.all(np.array(found["norm"][site]) > 0)
        assert np.all(np.array(found["step_ratio"][site]) > 0)


def test_of_a_bottleneck_only_what_has_a_meaning_there_is_measured():
    method = BottleneckConfig(width=4, placement="houlsby")
    found = look(trained(method), method)
    assert set(found) == {"norm", "parameter_ratio", "noise"}
    assert set(found["norm"]) == {"o", "down"}


def test_a_quantized_base_can_be_analysed():
    blocks = {
        site: quantize(base().blocks[site], 8, 4) if site in METHOD.sites else w for site, w in base().blocks.items()
    }
    found = look(trained(), frozen=replace(base(), blocks=blocks))
    assert found["moved"]["q"] == pytest.approx(look(trained())["moved"]["q"], rel=0.02)


def test_rows_of_padding_are_no_micro_batches():
    last = collate(TRAIN, [[0], [1]], CONFIG.seq_len, 4)
    assert len(split(last)) == 2
    assert look(trained(), rows=last)["noise"]["rows"] == 2


def test_a_run_logs_an_analysis_at_every_measurement_of_the_batch_that_comes_next(whole):
    lines = [line for line in metrics(whole[0]) if "gradients" in line]
    assert [line["step"] for line in lines] == [line["step"] for line in metrics(whole[0]) if "eval_loss" in line]
    plan = plan_batches([len(e) for e in TRAIN], CONFIG.seq_len, CONFIG.batch_rows, CONFIG.epochs, CONFIG.seed)
    for line in lines:
        ahead = plan[line["step"] % len(plan)]
        tokens = sum(sum(TRAIN[number].supervised[1:]) for row in ahead for number in row)
        noise = line["gradients"]["noise"]
        assert (noise is None) == (len(ahead) < 2)
        assert noise is None or (noise["tokens"], noise["rows"]) == (tokens, len(ahead))


def test_what_is_not_a_number_is_logged_as_null():
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, trained())
    found = look(broken)
    assert set(found["norm"]["q"]) == {None}
    json.dumps(found, allow_nan=False)


# Tasks.


def test_the_cosine_of_a_gradient_with_itself_is_one_with_its_opposite_minus_one_with_another_that_of_the_vectors():
    one, two = {"q": factors(0), "down": factors(1)}, {"q": factors(2), "down": factors(3)}
    whole, by_site = cosines([one, jax.tree.map(lambda leaf: -2 * leaf, one), two])
    np.testing.assert_allclose(np.diag(whole), 1)
    assert whole[0, 1] == pytest.approx(-1)
    x, y = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in (one, two))
    assert whole[0, 2] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)
    assert by_site["q"][0, 1] == pytest.approx(-1)
    assert set(by_site) == {"q", "down"}


def test_the_cosine_with_a_gradient_that_is_zero_is_not_a_number():
    whole, _ = cosines([{"q": factors()}, {"q": jax.tree.map(jnp.zeros_like, factors())}])
    assert whole[0, 0] == pytest.approx(1)
    assert np.isnan(whole[0, 1])


def test_two_tasks_of_the_same_conversations_agree_fully_and_others_less():
    def one_task(seed, words):
        made = examples(4, seed, words)
        return [collate(made, [[n]], CONFIG.seq_len, 1) for n in range(4)]

    tasks = {"a": one_task(1, 12), "same": one_task(1, 12), "b": one_task(2, 40)}
    found = task_gradients(base(), trained(), METHOD, tasks)
    assert found["tasks"] == ["a", "same", "b"]
    assert found["cosines"][0][:2] == [1, 1]
    assert found["cosines"][0][2] == found["cosines"][2][0] < 0.99
    assert -1 <= found["halves"][0] < 1
    assert task_gradients(base(), trained(), METHOD, {"a": tasks["a"][:1]})["halves"] == [None]


def test_an_analysis_draws_nothing_at_random():
    assert look(trained(), LORA) == look(trained(), METHOD)
