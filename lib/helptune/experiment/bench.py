"""How fast does training run here? One line of JSON, comparable between machines and versions."""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from helptune.adapt.lora import LoraConfig, init_adapters
from helptune.data.packing import Batch
from helptune.errors import SettingError
from helptune.experiment.finetune import peak_rss_gib
from helptune.gemma.checkpoints import load_base
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import init_state, train_step


def bench_train(batch: int, seq_len: int, steps: int, dtype: str, rank: int) -> dict[str, Any]:
    """Median time of optimizer steps on the real weights: all seven sites, half of the random tokens supervised."""
    if min(batch, seq_len, steps) < 1:
        raise SettingError(f"batch={batch}, seq_len={seq_len}, steps={steps}: all must be at least 1")
    base, lora = load_base(dtype), LoraConfig(rank=rank, alpha=2.0 * rank)
    optimizer = make_optimizer(OptimizerConfig(), total_steps=steps + 1)
    state = init_state(init_adapters(lora, base.config, jax.random.key(0)), optimizer)
    tokens = np.random.default_rng(0).integers(0, base.config.vocab, (1, batch, seq_len + 1), dtype=np.int32)
    positions = np.broadcast_to(np.arange(seq_len, dtype=np.int32), (1, batch, seq_len))
    weights = (positions >= seq_len // 2).astype(np.float32)
    data = Batch(tokens[..., :-1], tokens[..., 1:], weights, positions, np.ones_like(positions))
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        state, metrics = train_step(base, state, data, jax.random.key(0), lora=lora, optimizer=optimizer)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[1:])
    return {
        "model": base.config.name,
        "batch": batch,
        "seq_len": seq_len,
        "dtype": str(jnp.dtype(dtype)),
        "steps": steps,
        "first_step_s": round(seconds[0], 3),
        "median_step_s": round(median, 3),
        "tokens_per_s": round(batch * seq_len / median, 1),
        "peak_rss_gib": round(peak_rss_gib(), 3),
    }
