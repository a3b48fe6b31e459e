"""One training step in a process that may take only so much memory: what a small GPU does to you, on any Linux machine.

The model has the shape of Gemma 3 270M with an eighth of its vocabulary, and weights that mean nothing: memory does not
depend on them. The limit is the kernel's, on a process's own data (setrlimit, RLIMIT_DATA), and reckoned from what
Python, JAX and the compiled step hold before there is any array.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from helptune.adapt.lora import LoraConfig, init_lora
from helptune.data.packing import Batch
from helptune.experiment.full import full_memory, full_step, masters_of
from helptune.gemma.config import gemma3_270m
from helptune.gemma.sharding import abstract_base
from helptune.train.config import TrainConfig
from helptune.train.memory import StepMemory, step_memory
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import StepMetrics, TrainState, init_state, train_step

MODEL = replace(gemma3_270m(), vocab=32_768)
TRAIN = TrainConfig(seq_len=256, batch_rows=2, remat="full", optimizer=OptimizerConfig(warmup_steps=0))
LORA = LoraConfig(rank=16)
GIB = 2**30
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "bad_alloc", "MemoryError", "out of memory")
"""What XLA, C++, Python and LLVM say when they are given none."""


def predicted(method: str) -> StepMemory:
    """What a step of "lora" or "full" will hold, in closed form."""
    if method == "lora":
        return step_memory(MODEL, LORA, (1, 1, 1), TRAIN, "bfloat16")
    return full_memory(MODEL, TRAIN, "bfloat16")


def step_within(method: str, gib: float) -> str:
    """Run a step of "lora" or "full" in a process of its own that may take `gib` more: "fits" or "out of memory"."""
    command = [sys.executable, "-m", __spec__.name, method, str(gib)]
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return "fits"
    if not any(words in result.stderr for words in _NO_MEMORY):
        told = f"the process ended with {result.returncode}, and not for want of memory: {result.stderr[-2000:]}"
        raise RuntimeError(told)
    return "out of memory"


def make_state(method: str) -> tuple[Any, TrainState]:
    """The frozen base (full fine-tuning has none) and what is trained."""
    base = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), abstract_base(MODEL, "bfloat16"))
    if method == "full":
        return None, init_state(masters_of(base), make_optimizer(TRAIN.optimizer, 10))
    return base, init_state(init_lora(LORA, MODEL, jax.random.key(0)), make_optimizer(TRAIN.optimizer, 10))


def step(method: str, base: Any, state: TrainState) -> tuple[TrainState, StepMetrics]:
    """One update of `state` from a batch."""
    optimizer = make_optimizer(TRAIN.optimizer, 10)
    ids = jnp.ones((TRAIN.batch_rows, TRAIN.seq_len), jnp.int32)
    batch = Batch(ids, ids, ids.astype(jnp.float32), jnp.cumsum(ids, axis=1) - 1, ids)
    if method == "full":
        return full_step(state, batch, optimizer=optimizer, remat=TRAIN.remat)
    parts = jax.tree.map(lambda x: x[None], batch)
    return train_step(base, state, parts, jax.random.key(0), method=LORA, optimizer=optimizer, remat=TRAIN.remat)


def held() -> int:
    """Bytes of data of this process, as the limit counts them."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    import resource

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # the stack of every thread would count, too
    # Compiled before memory is scarce: XLA tells when a buffer cannot be had, and a compiler that gets none just dies.
    made = jax.jit(make_state, static_argnums=0).lower(sys.argv[1]).compile()
    updated = jax.jit(step, static_argnums=0, donate_argnums=2).lower(sys.argv[1], *made.out_info).compile()
    limit = held() + int(float(sys.argv[2]) * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    jax.block_until_ready(updated(*made()))
