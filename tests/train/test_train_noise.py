"""Laws of the gradient noise scale: of gradients whose mean and noise are known it finds both again."""

import numpy as np
import pytest

from helptune.train.noise import noise_scale, noise_sums


def simulated(rng, mean, deviation, weights):
    """noise_sums of micro-batches of so many tokens, each token's gradient drawn with this mean and deviation."""
    sums = [w * mean + np.sqrt(w) * deviation * rng.normal(size=mean.shape) for w in weights]
    whole = np.sum(sums, axis=0) / np.sum(weights)
    return noise_sums(np.array([s @ s for s in sums]), float(whole @ whole), np.array(weights, float))


@pytest.mark.parametrize("weights", [(10, 10, 10, 10), (3, 40, 11, 1), (7, 0, 9)])
def test_both_estimates_are_unbiased_for_micro_batches_of_any_size(weights):
    rng, mean, deviation = np.random.default_rng(0), np.linspace(-0.2, 0.3, 50), np.linspace(0, 2, 50)
    found = [simulated(rng, mean, deviation, weights) for _ in range(4_000)]
    for name, expected in (("trace", deviation @ deviation), ("squared", mean @ mean)):
        values = np.array([f[name] for f in found])
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - expected) < 4 * error
        assert error < 0.05 * expected


@pytest.mark.parametrize("count", [3, 12])
def test_the_noise_scale_of_known_noise_is_found_and_its_interval_holds_it(count):
    rng, mean, deviation, weights = np.random.default_rng(1), np.full(400, 0.05), np.full(400, 1.0), (20, 30, 25, 25)
    true, held = 400 / (mean @ mean), 0
    for _ in range(100):
        found = noise_scale([{**simulated(rng, mean, deviation, weights), "rows": 4} for _ in range(count)])
        held += found.low <= true / 25 <= (found.high or np.inf)
    assert 80 <= held <= 98  # of 100, where 90 are meant
    long = noise_scale([{**simulated(rng, mean, deviation, weights), "rows": 4} for _ in range(2_000)])
    assert long.tokens == pytest.approx(true, rel=0.1)
    assert long.rows == pytest.approx(true / 25, rel=0.1)
    assert long.low < long.rows < long.high


def test_without_a_visible_signal_no_batch_is_suggested():
    measured = {"trace": 5.0, "tokens": 100.0, "rows": 4}
    assert noise_scale([{**measured, "squared": -0.1}, {**measured, "squared": 0.05}]) is None
    assert noise_scale([{**measured, "squared": 1.0}]) is None
    assert noise_scale([{**measured, "squared": -0.1}, {**measured, "squared": 0.2}]).high is None
    assert noise_sums(np.array([4.0, 0.0]), 1.0, np.array([2.0, 0.0])) is None
