"""Laws of NEFTune: bounded noise that is drawn from (seed, step, micro-batch), in training only."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_runs import COMPILE_FAST, LORA, TRAIN, assert_same_run, base, eval_losses, metrics, train

from helptune.adapt.adapters import init_adapters
from helptune.data.packing import collate
from helptune.errors import Interrupted
from helptune.gemma.model import embed
from helptune.train.neftune import embedding_noise
from helptune.train.step import gradients, nll_sum

KEY, WIDTH = jax.random.key(0), 64
SEGMENTS = np.array([[1] * 6 + [2] * 3 + [0] * 3, [1] * 12], np.int32)


def test_the_noise_is_uniform_within_alpha_over_the_root_of_length_times_width():
    """The length is that of the token's own text, so packing changes nothing of it."""
    noise = np.abs(embedding_noise(KEY, 5.0, SEGMENTS, WIDTH))
    for row, places, length in ((0, slice(0, 6), 6), (0, slice(6, 9), 3), (1, slice(0, 12), 12)):
        bound = 5.0 / np.sqrt(length * WIDTH)
        found = noise[row, places]
        assert 0.95 * bound < found.max() <= bound
        assert found.mean() == pytest.approx(bound / 2, rel=0.15)


def test_the_noise_has_no_direction():
    noise = embedding_noise(KEY, 5.0, np.ones((8, 64), np.int32), WIDTH)
    assert abs(float(noise.mean())) < 0.02 * float(jnp.abs(noise).max())


def test_the_noise_comes_before_the_scale_of_the_embedding():
    tokens = np.array([[5, 7]], np.int32)
    noise = embedding_noise(KEY, 5.0, np.ones_like(tokens), base().config.width)
    added = embed(base(), tokens, noise) - embed(base(), tokens)
    np.testing.assert_allclose(added, noise * np.sqrt(base().config.width), rtol=1e-3, atol=1e-4)


def test_each_micro_batch_gets_noise_of_its_own_and_the_loss_without_a_key_none():
    rows = collate(TRAIN, [[0, 1]], 48, 1)
    twins = jax.tree.map(lambda a: np.stack([a, a]), rows)
    lora = replace(LORA, dropout=0.0)
    adapters = init_adapters(lora, base().config, KEY)
    loss = jax.jit(nll_sum, static_argnames=("method", "remat", "neftune_alpha"), compiler_options=COMPILE_FAST)
    both = jax.jit(gradients, static_argnames=("method", "remat", "neftune_alpha"), compiler_options=COMPILE_FAST)
    one, other = (float(loss(base(), adapters, lora, rows, key, "none", 5.0)) for key in jax.random.split(KEY, 2))
    plain = float(loss(base(), adapters, lora, rows, None, "none", 5.0))
    assert plain == float(loss(base(), adapters, lora, rows))
    assert len({one, other, plain}) == 3
    assert float(both(base(), adapters, lora, twins, KEY, "none", 5.0)[0]) == pytest.approx(one + other, rel=1e-5)


def test_without_it_the_program_is_the_one_without_the_option():
    lora, rows = replace(LORA, dropout=0.0), collate(TRAIN, [[0]], 48, 1)
    adapters = init_adapters(lora, base().config, KEY)
    without, off, on = (
        str(jax.make_jaxpr(lambda key, a=alpha: nll_sum(base(), adapters, lora, rows, key, "none", *a))(KEY))
        for alpha in ((), (0.0,), (5.0,))
    )
    assert without == off != on


def test_a_run_with_noise_stopped_and_gone_on_with_has_the_same_bits(tmp_path, after_step):
    train(tmp_path / "whole", neftune_alpha=5.0)
    after_step(13, lambda: (_ for _ in ()).throw(Interrupted("stop")))
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", neftune_alpha=5.0)
    train(tmp_path / "stopped", neftune_alpha=5.0)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


def test_noise_changes_the_training_loss_and_not_the_measurement_of_an_equal_adapter(tmp_path, whole):
    train(tmp_path, neftune_alpha=5.0, max_steps=1)
    first = next(line["loss"] for line in metrics(tmp_path) if "loss" in line)
    assert first != next(line["loss"] for line in metrics(whole[0]) if "loss" in line)
    assert eval_losses(tmp_path)[0] == eval_losses(whole[0])[0]
