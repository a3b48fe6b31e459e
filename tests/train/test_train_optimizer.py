"""Laws of the optimizer: the schedule's corners, the clip, and AdamW as written in its paper, in plain numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helptune import plots
from helptune.train.optimizer import SCHEDULES, OptimizerConfig, learning_rate, make_optimizer


def test_the_schedule_starts_at_zero_peaks_after_the_warmup_and_ends_at_its_final_fraction():
    schedule = learning_rate(OptimizerConfig(learning_rate=4e-4, warmup_steps=10, final_fraction=0.25), 110)
    assert float(schedule(0)) == 0
    assert float(schedule(5)) == pytest.approx(2e-4)
    assert float(schedule(10)) == pytest.approx(4e-4)
    assert float(schedule(60)) == pytest.approx((4e-4 + 1e-4) / 2)
    assert float(schedule(110)) == pytest.approx(1e-4)
    assert float(schedule(10_000)) == pytest.approx(1e-4)


def test_without_warmup_the_schedule_starts_at_its_peak():
    assert float(learning_rate(OptimizerConfig(learning_rate=3e-4, warmup_steps=0), 50)(0)) == pytest.approx(3e-4)


@pytest.mark.parametrize("total_steps", [1, 9, 10, 11])
def test_a_run_as_short_as_its_warmup_never_exceeds_the_peak(total_steps):
    schedule = learning_rate(OptimizerConfig(learning_rate=1e-3, warmup_steps=10), total_steps)
    rates = [float(schedule(step)) for step in range(total_steps + 1)]
    assert all(0 <= rate <= 1e-3 * (1 + 1e-6) for rate in rates)
    assert rates[1] == pytest.approx(1e-4)


def rates(total_steps, **config):
    schedule = learning_rate(OptimizerConfig(**config), total_steps)
    return np.array([float(schedule(step)) for step in range(total_steps + 1)])


EVERY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES)


@EVERY_SCHEDULE
@pytest.mark.parametrize("warmup", [0, 10])
def test_every_schedule_rises_to_its_peak_falls_ever_after_and_never_jumps(schedule, warmup):
    found = rates(100, learning_rate=1e-3, warmup_steps=warmup, schedule=schedule)
    assert found[warmup] == found.max() == pytest.approx(1e-3)
    assert (np.diff(found[: warmup + 1]) > 0).all()
    assert (np.diff(found[warmup:]) <= 0).all()
    assert np.abs(np.diff(found)).max() <= 1e-3 / 10 + 1e-9


@EVERY_SCHEDULE
def test_every_schedule_ends_where_it_says(schedule):
    found = rates(100, learning_rate=1e-3, warmup_steps=10, final_fraction=0.3, schedule=schedule)
    assert found[-1] == pytest.approx(1e-3 if schedule == "constant" else 3e-4)


def test_the_picture_has_a_curve_for_every_schedule_with_its_rates():
    found = {name: rates(20, schedule=name) for name in SCHEDULES}
    drawn = plots.schedules(plots.blank(), found).get_lines()
    assert [line.get_label() for line in drawn] == list(SCHEDULES)
    for line, name in zip(drawn, SCHEDULES, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), found[name])


def test_linear_is_halfway_down_in_the_middle_and_constant_stays():
    assert rates(110, learning_rate=1e-3, final_fraction=0.0, schedule="linear")[60] == pytest.approx(5e-4)
    assert (rates(110, learning_rate=1e-3, schedule="constant")[10:] == np.float32(1e-3)).all()


def test_wsd_is_at_its_peak_until_its_share_of_the_steps_is_left():
    found = rates(100, learning_rate=1e-3, warmup_steps=10, final_fraction=0.0, schedule="wsd", decay_share=0.25)
    np.testing.assert_allclose(found[10:76], 1e-3, rtol=1e-6)
    np.testing.assert_allclose(found[75:], 1e-3 * np.linspace(1, 0, 26), atol=1e-9)


@EVERY_SCHEDULE
@pytest.mark.parametrize("total_steps", [1, 9, 10, 11])
def test_no_schedule_of_a_run_as_short_as_its_warmup_exceeds_the_peak(schedule, total_steps):
    found = rates(total_steps, learning_rate=1e-3, warmup_steps=10, schedule=schedule)
    assert found.max() <= 1e-3 * (1 + 1e-6)
    assert found[1] == pytest.approx(1e-4)


@pytest.mark.parametrize("ratio", [1.0, 16.0])
def test_lora_plus_moves_b_so_many_times_as_far_and_leaves_a_alone(ratio):
    """Its weight decay too: equal to an optimizer whose B has a learning rate of its own, here two optimizers."""
    config = OptimizerConfig(learning_rate=1e-3, warmup_steps=0, weight_decay=0.1, clip_norm=1e9, lora_plus=ratio)
    gradients = [{"q": as_float32(tree)} for tree in random_trees(5, 1.0)]
    start = {"q": {"a": jnp.ones((3, 2)), "b": jnp.ones(4)}}
    together = updates(config, gradients, start)[-1]["q"]

    def alone(leaf, rate):
        config = OptimizerConfig(learning_rate=rate, warmup_steps=0, weight_decay=0.1, clip_norm=1e9)
        return updates(config, [g["q"][leaf] for g in gradients], start["q"][leaf])[-1]

    np.testing.assert_array_equal(together["a"], alone("a", 1e-3))
    np.testing.assert_allclose(together["b"], alone("b", 1e-3 * ratio), rtol=1e-5)


def updates(config, gradients, start, total_steps=20):
    """Parameters after each of `gradients`."""
    optimizer, trace, params = make_optimizer(config, total_steps), [], start
    state = optimizer.init(params)
    for gradient in gradients:
        change, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        trace.append(params)
    return trace


def random_trees(count, scale):
    rng = np.random.default_rng(0)
    return [{"a": scale * rng.normal(size=(3, 2)), "b": scale * rng.normal(size=4)} for _ in range(count)]


def as_float32(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def test_gradients_below_norm_1_pass_and_larger_ones_are_scaled_to_it():
    """Adam forgets the size of a gradient, but not how it compares with the one before."""
    config = OptimizerConfig(warmup_steps=0, weight_decay=0.0)
    direction = {"w": jnp.array([0.6, 0.8])}  # norm 1
    start = {"w": jnp.zeros(2)}

    def after(*sizes):
        return updates(config, [jax.tree.map(lambda g, s=s: s * g, direction) for s in sizes], start)[-1]["w"]

    np.testing.assert_allclose(after(0.5, 100.0), after(0.5, 1.0), rtol=1e-6)
    assert not np.allclose(after(0.5, 1.0), after(0.5, 0.9), rtol=1e-3)


@pytest.mark.parametrize("scale", [0.05, 5.0], ids=["below the clip", "clipped"])
def test_updates_match_adamw_written_in_numpy(scale):
    config = OptimizerConfig(learning_rate=1e-2, warmup_steps=3, beta1=0.8, beta2=0.95, weight_decay=0.1)
    steps, total = random_trees(8, scale), 8
    p = {"a": np.full((3, 2), 0.5), "b": np.full(4, -0.3)}
    ours = updates(config, map(as_float32, steps), as_float32(p), total)
    m, v = ({name: np.zeros_like(x) for name, x in p.items()} for _ in range(2))
    for t, raw in enumerate(steps):
        norm = math.sqrt(sum((g**2).sum() for g in raw.values()))
        done = (t - 3) / (total - 3)
        rate = 1e-2 * (t / 3 if t < 3 else 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
        for name in p:
            g = raw[name] / max(1.0, norm)
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.95 * v[name] + 0.05 * g**2
            m_hat, v_hat = m[name] / (1 - 0.8 ** (t + 1)), v[name] / (1 - 0.95 ** (t + 1))
            p[name] = p[name] - rate * (m_hat / (np.sqrt(v_hat) + 1e-8) + 0.1 * p[name])
            np.testing.assert_allclose(ours[t][name], p[name], rtol=1e-5, atol=1e-6)


def test_the_first_step_of_a_warmup_changes_nothing():
    gradients = map(as_float32, random_trees(1, 1.0))
    (after,) = updates(OptimizerConfig(warmup_steps=5), gradients, {"a": jnp.ones((3, 2)), "b": jnp.ones(4)})
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(after))


def test_equal_configurations_share_one_optimizer_so_that_a_step_is_compiled_once():
    assert make_optimizer(OptimizerConfig(), 7) is make_optimizer(OptimizerConfig(), 7)
    assert make_optimizer(OptimizerConfig(), 7) is not make_optimizer(OptimizerConfig(), 8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": -1e-3}, "both must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"beta2": 1.0}, "beta2=1.0"),
        ({"final_fraction": 2.0}, "final_fraction=2.0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"weight_decay": -0.1}, "neither may be negative"),
        ({"schedule": "step"}, "schedule 'step' is not one of cosine, linear, constant, wsd"),
        ({"decay_share": 0.0}, "decay_share=0.0"),
        ({"lora_plus": 0.0}, "lora_plus=0.0"),
    ],
    ids=str,
)
def test_an_impossible_optimizer_is_refused_with_the_value(wrong, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**wrong)
