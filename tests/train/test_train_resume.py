"""Laws of stopping and going on: train 40 steps = train 13, stop, train 27, bit for bit, however it stopped.

All runs have dropout: what they drop after going on is what they would have dropped anyway.
"""

import signal

import pytest
from train_runs import STEPS, assert_same_run, last_state, metrics, same_bits, train

from helptune.errors import Interrupted
from helptune.train import fit as loop
from helptune.train.checkpoint import Checkpoints
from helptune.train.fit import truncate


class Killed(BaseException):
    """Ends a run on the spot, as far as an exception can; the test beside it uses a real kill -9."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, whole, after_step, number):
    after_step(13, lambda: signal.raise_signal(number))
    with pytest.raises(Interrupted, match=f"stopped after step 13 of {STEPS}; run the same command again"):
        train(tmp_path)
    assert int(last_state(tmp_path).step) == 13
    result = train(tmp_path)
    assert_same_run(tmp_path, whole[0])
    assert same_bits(result.adapters, whole[1].adapters)


def test_a_run_can_be_stopped_again_and_again(tmp_path, whole, after_step):
    for step in (1, 2, 8, STEPS):
        after_step(step, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted, match=f"stopped after step {step} "):
            train(tmp_path)
    train(tmp_path)
    assert_same_run(tmp_path, whole[0])


def test_a_stop_leaves_the_signals_as_they_were(tmp_path, after_step):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    after_step(1, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(tmp_path)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_ends_the_run_at_once_and_it_still_goes_on_later(tmp_path, whole, after_step):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    after_step(13, twice)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    assert int(last_state(tmp_path).step) == 8
    train(tmp_path)
    assert_same_run(tmp_path, whole[0])


def test_patience_counts_across_a_stop(tmp_path, whole, after_step):
    uninterrupted = train(tmp_path / "whole", patience=2)
    after_step(17, lambda: signal.raise_signal(signal.SIGINT))  # one measurement without improvement is behind
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", patience=2)
    assert train(tmp_path / "stopped", patience=2).steps == uninterrupted.steps
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_but_one_measures_nothing_twice(tmp_path, after_step):
    """Only the measurement of step 0 is on disk: counting it again would already exhaust a patience of 1."""
    train(tmp_path / "whole", patience=1)
    after_step(3, lambda: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        train(tmp_path / "killed", patience=1)
    train(tmp_path / "killed", patience=1)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("measurement", [0, 1])
@pytest.mark.parametrize("place", [(loop, "save_adapter"), (Checkpoints, "save")], ids=lambda place: place[1])
def test_a_run_killed_while_it_saves_goes_on_to_the_same_bits(tmp_path, whole, monkeypatch, place, measurement):
    save, calls = getattr(*place), []

    def kill(*args):
        calls.append(args)
        if len(calls) == measurement + 1:
            raise Killed
        return save(*args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*place, kill)
        train(tmp_path)
    train(tmp_path)
    assert_same_run(tmp_path, whole[0])


@pytest.mark.parametrize("torn", ['{"step": 9, "loss": 4.', '{"step"', "{", "9", "null", '{"loss": 4.5}'])
def test_a_line_cut_short_by_a_kill_is_forgotten(tmp_path, torn):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 7, "loss": 5.0}\n{"step": 8, "loss": 4.5}\n' + torn)
    truncate(log, 8)
    assert [line["step"] for line in metrics(tmp_path)] == [7, 8]


def test_steps_after_the_checkpoint_are_forgotten_and_a_missing_newline_is_added(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 8, "loss": 4.5}\n{"step": 8, "eval_loss": 4.6}\n{"step": 9, "loss": 4.4}')
    truncate(log, 9)
    assert log.read_text().endswith('"loss": 4.4}\n')
    truncate(log, 8)
    assert metrics(tmp_path) == [{"step": 8, "loss": 4.5}, {"step": 8, "eval_loss": 4.6}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
