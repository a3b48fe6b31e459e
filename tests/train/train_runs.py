"""A training run small enough to repeat thirty times: 40 steps of a tiny model, a second once it is compiled.

Every run here has the same plan, so `train_step` is compiled once for them all, and dropout, so that every law of
stopping and going on is one of dropout too. Training texts use few different
words: the model learns which ones (the held-back loss falls), then learns the texts by heart (it rises again).
"""

import json
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import WEIGHTS
from helptune.adapt.lora import LoraConfig
from helptune.data.packing import Example
from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.train.checkpoint import Checkpoints
from helptune.train.config import TrainConfig
from helptune.train.fit import FitResult, fit
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import TrainState, init_state

COMPILE_FAST = {"xla_backend_optimization_level": 0}
"""For what a test runs once: the same program compiled in half the time, and slower."""

SHA = "5ba2" * 16
STEPS, EVAL_EVERY = 40, 8
MEASURED = ("seconds", "eval_seconds", "memory_gib")
"""What a log says that is never the same twice."""
LORA = LoraConfig(rank=4, alpha=8.0, dropout=0.05, sites=("q", "down"))
CONFIG = TrainConfig(
    seq_len=48, batch_rows=2, accumulate=2, epochs=20, eval_every=EVAL_EVERY, patience=9,
    optimizer=OptimizerConfig(learning_rate=5e-2, warmup_steps=2),
)  # fmt: skip


def examples(count: int, seed: int, words: int = 40) -> list[Example]:
    """Random texts of 8 to 23 tokens; all after a prompt of random length is supervised."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        length = int(rng.integers(8, 24))
        prompt = int(rng.integers(2, length - 2))
        ids = tuple(map(int, rng.integers(3, words, length)))
        made.append(Example(ids, tuple(place >= prompt for place in range(length))))
    return made


TRAIN, DEV = examples(10, seed=1), examples(4, seed=2)


@cache
def base():
    return init_base(tiny(3), jax.random.key(0))


def train(run: Path, dev=DEV, **changes) -> FitResult:
    return fit(base(), TRAIN, dev, LORA, replace(CONFIG, **changes), run, SHA)


def last_state(run: Path) -> TrainState:
    """The newest checkpoint: adapters, both moments of the optimizer, and the step."""
    adapters = init_adapters(LORA, base().config, jax.random.key(9))
    with closing(Checkpoints(run / "checkpoints")) as checkpoints:
        return checkpoints.restore(init_state(adapters, make_optimizer(CONFIG.optimizer, STEPS)))[0]


def metrics(run: Path) -> list[dict]:
    """All lines of the log without what is never the same twice."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


def eval_losses(run: Path) -> dict[int, float]:
    return {line["step"]: line["eval_loss"] for line in metrics(run) if "eval_loss" in line}


def same_bits(a, b) -> bool:
    """Two trees with the same structure, dtypes and bits."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs
    )


def assert_same_run(run: Path, whole: Path) -> None:
    """Both runs logged, learned and kept the same, bit for bit."""
    assert metrics(run) == metrics(whole)
    assert same_bits(last_state(run), last_state(whole))
    assert (run / "adapter" / WEIGHTS).read_bytes() == (whole / "adapter" / WEIGHTS).read_bytes()
