"""Laws of early stopping: a pure function of the held-back losses, and a run that obeys it once and for all."""

import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_runs import EVAL_EVERY, STEPS, assert_same_run, metrics, same_bits, train

from helptune.errors import Interrupted
from helptune.train.config import TrainConfig
from helptune.train.stopping import reason_to_stop

LOSSES = st.lists(st.floats(0.1, 10.0), max_size=12)


def reason(losses, **criteria):
    return reason_to_stop(losses, TrainConfig(**{"patience": 99, **criteria}))


@pytest.mark.parametrize(
    ("losses", "stops"),
    [((), False), ((3.0,), False), ((3.0, 3.0), False), ((3.0, 3.0, 3.0), True), ((3.0, 3.1, 2.9, 3.0), False),
     ((3.0, 2.0, 2.5, 2.1), True)],
)  # fmt: skip
def test_patience_counts_measurements_in_a_row_that_are_no_improvement(losses, stops):
    assert (reason(losses, patience=2) is not None) == stops


def test_small_steps_count_once_they_add_up_to_the_improvement_asked_for():
    falling = [3.0, 2.96, 2.92, 2.88, 2.84]
    assert reason(falling, patience=3) is None
    assert reason(falling, patience=3, min_improvement=0.1) is None
    assert reason(falling, patience=2, min_improvement=0.1) is None
    assert "did not lower the held-back loss of 3.0000 by more than 0.1 nats" in reason(
        falling[:3], patience=2, min_improvement=0.1
    )


@pytest.mark.parametrize(("last", "stops"), [(2.4, False), (2.6, True)])
def test_a_rise_is_measured_from_the_lowest_loss(last, stops):
    found = reason([3.0, 2.0, last], max_rise=0.5)
    assert (found is not None) == stops
    assert not stops or "rose to 2.6000, more than 0.5 nats above its lowest, 2.0000" in found


@given(LOSSES)
def test_without_limits_only_patience_stops_and_a_falling_loss_never_does(losses):
    falling = sorted(set(losses), reverse=True)
    assert reason(falling, patience=1) is None
    assert reason(losses) is None


@given(LOSSES, st.integers(1, 4))
def test_a_reason_needs_at_least_as_many_measurements_as_patience_after_the_first(losses, patience):
    if reason(losses, patience=patience):
        assert len(losses) > patience
        assert min(losses[-patience:]) >= min(losses[:-patience])


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_after_as_many_measurements_without_improvement_as_patience_says(tmp_path, whole, patience):
    result = train(tmp_path, patience=patience)
    assert result.stopped_early
    assert result.steps == result.best_step + patience * EVAL_EVERY < STEPS
    assert (result.best_step, result.best_loss) == (whole[1].best_step, whole[1].best_loss)
    assert same_bits(result.adapters, whole[1].adapters)
    assert f"(patience {patience})" in result.stopped_because
    assert metrics(tmp_path)[-1] == {"step": result.steps, "stopped": result.stopped_because}


def test_a_run_stops_at_a_rise_and_the_same_command_trains_no_further(tmp_path, after_step):
    first = train(tmp_path / "whole", max_rise=0.02)
    assert "(max_rise)" in first.stopped_because
    assert first.steps < STEPS
    log = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    again = train(tmp_path / "whole", max_rise=0.02)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == log
    assert replace(again, adapters={}) == replace(first, adapters={})

    after_step(first.steps - 3, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", max_rise=0.02)
    train(tmp_path / "stopped", max_rise=0.02)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
