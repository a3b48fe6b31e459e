"""Training on many devices: a model that eight devices can share, and scripts run in processes of their own.

The number of devices is fixed when JAX starts, so a test starts this file, which splits the CPU into virtual devices,
runs the function it is told, and prints what the test wants to know as one line of JSON.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from train_runs import SHA, examples

from helptune.adapt.adapters import init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.data.packing import Batch
from helptune.errors import HelptuneError, Interrupted
from helptune.gemma.base import Base, init_base
from helptune.gemma.config import tiny
from helptune.gemma.quantize import quantize_base
from helptune.gemma.sharding import ROWS, VOCABULARY, make_mesh, place_rows, replicate, shard_base
from helptune.train import fit as loop
from helptune.train import loss
from helptune.train.config import TrainConfig
from helptune.train.distributed import initialize
from helptune.train.fit import FitResult, fit
from helptune.train.optimizer import OptimizerConfig
from helptune.train.step import gradients

MESHES = ((8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2))
LOSS_SHAPE = (8, 64, 8192, 32)  # B T V D
LORA = LoraConfig(rank=4, alpha=8.0, dropout=0.1, sites=("q", "down"))
CONFIG = TrainConfig(
    seq_len=24, batch_rows=16, accumulate=2, epochs=9, max_steps=6, eval_every=2, patience=9,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2),
)  # fmt: skip
TRAIN, DEV = examples(64, seed=1), examples(8, seed=2)


@cache
def base() -> Base:
    """Eight heads for eight devices along `tensor`, and two key heads, which they cannot share."""
    return init_base(replace(tiny(3), heads=8), jax.random.key(0))


def start(*arguments: object, devices: int = 8, **environment: str) -> subprocess.Popen:
    """A process with so many devices that runs the function of this file named first."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"} | environment
    env["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    """What it printed. Whatever happens, the process has ended."""
    try:
        out, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def train(run: str | Path, mesh: tuple[int, ...] | None = None) -> FitResult:
    """A run on a mesh, without one on the first device."""
    cut = None if mesh is None else make_mesh(mesh)
    return fit(base() if cut is None else shard_base(base(), cut), TRAIN, DEV, LORA, CONFIG, Path(run), SHA, cut)


def largest_array_of_the_loss() -> dict:
    """Elements of the largest array that a device holds while it computes the loss and its gradient on a mesh."""
    _tiny_chunks()
    mesh, (B, T, V, D) = make_mesh((2, 2, 2)), LOSS_SHAPE

    def described(shape, dtype, *spec):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*spec)))

    hidden, embedding = described((B, T, D), "float32", ROWS), described((V, D), "float32", VOCABULARY)
    targets, weights = described((B, T), "int32", ROWS), described((B, T), "float32", ROWS)
    with jax.set_mesh(mesh):
        program = jax.jit(jax.value_and_grad(loss.chunked_nll)).lower(hidden, embedding, targets, weights).compile()
    shapes = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", program.as_text())
    return {"elements": max(math.prod(map(int, shape.split(","))) for shape in shapes)}


def same_gradients() -> dict:
    """How far loss, weight and gradients on a mesh are from those of one device."""
    # Several chunks of both sizes on a device, and a rest of the vocabulary.
    loss.POSITIONS, loss.REST, loss.VOCABULARY_BLOCK = 16, 8, 20
    lora, key, noise = replace(LORA, sites=LoraConfig().sites), jax.random.key(3), iter(range(99))
    adapters = jax.tree.map(
        lambda a: a + 0.1 * jax.random.normal(jax.random.key(next(noise)), a.shape),
        init_adapters(lora, base().config, key),
    )
    rows, compute = batch(), jax.jit(gradients, static_argnames=("method", "remat"))

    def compare(frozen: Base, shapes: tuple[tuple[int, ...], ...], remat: str = "none") -> dict:
        expected, found = compute(frozen, adapters, lora, rows, key), {}
        for shape in shapes:
            mesh = make_mesh(shape)
            whole = replicate((adapters, key), mesh)
            with jax.set_mesh(mesh):
                result = compute(shard_base(frozen, mesh), whole[0], lora, place_rows(rows, mesh), whole[1], remat)
            nll, weight, gradient = jax.tree.map(_distance, result, expected)
            found[str(shape)] = {
                "nll": nll, "weight": weight, "gradient": max(jax.tree.leaves(gradient)),
                "whole": all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(result)),
            }  # fmt: skip
        return found

    return {
        "float32": compare(base(), MESHES),
        "int8 with remat": compare(quantize_base(base(), "int8", group=4), MESHES[3:], remat="full"),
    }


def resumed_runs(folder: str) -> dict:
    """Runs stopped, and gone on with on the same mesh and on others, beside one that was not."""
    whole, same, moved = (Path(folder) / name for name in ("whole", "same", "moved"))
    train(whole, (1, 8, 1))
    _stopped_after(3, same, (1, 8, 1))
    train(same, (1, 8, 1))
    _stopped_after(2, moved, (1, 8, 1))
    _stopped_after(4, moved, (2, 2, 2))
    train(moved)
    return {}


def twice_the_same(folder: str) -> dict:
    """A run on one device and one on a mesh of eight."""
    train(f"{folder}/one")
    train(f"{folder}/mesh", (2, 2, 2))
    return {}


def one_of_many(run: str, stop_after: str = "") -> dict:
    """A process of a run on four devices; stopped as by Ctrl-C after a step when asked to."""
    initialize(heartbeat_seconds=10)
    if stop_after:
        _after_step(int(stop_after), lambda: signal.raise_signal(signal.SIGINT))
    result = train(run, (1, 4, 1))
    return {"best_loss": result.best_loss, "steps": result.steps, "process": jax.process_index()}


def _tiny_chunks() -> None:
    """Several chunks on a device, and a rest of its vocabulary."""
    loss.POSITIONS, loss.REST, loss.VOCABULARY_BLOCK = 16, 4, 20


def batch() -> Batch:
    """Two micro-batches of eight rows that hold very different numbers of supervised tokens, segments and padding."""
    rng, shape = np.random.default_rng(0), (2, 8, 24)
    tokens = rng.integers(1, base().config.vocab, shape).astype(np.int32)
    segments = np.broadcast_to(np.repeat([1, 2, 0], [10, 8, 6]), shape).astype(np.int32)
    positions = np.broadcast_to(np.concatenate([np.arange(10), np.arange(8), np.zeros(6)]), shape).astype(np.int32)
    supervised = (rng.random(shape) < np.linspace(0, 1, 8)[:, None]) & (segments > 0)
    weights = np.where(supervised, rng.choice([1.0, 0.5], shape), 0).astype(np.float32)
    return Batch(tokens, np.roll(tokens, -1, -1), weights, positions, segments)


def _distance(ours, theirs) -> float:
    """Largest difference, relative to the largest number."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _stopped_after(step: int, run: Path, mesh: tuple[int, ...]) -> None:
    _after_step(step, lambda: signal.raise_signal(signal.SIGINT))
    try:
        train(run, mesh)
    except Interrupted:
        return
    raise AssertionError(f"{run} was not stopped")


def _after_step(step, action) -> None:
    write = loop.log

    def log(path, record):
        write(path, record)
        if record["step"] == step and "loss" in record:
            loop.log = write
            action()

    loop.log = log


if __name__ == "__main__":
    try:
        print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
    except HelptuneError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(130 if isinstance(error, Interrupted) else 1)
