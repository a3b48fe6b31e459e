"""A run that meets a loss or a gradient that is no number says where, keeps its last good state, and can go on."""

import json
import math
from contextlib import closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from train_runs import CONFIG, DEV, EVAL_EVERY, LORA, SHA, STEPS, TRAIN, assert_same_run, base, last_state

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import load_adapter
from helptune.data.packing import collate, plan_batches
from helptune.errors import RunError
from helptune.train import fit as loop
from helptune.train.checkpoint import Checkpoints
from helptune.train.fit import fit
from helptune.train.nonfinite import check_finite
from helptune.train.optimizer import make_optimizer
from helptune.train.step import StepMetrics, init_state, train_step

NAMED = [replace(example, id=f"text-{number}") for number, example in enumerate(TRAIN)]
PLAN = plan_batches([len(e) for e in TRAIN], CONFIG.seq_len, CONFIG.batch_rows, CONFIG.epochs, CONFIG.seed)


def run(folder, config=CONFIG):
    return fit(base(), NAMED, DEV, LORA, config, folder, SHA)


def lines(folder):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def break_step(monkeypatch, number, broken):
    """From now on step `number` reports what `broken` makes of its metrics, and leaves a state of no numbers."""
    whole = loop.train_step

    def step(base, state, *rest, **options):
        state, result = whole(base, state, *rest, **options)
        if int(state.step) == number:
            adapters = {site: {name: x * jnp.nan for name, x in leaf.items()} for site, leaf in state.adapters.items()}
            return state.replace(adapters=adapters), broken(result)
        return state, result

    monkeypatch.setattr(loop, "train_step", step)


def test_the_message_names_step_conversations_checkpoint_and_what_to_do(tmp_path, monkeypatch):
    break_step(monkeypatch, 13, lambda result: result.replace(loss=jnp.float32(jnp.nan)))
    with pytest.raises(RunError) as caught:
        run(tmp_path)
    text, ids = str(caught.value), [f"'text-{number}'" for row in PLAN[12] for number in row]
    assert f"the loss is nan in step 13, made from {len(ids)} conversations: {', '.join(ids)}. " in text
    assert f"The last good checkpoint is that of step {EVAL_EVERY}, in {tmp_path / 'checkpoints'}" in text
    assert "comes to the same end" in text
    assert "lower --learning-rate" in text


def test_the_bad_state_is_not_kept_and_the_log_stays_json_with_the_step_in_it(tmp_path, monkeypatch):
    break_step(monkeypatch, 13, lambda result: result.replace(loss=jnp.float32(jnp.inf)))
    with pytest.raises(RunError, match="the loss is inf"):
        run(tmp_path)
    assert lines(tmp_path)[-1]["step"] == 13
    assert lines(tmp_path)[-1]["loss"] is None
    assert math.isfinite(lines(tmp_path)[-1]["grad_norm"])
    with closing(Checkpoints(tmp_path / "checkpoints")) as kept:
        assert kept.latest_step == EVAL_EVERY
    assert all(jnp.isfinite(leaf).all() for site in last_state(tmp_path).adapters.values() for leaf in site.values())


def test_once_the_cause_is_gone_the_same_command_goes_on_to_the_same_bits(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        break_step(patch, 13, lambda result: result.replace(loss=jnp.float32(jnp.nan)))
        with pytest.raises(RunError):
            run(tmp_path)
    assert run(tmp_path).steps == STEPS
    assert_same_run(tmp_path, whole[0])


def test_a_run_that_diverges_ends_at_once_and_keeps_its_best(tmp_path):
    wild = replace(CONFIG, optimizer=replace(CONFIG.optimizer, learning_rate=1e30, warmup_steps=1))
    with pytest.raises(RunError, match=r"in step 3, .*last good checkpoint is that of step 0"):
        run(tmp_path, wild)
    assert load_adapter(tmp_path / "adapter", base().config, SHA)[1].step == 0


def finite_but(*bad):
    """Which layers' gradients are numbers, all but those at (site, leaf, layer)."""
    found = {site: {leaf: [True] * 4 for leaf in "ab"} for site in ("q", "gate", "down")}
    for site, leaf, layer in bad:
        found[site][leaf][layer] = False
    return {site: {leaf: jnp.array(layers) for leaf, layers in leaves.items()} for site, leaves in found.items()}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([("q", "a", 2)], "layer 2, site q"),
        ([("q", "a", 0), ("down", "b", 0), ("gate", "b", 1)], "layer 1, site gate"),
        ([("q", "a", 1), ("gate", "a", 1), ("down", "b", 0)], "layer 1, site gate"),
        ([], "each value is, their norm is not"),
    ],
    ids=str,
)
def test_the_layer_and_site_named_are_those_the_backward_pass_came_to_first(tmp_path, bad, told):
    """It runs from the last layer to the first, and in a layer from down to q; all after it is no number either."""
    result = StepMetrics(jnp.float32(1), jnp.float32(jnp.inf), jnp.float32(1), finite_but(*bad))
    with pytest.raises(RunError, match=f"the gradient is not finite .*{told}"):
        check_finite(result, 7, NAMED[:1], tmp_path, 0)


def test_a_gradient_that_overflows_in_the_real_step_is_found_in_its_layer(tmp_path):
    """B is zero, so A gets no gradient and the loss is a number, however large A and the scale; B's gradient is not."""
    lora, optimizer = replace(LORA, alpha=4e8, dropout=0.0), make_optimizer(CONFIG.optimizer, STEPS)
    adapters = init_adapters(lora, base().config, jax.random.key(0))
    adapters["down"]["a"] = adapters["down"]["a"].at[2].multiply(1e34)
    batch = collate(NAMED, PLAN[0], CONFIG.seq_len, CONFIG.batch_rows)
    micro, key = jax.tree.map(lambda a: a[None], batch), jax.random.key(0)
    _, result = train_step(base(), init_state(adapters, optimizer), micro, key, method=lora, optimizer=optimizer)
    assert math.isfinite(result.loss)
    with pytest.raises(RunError, match="layer 2, site down"):
        check_finite(result, 1, NAMED[:3], tmp_path, 0)


def test_many_conversations_are_counted_and_the_first_are_named(tmp_path):
    result = StepMetrics(jnp.float32(jnp.nan), jnp.float32(1), jnp.float32(1), {})
    with pytest.raises(RunError, match=r"made from 90 conversations: 'text-0', .* and 78 more"):
        check_finite(result, 7, NAMED * 9, tmp_path, 0)
