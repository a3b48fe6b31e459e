"""The training loop, top to bottom: plan, resume, step, evaluate, save, stop.

Ctrl-C, SIGTERM or a file named `stop` ends it after the current step with a checkpoint; kill -9 costs the steps since
the last one. Running the same command again goes on from there with the same bits as a run that was never stopped.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from helptune.adapt.adapters import AdapterConfig, Adapters, init_adapters
from helptune.adapt.artifact import AdapterCard, load_adapter, save_adapter
from helptune.data.packing import Batch, Example, collate, pack, plan_batches
from helptune.errors import AdapterError, DataError, Interrupted, RunError, SettingError
from helptune.gemma.base import Base
from helptune.gemma.sharding import ROWS, on_mesh, replicate
from helptune.train.checkpoint import Checkpoints, Progress
from helptune.train.config import TrainConfig
from helptune.train.distributed import all_hosts_needed, any_process, check_shared, is_main, say_if_a_host_dies
from helptune.train.gradients import analyse
from helptune.train.metrics import disk_errors, log, truncate
from helptune.train.nonfinite import check_finite
from helptune.train.optimizer import learning_rate, make_optimizer
from helptune.train.peak import memory_gib
from helptune.train.step import TrainState, eval_step, init_state, train_step
from helptune.train.stop import stop_requested, stop_signals, withdraw_stop
from helptune.train.stopping import reason_to_stop

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    adapters: Adapters
    best_loss: float
    best_step: int
    steps: int
    stopped_early: bool
    stopped_because: str
    """Why, in words; empty after the last step."""


def evaluate_loss(base: Base, adapters: Adapters, method: AdapterConfig, batches: Sequence[Batch]) -> float:
    """Nats per supervised token over all batches: one sum, one division."""
    totals = [eval_step(base, adapters, on_mesh(batch), method=method) for batch in batches]
    return float(sum(nll for nll, _ in totals) / sum(weight for _, weight in totals))


def eval_batches(examples: Sequence[Example], config: TrainConfig) -> list[Batch]:
    rows, size = pack([len(e) for e in examples], config.seq_len), config.batch_rows // config.accumulate
    return [collate(examples, rows[i : i + size], config.seq_len, size) for i in range(0, len(rows), size)]


def fit(
    base: Base,
    train: Sequence[Example],
    dev: Sequence[Example],
    method: AdapterConfig,
    config: TrainConfig,
    run: Path,
    base_sha256: str,
    mesh: Mesh | None = None,
    sample: Callable[[Adapters], list[dict]] | None = None,
) -> FitResult:
    """Train adapters on `train`, watching `dev`; the run folder gets `metrics.jsonl`, `checkpoints/` and `adapter/`.

    With a mesh, on which `base` lies, the rows of a batch are cut over its devices and the adapters are whole on each;
    a run may go on on another mesh, where the same sums are added in another order. In a run of several processes all
    call this with the same arguments and process 0 writes.

    `sample` is called at every measurement with the adapters of that moment; what it returns is logged as "samples".

    Raises Interrupted after Ctrl-C or a request to stop, RunError when loss or gradient are no numbers, the disk is
    full, a checkpoint cannot be read or another host is gone, DataError without examples, SettingError for a batch that
    the mesh does not divide.
    """
    if not train or not dev:
        raise DataError(f"{len(train)} training and {len(dev)} held-back conversations: both are needed")
    check_rows(config, mesh)
    lengths, limits = [len(e) for e in train], (config.epochs, config.seed, config.max_steps)
    plan = plan_batches(lengths, config.seq_len, config.batch_rows, *limits)
    if len(plan) <= config.optimizer.warmup_steps:
        _log.warning(
            "The learning rate never reaches its peak: the data and limits give %d steps, warmup_steps is %d. "
            "Lower --warmup-steps, or give more data or --epochs",
            len(plan), config.optimizer.warmup_steps,
        )  # fmt: skip
    optimizer, schedule = make_optimizer(config.optimizer, len(plan)), learning_rate(config.optimizer, len(plan))
    init_key, dropout_key = jax.random.split(jax.random.key(config.seed))
    state, progress = init_state(init_adapters(method, base.config, init_key), optimizer), Progress()
    if mesh is not None:
        state, dropout_key = replicate((state, dropout_key), mesh)
    held_back, card = eval_batches(dev, config), AdapterCard(base.config.name, base_sha256, method)
    checkpoints = Checkpoints(run / "checkpoints")
    metrics = run / "metrics.jsonl"

    def measure(state: TrainState, progress: Progress) -> Progress:
        """Held-back loss of this step: log it, keep the adapter if it is the best so far, write a checkpoint."""
        started = time.perf_counter()
        loss, step = evaluate_loss(base, state.adapters, method, held_back), int(state.step)
        if not math.isfinite(loss):
            raise RunError(
                f"the held-back loss is {loss} after step {step}; {run / 'adapter'} holds that of step "
                f"{progress.best_step}, the best so far. Train anew in another folder, with a lower --learning-rate"
                if step
                else f"the held-back loss is {loss} before any training: the weights of the base hold NaN or infinity"
            )
        if sample is not None:
            log(metrics, {"step": step, "samples": sample(state.adapters)})
        log(metrics, {"step": step, "eval_loss": loss, "eval_seconds": time.perf_counter() - started})
        ahead = collate(train, plan[step % len(plan)], config.seq_len, config.batch_rows)
        gradients = analyse(base, state.adapters, method, ahead, optimizer, state.opt_state, remat=config.remat)
        log(metrics, {"step": step, "gradients": gradients})
        best_step, losses = progress.best_step, (*progress.losses, loss)
        if loss < progress.best_loss:
            if is_main():
                with disk_errors(run / "adapter"):
                    save_adapter(run / "adapter", state.adapters, replace(card, step=step, eval_loss=loss))
            best_step = step
        progress = Progress(losses, best_step)
        if step < len(plan) and (reason := reason_to_stop(losses, config)):
            log(metrics, {"step": step, "stopped": reason})
        checkpoints.save(state, progress)
        return progress

    check_shared("checkpoint", -1 if checkpoints.latest_step is None else checkpoints.latest_step)
    resumed = checkpoints.latest_step is not None
    if resumed:
        state, progress = checkpoints.restore(state)
        if not metrics.exists():
            raise RunError(f"{metrics}: missing beside its checkpoints; {anew(run)}")
    truncate(metrics, int(state.step) if resumed else -1)
    with (
        contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh),
        all_hosts_needed(),
        contextlib.closing(checkpoints),
        stop_signals() as signalled,
        tqdm(total=len(plan), unit="step", disable=not is_main()) as bar,
    ):
        bar.update(int(state.step))
        if not resumed:
            log(metrics, {"step": 0, "steps": len(plan)})
            progress = measure(state, progress)
        while (step := int(state.step)) < len(plan) and not reason_to_stop(progress.losses, config):
            started = time.perf_counter()
            batch = collate(train, plan[step], config.seq_len, config.batch_rows)
            micro = on_mesh(jax.tree.map(lambda a: a.reshape(config.accumulate, -1, *a.shape[1:]), batch))
            state, result = train_step(
                base, state, micro, dropout_key, method=method, optimizer=optimizer, remat=config.remat,
                neftune_alpha=config.neftune_alpha,
            )  # fmt: skip
            record = {
                "step": step + 1,
                "loss": float(result.loss),
                "grad_norm": float(result.grad_norm),
                "learning_rate": float(schedule(step)),
                "tokens": int(np.count_nonzero(batch.segments)),
                "supervised": int(result.supervised),
                "memory_gib": round(memory_gib(), 3),
            }
            record["seconds"] = time.perf_counter() - started
            log(metrics, record)
            seen = [train[number] for row in plan[step] for number in row]
            check_finite(result, step + 1, seen, checkpoints.folder, checkpoints.latest_step or 0)
            if (step + 1) % config.eval_every == 0 or step + 1 == len(plan):
                progress = measure(state, progress)
            bar.update(1)
            speed = record["tokens"] / record["seconds"]
            bar.set_postfix_str(f"loss {record['loss']:.3f}, held back {progress.best_loss:.3f}, {speed:.0f} tokens/s")
            say_if_a_host_dies(
                f"a host of this run is gone after step {step + 1}; start all processes again to go on from the "
                f"checkpoint of step {checkpoints.latest_step}"
            )
            if any_process(signalled.is_set() or (is_main() and stop_requested(run))):
                checkpoints.save(state, progress)
                if is_main():
                    withdraw_stop(run)
                raise Interrupted(f"stopped after step {step + 1} of {len(plan)}; run the same command again to go on")
    try:
        best, _ = load_adapter(run / "adapter", base.config, base_sha256)
    except AdapterError as error:
        raise RunError(f"{error}; {anew(run)}") from error
    steps, best = int(state.step), best if mesh is None else replicate(best, mesh)
    reason = reason_to_stop(progress.losses, config) if steps < len(plan) else None
    return FitResult(best, progress.best_loss, progress.best_step, steps, reason is not None, reason or "")


def check_rows(config: TrainConfig, mesh: Mesh | None) -> None:
    """Raises SettingError unless every device gets as many rows of each micro-batch as the others."""
    parts = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in ROWS)
    if (config.batch_rows // config.accumulate) % parts:
        raise SettingError(
            f"batch_rows={config.batch_rows} in accumulate={config.accumulate} parts cannot be cut over the {parts} "
            f"devices of data x fsdp: choose a multiple of {config.accumulate * parts}, or more devices along tensor"
        )


def anew(run: Path) -> str:
    return f"delete {run / 'checkpoints'} and run the same command again to train anew"
