"""Laws of a whole training run: it learns, it repeats itself exactly, and it keeps the best adapter."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_runs import (
    CONFIG,
    DEV,
    EVAL_EVERY,
    LORA,
    SHA,
    STEPS,
    TRAIN,
    assert_same_run,
    base,
    eval_losses,
    last_state,
    metrics,
    same_bits,
    train,
)

from helptune.adapt.artifact import load_adapter
from helptune.errors import DataError, RunError
from helptune.train.config import TrainConfig
from helptune.train.fit import eval_batches, evaluate_loss, fit
from helptune.train.optimizer import learning_rate


def test_a_run_learns_a_few_texts_by_heart(tmp_path):
    result = train(tmp_path, dev=TRAIN)
    losses = eval_losses(tmp_path)
    assert losses[0] > 6
    assert losses[STEPS] < 0.6 * losses[0]
    assert result.best_loss == min(losses.values())


def test_one_seed_gives_the_same_bits_twice_and_another_seed_others(tmp_path, whole):
    train(tmp_path / "again")
    assert_same_run(tmp_path / "again", whole[0])
    train(tmp_path / "other", seed=1)
    assert not same_bits(last_state(tmp_path / "other").adapters, last_state(whole[0]).adapters)


def test_weights_that_are_no_numbers_end_the_run_before_it_trains(tmp_path):
    damaged = replace(base(), final_norm=base().final_norm.at[0].set(jnp.nan))
    with pytest.raises(RunError, match="nan before any training: the weights of the base hold NaN"):
        fit(damaged, TRAIN, DEV, LORA, CONFIG, tmp_path, SHA)
    assert not (tmp_path / "adapter").exists()


def test_training_changes_no_bit_of_the_base(tmp_path):
    before = jax.tree.map(lambda leaf: np.array(leaf), base())
    train(tmp_path)
    assert same_bits(base(), before)


def test_every_step_is_logged_once_with_what_it_saw(whole):
    steps = [line for line in metrics(whole[0]) if "loss" in line]
    schedule = learning_rate(CONFIG.optimizer, STEPS)
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert [line["learning_rate"] for line in steps] == [float(schedule(step)) for step in range(STEPS)]
    assert sum(line["tokens"] for line in steps) == CONFIG.epochs * sum(map(len, TRAIN))
    assert sum(line["supervised"] for line in steps) == CONFIG.epochs * sum(sum(e.supervised[1:]) for e in TRAIN)


def test_the_held_back_loss_is_measured_before_during_and_at_the_end(whole):
    assert list(eval_losses(whole[0])) == list(range(0, STEPS + 1, EVAL_EVERY))


def test_the_held_back_loss_does_not_depend_on_how_it_is_batched(whole):
    narrow = replace(CONFIG, seq_len=24, batch_rows=4)
    loss = evaluate_loss(base(), whole[1].adapters, LORA, eval_batches(DEV, narrow))
    assert loss == pytest.approx(whole[1].best_loss, rel=1e-5)


def test_the_best_adapter_is_kept_not_the_last(whole):
    run, result = whole
    losses = eval_losses(run)
    assert 0 < result.best_step < STEPS
    assert result.best_loss == losses[result.best_step] == min(losses.values())
    assert losses[STEPS] > result.best_loss + 0.05
    assert evaluate_loss(base(), result.adapters, LORA, eval_batches(DEV, CONFIG)) == result.best_loss
    stored, card = load_adapter(run / "adapter", base().config, SHA)
    assert same_bits(stored, result.adapters)
    assert (card.step, card.eval_loss, card.method) == (result.best_step, result.best_loss, LORA)


def test_a_run_that_reaches_its_end_did_not_stop_early(whole):
    assert whole[1].steps == STEPS
    assert not whole[1].stopped_early
    assert whole[1].stopped_because == ""


@pytest.mark.parametrize("patience", [1, 9])
def test_running_a_finished_run_again_trains_nothing_and_returns_the_same(tmp_path, patience):
    first = train(tmp_path, patience=patience)
    log = (tmp_path / "metrics.jsonl").read_bytes()
    again = train(tmp_path, patience=patience)
    assert (tmp_path / "metrics.jsonl").read_bytes() == log
    assert same_bits(again.adapters, first.adapters)
    assert replace(again, adapters={}) == replace(first, adapters={})


def test_the_log_is_json_lines_with_seconds(whole):
    lines = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    assert all(line["seconds"] > 0 for line in lines if "loss" in line)


@pytest.mark.parametrize(("train_set", "dev"), [([], DEV), (TRAIN, [])])
def test_a_run_without_examples_is_refused(tmp_path, train_set, dev):
    with pytest.raises(DataError, match="both are needed"):
        fit(base(), train_set, dev, LORA, CONFIG, tmp_path, SHA)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_rows": 4, "accumulate": 3}, "batch_rows=4 cannot be split into accumulate=3 equal parts"),
        ({"accumulate": 0}, "must be at least 1"),
        ({"seed": -1}, "seed=-1"),
        ({"epochs": 0}, "must be at least 1"),
        ({"eval_every": 0}, "must be at least 1"),
        ({"patience": 0}, "must be at least 1"),
        ({"min_improvement": -0.1}, "min_improvement=-0.1"),
        ({"max_rise": float("nan")}, "max_rise=nan"),
        ({"neftune_alpha": -5.0}, "neftune_alpha=-5.0"),
        ({"remat": "some"}, "remat 'some' is not one of none, dots, full"),
    ],
    ids=str,
)
def test_an_impossible_plan_is_refused_with_what_to_change(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)
