"""Laws of training several adapters at once: each is what its task alone would give, and stopping changes nothing."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_runs import CONFIG, SHA, base, examples

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import load_adapter
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError, DataError, Interrupted, RunError, SettingError
from helptune.train import tasks as loop
from helptune.train.fit import fit
from helptune.train.optimizer import OptimizerConfig
from helptune.train.step import init_state, train_step
from helptune.train.stop import request_stop
from helptune.train.tasks import Task, fit_tasks, tasks_step

LORA = LoraConfig(rank=4, alpha=8.0, sites=("q", "down"))
TASKS = {
    "short": Task(examples(4, seed=5), examples(3, seed=6)),
    "long": Task(examples(12, seed=7, words=90), examples(3, seed=8, words=90)),
}
BRIEF = replace(CONFIG, epochs=6, eval_every=4, optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2))
"""Slow enough that the order of sums stays without consequence over the whole run."""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    run = tmp_path_factory.mktemp("together")
    return run, fit_tasks(base(), TASKS, LORA, BRIEF, run, SHA)


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_step_moves_each_adapter_as_a_step_of_its_task_alone_does():
    """With plain gradient descent, where a step shows the gradient itself, and each with its own optimizer."""
    key, descent = jax.random.key(3), {"long": optax.sgd(0.1), "short": optax.sgd(0.05)}
    new = init_adapters(LORA, base().config, key)
    adapters = {
        name: jax.tree.map(lambda leaf, s=seed: leaf + 0.1 * jax.random.normal(jax.random.key(s), leaf.shape), new)
        for seed, name in enumerate(TASKS)
    }
    batches = {name: loop._micro(task.train, [[0, 1], [2]], CONFIG) for name, task in TASKS.items()}
    states = {name: init_state(jax.tree.map(jnp.copy, own), descent[name]) for name, own in adapters.items()}
    after, results = tasks_step(base(), states, batches, method=LORA, optimizers=tuple(descent.values()))
    for name in TASKS:
        state = init_state(jax.tree.map(jnp.copy, adapters[name]), descent[name])
        alone, result = train_step(base(), state, batches[name], key, method=LORA, optimizer=descent[name])
        assert float(results[name].loss) == pytest.approx(float(result.loss), rel=1e-5)
        assert float(results[name].grad_norm) == pytest.approx(float(result.grad_norm), rel=1e-4)
        assert int(results[name].supervised) == int(result.supervised)
        for ours, expected in zip(jax.tree.leaves(after[name]), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("name", list(TASKS))
def test_each_adapter_learns_what_its_task_alone_would_teach(together, tmp_path, name):
    """Also when one task has fewer steps than the other and leaves the batch."""
    alone = fit(base(), TASKS[name].train, TASKS[name].dev, LORA, BRIEF, tmp_path, SHA)
    card = together[1][name][1]
    assert card.step == alone.best_step
    assert card.eval_loss == pytest.approx(alone.best_loss, rel=1e-3)


def test_the_shorter_task_leaves_the_batch_when_its_data_ends(together):
    steps = [set(line["task_losses"]) for line in lines(together[0]) if "task_losses" in line]
    assert steps[0] == {"short", "long"}
    assert steps[-1] == {"long"}


def test_every_task_learns_and_has_its_own_adapter(together):
    run, trained = together
    for name, (adapters, card) in trained.items():
        first = next(line["task_eval_losses"][name] for line in lines(run) if "task_eval_losses" in line)
        assert card.eval_loss < first
        found, _ = load_adapter(run / "adapters" / name, base().config, SHA)
        jax.tree.map(np.testing.assert_array_equal, found, adapters)
    assert not np.array_equal(trained["short"][0]["q"]["b"], trained["long"][0]["q"]["b"])


def test_a_run_that_was_stopped_and_goes_on_has_the_same_bits(together, tmp_path, monkeypatch):
    write = loop.log

    def log(path, record):
        write(path, record)
        if record["step"] == 5 and "task_losses" in record:
            request_stop(tmp_path)

    monkeypatch.setattr(loop, "log", log)
    with pytest.raises(Interrupted, match="stopped after step 5"):
        fit_tasks(base(), TASKS, LORA, BRIEF, tmp_path, SHA)
    monkeypatch.setattr(loop, "log", write)
    resumed = fit_tasks(base(), TASKS, LORA, BRIEF, tmp_path, SHA)
    for name, (adapters, card) in together[1].items():
        assert resumed[name][1] == card
        jax.tree.map(np.testing.assert_array_equal, resumed[name][0], adapters)
    ours, whole = ([{**line, "seconds": 0} for line in lines(run)] for run in (tmp_path, together[0]))
    assert ours == whole


def test_a_task_whose_patience_ends_leaves_the_batch_and_the_others_go_on(tmp_path):
    """What `confused` learns is of no use for its held-back texts: they use other words. `long` learns on."""
    strange = [replace(e, ids=tuple(token + 400 for token in e.ids)) for e in TASKS["long"].dev]
    confused = Task(TASKS["long"].train, strange)
    eager = replace(BRIEF, patience=1)
    fit_tasks(base(), {"confused": confused, "long": TASKS["long"]}, LORA, eager, tmp_path, SHA)
    steps = {
        name: [x["step"] for x in lines(tmp_path) if name in x.get("task_losses", {})] for name in ("confused", "long")
    }
    assert max(steps["confused"]) < max(steps["long"])
    reason = next(x["task_stopped"] for x in lines(tmp_path) if "task_stopped" in x)
    assert "did not lower the held-back loss" in reason["confused"]


def test_a_loss_that_is_no_number_ends_the_run_with_step_task_and_texts(tmp_path, monkeypatch):
    step = loop.tasks_step

    def broken(base, states, *args, **how):
        after, results = step(base, states, *args, **how)
        if int(next(iter(after.values())).step) == 3:
            results = {**results, "long": results["long"].replace(loss=jnp.float32(jnp.nan))}
        return after, results

    monkeypatch.setattr(loop, "tasks_step", broken)
    with pytest.raises(RunError, match="the loss is nan in step 3"):
        fit_tasks(base(), TASKS, LORA, BRIEF, tmp_path, SHA)
    assert lines(tmp_path)[-1]["task_losses"]["long"] is None


def test_a_run_without_its_log_says_what_to_do(together, tmp_path):
    shutil.copytree(together[0], tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match="missing beside its checkpoints; delete"):
        fit_tasks(base(), TASKS, LORA, BRIEF, tmp_path / "run", SHA)


@pytest.mark.parametrize(
    ("tasks", "method", "error", "message"),
    [
        (TASKS, replace(LORA, dropout=0.1), SettingError, "without dropout and NEFTune"),
        ({"empty": Task([], TASKS["short"].dev)}, LORA, DataError, "task 'empty': 0 training and 3 held-back"),
        ({"a/b": TASKS["short"]}, LORA, AdapterError, "adapter name 'a/b'"),
    ],
    ids=["dropout", "no data", "name"],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, tasks, method, error, message):
    with pytest.raises(error, match=message):
        fit_tasks(base(), tasks, method, BRIEF, tmp_path, SHA)
    assert not list(tmp_path.iterdir())
