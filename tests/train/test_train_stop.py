"""Laws of a stop by request: heeded within a step, with a checkpoint, once; and what a run logs for who watches it."""

import json

import jax
import numpy as np
import pytest
import train_runs
from train_runs import EVAL_EVERY, STEPS, TRAIN, assert_same_run, last_state, metrics, same_bits, train

from helptune.errors import Interrupted
from helptune.train import fit as loop
from helptune.train.fit import fit
from helptune.train.peak import memory_gib, peak_rss_gib
from helptune.train.stop import request_stop, stop_requested, withdraw_stop


def test_a_request_stops_the_run_after_its_step_and_it_goes_on_to_the_same_bits(tmp_path, whole, after_step):
    after_step(13, lambda: request_stop(tmp_path))
    with pytest.raises(Interrupted, match=f"stopped after step 13 of {STEPS}; run the same command again"):
        train(tmp_path)
    assert int(last_state(tmp_path).step) == 13
    assert not stop_requested(tmp_path)
    result = train(tmp_path)
    assert_same_run(tmp_path, whole[0])
    assert same_bits(result.adapters, whole[1].adapters)


def test_a_request_from_before_the_first_step_is_heeded_after_it(tmp_path, whole):
    """As one that came while the checkpoint was read. Which requests are too old, the holder of the lock decides."""
    request_stop(tmp_path)
    with pytest.raises(Interrupted, match=f"stopped after step 1 of {STEPS}"):
        train(tmp_path)
    train(tmp_path)
    assert_same_run(tmp_path, whole[0])


def test_only_the_main_process_looks_for_a_request(tmp_path, after_step, monkeypatch):
    """The others learn of it from `any_process`: a shared directory may show it to one of them a step later."""
    monkeypatch.setattr(loop, "is_main", lambda: False)
    after_step(13, lambda: request_stop(tmp_path))
    (tmp_path / "adapter").mkdir()
    with pytest.raises(loop.RunError, match="adapter"):  # nobody wrote one
        train(tmp_path)
    assert stop_requested(tmp_path)


def test_asking_twice_is_asking_once_and_withdrawing_needs_no_request(tmp_path):
    withdraw_stop(tmp_path)
    request_stop(tmp_path)
    request_stop(tmp_path)
    assert stop_requested(tmp_path)
    withdraw_stop(tmp_path)
    assert not stop_requested(tmp_path)


def test_the_first_line_of_the_log_tells_how_many_steps_are_planned(whole):
    assert metrics(whole[0])[0] == {"step": 0, "steps": STEPS}


def test_samples_are_taken_at_every_measurement_of_the_adapters_of_that_moment(tmp_path, whole):
    seen = []

    def sample(adapters):
        seen.append(jax.tree.map(np.array, adapters))  # the step that follows reuses their memory
        return [{"id": "a", "prompt": "Why?", "answer": str(len(seen)), "ended": False}]

    result = fit(train_runs.base(), TRAIN, train_runs.DEV, train_runs.LORA, train_runs.CONFIG, tmp_path,
                 train_runs.SHA, sample=sample)  # fmt: skip
    logged = [line for line in metrics(tmp_path) if "samples" in line]
    assert [line["step"] for line in logged] == list(range(0, STEPS + 1, EVAL_EVERY))
    assert [line["samples"][0]["answer"] for line in logged] == [str(i + 1) for i in range(len(logged))]
    assert same_bits(seen[result.best_step // EVAL_EVERY], result.adapters)
    assert [line for line in metrics(tmp_path) if "samples" not in line] == metrics(whole[0])


def test_every_step_tells_the_memory_held(whole):
    lines = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    held = [line["memory_gib"] for line in lines if "loss" in line]
    assert len(held) == STEPS
    assert all(0 < value <= peak_rss_gib() + 0.001 for value in held)


def test_the_memory_held_is_never_more_than_the_most_that_was():
    assert 0 < memory_gib() <= peak_rss_gib() + 0.001
