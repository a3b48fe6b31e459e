"""Optimizer steps on random tokens, timed: what the benchmark and the rehearsal of a large model measure."""

import time
from typing import Any

import jax
import numpy as np

from helptune.adapt.adapters import AdapterConfig, init_adapters
from helptune.data.packing import Batch
from helptune.gemma.base import Base
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import init_state, train_step


def random_batch(vocab: int, rows: int, tokens: int, prompt: int = 0, parts: int = 1) -> Batch:
    """Micro-batches [parts, rows / parts, tokens] of random tokens, each row one segment; the first `prompt` of a row
    have no loss.
    """
    ids = np.random.default_rng(0).integers(0, vocab, (parts, rows // parts, tokens + 1), dtype=np.int32)
    positions = np.broadcast_to(np.arange(tokens, dtype=np.int32), (parts, rows // parts, tokens))
    weights = (positions >= prompt).astype(np.float32)
    return Batch(ids[..., :-1], ids[..., 1:], weights, positions, np.ones_like(positions))


def timed_steps(
    base: Base, method: AdapterConfig, config: OptimizerConfig, batch: Batch, steps: int, *, remat: str = "none"
) -> tuple[list[float], list[float]]:
    """(losses, seconds) of so many steps on the same batch; the first one compiles."""
    optimizer = make_optimizer(config, steps)
    state: Any = init_state(init_adapters(method, base.config, jax.random.key(0)), optimizer)
    losses, seconds = [], []
    for _ in range(steps):
        started = time.perf_counter()
        state, metrics = train_step(
            base, state, batch, jax.random.key(0), method=method, optimizer=optimizer, remat=remat
        )
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - started)
        losses.append(float(metrics.loss))
    return losses, seconds
