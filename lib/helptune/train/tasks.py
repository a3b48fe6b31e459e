"""Several adapters trained at once over one base: the base's forward and backward pass is shared, the adapters are not.

Every task has its own rows in a step, its own adapter, optimizer and stopping rule, so that each adapter is the one
that training its task alone would give, up to the order of sums. What is saved is the reading of the base's weights
and, with small batches, idle cores; no arithmetic.
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from tqdm import tqdm

from helptune.adapt.adapters import Adapters, init_adapters
from helptune.adapt.artifact import AdapterCard, load_adapter
from helptune.adapt.collection import add, check_name
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import side_by_side
from helptune.data.packing import Batch, Example, collate, plan_batches
from helptune.errors import DataError, Interrupted, RunError, SettingError
from helptune.gemma.base import Base
from helptune.gemma.model import forward
from helptune.shapes import Array, Float, Int
from helptune.train.checkpoint import Checkpoints, Progress
from helptune.train.config import TrainConfig
from helptune.train.fit import anew, eval_batches, evaluate_loss
from helptune.train.loss import chunked_nll
from helptune.train.metrics import disk_errors, log, read_metrics, truncate
from helptune.train.nonfinite import check_finite
from helptune.train.optimizer import make_optimizer
from helptune.train.step import StepMetrics, TrainState, finite_layers, init_state
from helptune.train.stop import stop_requested, stop_signals, withdraw_stop
from helptune.train.stopping import reason_to_stop


@dataclass(frozen=True)
class Task:
    """What one adapter learns from, and what it is watched on."""

    train: Sequence[Example]
    dev: Sequence[Example]


@struct.dataclass
class TaskStates:
    """The state of every task; `step` counts the steps of the run."""

    tasks: dict[str, TrainState]
    step: Int[Array, ""]


def nll_sums(
    base: Base, adapters: Sequence[Adapters], method: LoraConfig, batches: Sequence[Batch], remat: str = "none"
) -> Float[Array, "K"]:
    """Sum of weight * -log p(target) of each of K tasks, in nats, in one pass over all their rows."""
    rows = np.repeat(np.arange(1, len(batches) + 1), [len(batch.tokens) for batch in batches])
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
    adapter = side_by_side(adapters, method, rows)
    hidden, _ = forward(base, whole.tokens, whole.positions, whole.segments, adapter, remat=remat)
    parts = jnp.split(hidden, len(batches))
    return jnp.stack(
        [chunked_nll(h, base.embedding, b.targets, b.weights) for h, b in zip(parts, batches, strict=True)]
    )


@partial(jax.jit, static_argnames=("method", "optimizers", "remat"), donate_argnames="states")
def tasks_step(
    base: Base,
    states: dict[str, TrainState],
    micro_batches: dict[str, Batch],
    *,
    method: LoraConfig,
    optimizers: tuple[optax.GradientTransformation, ...],
    remat: str = "none",
) -> tuple[dict[str, TrainState], dict[str, StepMetrics]]:
    """One update of every task from its own micro-batches [A, B, T], each divided by its own weight.

    `optimizers` are in the order of the sorted names, in which JAX keeps a dictionary.
    """
    names = sorted(states)
    adapters = [states[name].adapters for name in names]

    def add(totals, micro):
        batches = [micro[name] for name in names]

        def total(adapters):
            nll = nll_sums(base, adapters, method, batches, remat)
            return jnp.sum(nll), nll

        # A task's rows do not touch another's adapter, so the gradient of the sum holds each task's own.
        gradient, nll = jax.grad(total, has_aux=True)(adapters)
        weight = jnp.stack([jnp.sum(batch.weights) for batch in batches])
        return jax.tree.map(jnp.add, totals, (nll, weight, gradient)), None

    zeros = (jnp.zeros(len(states)), jnp.zeros(len(states)), jax.tree.map(jnp.zeros_like, adapters))
    (nll, weight, gradients), _ = jax.lax.scan(add, zeros, micro_batches)
    after, metrics = {}, {}
    for k, (name, optimizer) in enumerate(zip(names, optimizers, strict=True)):
        state, w = states[name], jnp.maximum(weight[k], 1.0)
        gradient = jax.tree.map(lambda g, w=w: g / w, gradients[k])
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.adapters)
        after[name] = TrainState(optax.apply_updates(state.adapters, updates), opt_state, state.step + 1)
        finite = jax.tree.map(finite_layers, gradient)
        metrics[name] = StepMetrics(nll[k] / w, optax.global_norm(gradient), weight[k], finite)
    return after, metrics


def fit_tasks(
    base: Base, tasks: Mapping[str, Task], method: LoraConfig, config: TrainConfig, run: Path, base_sha256: str
) -> dict[str, tuple[Adapters, AdapterCard]]:
    """Train an adapter for each task; the run folder gets `metrics.jsonl`, `checkpoints/` and `adapters/`, one a name.

    It resumes as `fit` does. A task whose data or patience ends leaves the batch, and the others go on.

    Raises Interrupted after Ctrl-C or a request, RunError as `fit` does, DataError for a task without examples,
    AdapterError for a name that cannot be an adapter's, and SettingError for dropout and NEFTune, whose randomness
    would not be that of a task alone.
    """
    if method.dropout or config.neftune_alpha:
        raise SettingError("several adapters are trained together without dropout and NEFTune: set both to 0")
    for name, task in tasks.items():
        if not (check_name(name) and task.train and task.dev):
            counts = f"{len(task.train)} training and {len(task.dev)} held-back conversations"
            raise DataError(f"task {name!r}: {counts}, both are needed")
    limits = (config.seq_len, config.batch_rows, config.epochs, config.seed, config.max_steps)
    plans = {name: plan_batches([len(e) for e in task.train], *limits) for name, task in tasks.items()}
    optimizers = {name: make_optimizer(config.optimizer, len(plan)) for name, plan in plans.items()}
    held_back = {name: eval_batches(task.dev, config) for name, task in tasks.items()}
    new = init_adapters(method, base.config, jax.random.split(jax.random.key(config.seed))[0])
    states = TaskStates(
        {name: init_state(jax.tree.map(jnp.copy, new), optimizers[name]) for name in tasks}, jnp.int32(0)
    )
    losses: dict[str, list[float]] = {name: [] for name in tasks}
    metrics, checkpoints = run / "metrics.jsonl", Checkpoints(run / "checkpoints")

    def measure(states: TaskStates, names: Sequence[str]) -> None:
        """Held-back loss of these tasks: log it, keep the adapters that are their best so far, write a checkpoint."""
        step = int(states.step)
        for name in names:
            adapters = states.tasks[name].adapters
            loss = evaluate_loss(base, adapters, method, held_back[name])
            if not math.isfinite(loss):
                raise RunError(
                    f"the held-back loss of task {name!r} is {loss} after step {step}; {run / 'adapters' / name} holds "
                    "the best adapter so far. Train anew in another folder, with a lower --learning-rate"
                )
            if loss < min(losses[name], default=math.inf):
                card = AdapterCard(base.config.name, base_sha256, method, step=step, eval_loss=loss)
                with disk_errors(run / "adapters"):
                    add(run / "adapters", name, adapters, card)
            losses[name].append(loss)
        log(metrics, {"step": step, "task_eval_losses": {name: losses[name][-1] for name in names}})
        reasons = {name: reason_to_stop(losses[name], config) for name in names if step < len(plans[name])}
        if stopped := {name: reason for name, reason in reasons.items() if reason}:
            log(metrics, {"step": step, "task_stopped": stopped})
        checkpoints.save(states, Progress())

    resumed = checkpoints.latest_step is not None
    if resumed:
        states, _ = checkpoints.restore(states)
        if not metrics.exists():
            raise RunError(f"{metrics}: missing beside its checkpoints; {anew(run)}")
    truncate(metrics, int(states.step) if resumed else -1)
    for record in read_metrics(metrics) if resumed else ():
        for name, loss in record.get("task_eval_losses", {}).items():
            losses[name].append(loss)
    steps = max(len(plan) for plan in plans.values())
    with contextlib.closing(checkpoints), stop_signals() as asked, tqdm(total=steps, unit="step") as bar:
        bar.update(int(states.step))
        if not resumed:
            log(metrics, {"step": 0, "steps": steps})
            measure(states, list(tasks))
        while True:
            step = int(states.step)
            names = [n for n in sorted(tasks) if step < len(plans[n]) and not reason_to_stop(losses[n], config)]
            if not names:
                break
            started = time.perf_counter()
            rows = {name: plans[name][step] for name in names}
            batches = {name: _micro(tasks[name].train, rows[name], config) for name in names}
            after, results = tasks_step(
                base, {name: states.tasks[name] for name in names}, batches, method=method,
                optimizers=tuple(optimizers[name] for name in names), remat=config.remat,
            )  # fmt: skip
            states = TaskStates(states.tasks | after, states.step + 1)
            record = {
                "step": step + 1,
                "task_losses": {name: float(result.loss) for name, result in results.items()},
                "task_grad_norms": {name: float(result.grad_norm) for name, result in results.items()},
                "seconds": time.perf_counter() - started,
            }
            log(metrics, record)
            for name, result in results.items():
                seen = [tasks[name].train[number] for row in rows[name] for number in row]
                check_finite(result, step + 1, seen, checkpoints.folder, checkpoints.latest_step or 0)
            if due := [n for n in names if (step + 1) % config.eval_every == 0 or step + 1 == len(plans[n])]:
                measure(states, due)
            bar.update(1)
            bar.set_postfix({name: f"{loss:.3f}" for name, loss in record["task_losses"].items()})
            if asked.is_set() or stop_requested(run):
                checkpoints.save(states, Progress())
                withdraw_stop(run)
                raise Interrupted(f"stopped after step {step + 1} of {steps}; run the same command again to go on")
    return {name: load_adapter(run / "adapters" / name, base.config, base_sha256) for name in tasks}


def _micro(examples: Sequence[Example], rows: Sequence[Sequence[int]], config: TrainConfig) -> Batch:
    batch = collate(examples, rows, config.seq_len, config.batch_rows)
    return jax.tree.map(lambda leaf: leaf.reshape(config.accumulate, -1, *leaf.shape[1:]), batch)
