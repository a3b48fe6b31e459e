"""Real training steps at the full width of a model whose weights are not here: random ones take their place, made in
the quantized form itself, so that 7 billion parameters fit a machine with 16 GiB. Fewer layers cost less, and since all
layers are alike two depths tell what the full depth takes.
"""

import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from helptune.adapt.lora import LoraConfig
from helptune.errors import RunError, SettingError
from helptune.experiment.steps import random_batch, timed_steps
from helptune.gemma.base import Base, block_shapes
from helptune.gemma.config import GemmaConfig
from helptune.gemma.quantize import Quantized
from helptune.gemma.sharding import abstract_base
from helptune.train.optimizer import OptimizerConfig
from helptune.train.peak import peak_rss_gib

ROWS, TOKENS, STEPS = 1, 64, 3
_CODE_RMS = {8: 73.9, 4: 4.61}  # root mean square of evenly spread codes of 8 and 4 bits


def rehearse(config: GemmaConfig, lora: LoraConfig, precision: str, layers: Sequence[int]) -> dict[str, Any]:
    """STEPS optimizer steps of ROWS x TOKENS tokens with random weights on this machine's CPU, at each depth.

    Every depth runs in a process of its own, so that its peak memory is its own. Two depths or more give `full_depth`:
    seconds of a step and GiB, extrapolated from the smallest and the largest. Raises SettingError for a depth the model
    does not have, RunError when such a process is killed.
    """
    if not layers or not all(1 <= n <= config.layers for n in layers) or len(set(layers)) < len(layers):
        raise SettingError(f"layers {list(layers)}: each must be from 1 to {config.layers}, and appear once")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as pool:
        try:
            runs = [pool.submit(run_steps, replace(config, layers=n), lora, precision).result() for n in sorted(layers)]
        except BrokenProcessPool as error:
            raise RunError(
                f"the process that ran layers of {list(layers)} was killed, most likely for lack of memory: run fewer "
                "layers, which are extrapolated, or a base of fewer bits"
            ) from error
    found = {"label": "executed with random weights", "rows": ROWS, "seq": TOKENS, "base": precision, "runs": runs}
    if len(runs) == 1:
        return found
    few, many = runs[0], runs[-1]
    share = (config.layers - few["layers"]) / (many["layers"] - few["layers"])
    full = {name: round(few[name] + share * (many[name] - few[name]), 2) for name in ("peak_gib", "step_seconds")}
    return found | {"full_depth": {"layers": config.layers, **full}}


def run_steps(config: GemmaConfig, lora: LoraConfig, precision: str) -> dict[str, Any]:
    """Loss of each step, seconds (median after the first step, which compiles) and peak memory of this process."""
    base, batch = random_base(config, precision), random_batch(config.vocab, ROWS, TOKENS)
    losses, seconds = timed_steps(base, lora, OptimizerConfig(warmup_steps=0), batch, STEPS, remat="full")
    return {
        "layers": config.layers,
        "losses": losses,
        "first_step_seconds": round(seconds[0], 2),
        "step_seconds": round(statistics.median(seconds[1:]), 3),
        "peak_gib": round(peak_rss_gib(), 3),
    }


def random_base(config: GemmaConfig, precision: str, seed: int = 0) -> Base:
    """Random weights of about the size that initialization gives, norms at one. Quantized leaves are random codes."""
    shapes, rng = abstract_base(config, precision), np.random.default_rng(seed)
    embedding = _random(rng, shapes.embedding, config.width**-0.5)
    blocks = {
        name: _random(rng, shapes.blocks[name], shape[0] ** -0.5) if len(shape) == 2 else _zeros(shapes.blocks[name])
        for name, shape in sorted(block_shapes(config).items(), key=lambda item: -np.prod(item[1]))
    }
    return Base(embedding, blocks, _zeros(shapes.final_norm), config)


def _random(rng: np.random.Generator, leaf: Any, deviation: float) -> Any:
    if isinstance(leaf, Quantized):
        scales = jnp.full(leaf.scales.shape, deviation / _CODE_RMS[leaf.bits], leaf.scales.dtype)
        return Quantized(_random_bytes(rng, leaf.codes.shape, leaf.codes.dtype), scales, leaf.bits)
    return _scaled(_random_bytes(rng, leaf.shape, np.int8), deviation / _CODE_RMS[8], dtype=str(leaf.dtype))


def _random_bytes(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.device_put(np.frombuffer(rng.bytes(int(np.prod(shape))), dtype).reshape(shape))


def _zeros(leaf: Any) -> jax.Array:
    return jnp.zeros(leaf.shape, leaf.dtype)


@jax.jit(static_argnames="dtype")
def _scaled(codes, scale, *, dtype):
    return (codes.astype(jnp.float32) * scale).astype(dtype)
