"""What LoRA saves and what it does not: the same optimizer step with LoRA and with every weight trained, side by side.

Each figure says how it is known. Measured: by running it. Counted: the values or bytes of the arrays that are made, or
of their shapes. Computed: a closed form, or XLA's plan. Below a tenth is the promise often made for LoRA, so each row
says whether it is kept.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import AdapterCard, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.errors import HelptuneError, Interrupted, RunError, SettingError
from helptune.experiment.environment import environment
from helptune.experiment.full import full_flops, full_memory, full_step, masters_of
from helptune.experiment.models import Source
from helptune.experiment.presets import named_preset
from helptune.experiment.steps import random_batch
from helptune.gemma.base import Base
from helptune.gemma.checkpoints import DTYPES, save_base
from helptune.gemma.config import GemmaConfig, gemma3_270m, named
from helptune.gemma.quantize import base_bytes
from helptune.gemma.sharding import abstract_base
from helptune.train.checkpoint import Checkpoints, Progress
from helptune.train.config import TrainConfig
from helptune.train.flops import step_flops
from helptune.train.memory import step_memory
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.peak import peak_rss_gib
from helptune.train.step import TrainState, init_state, train_step

METHODS = ("lora", "full")
TENTH = 0.1
LARGE = "gemma-7b-it"
LARGE_ROWS = 8


@dataclass(frozen=True)
class Cost:
    """One row. `unit` is parameters, bytes, seconds or FLOP; `how` is measured, counted or computed."""

    what: str
    unit: str
    lora: float
    full: float
    how: str

    @property
    def ratio(self) -> float:
        return self.lora / self.full

    @property
    def below_a_tenth(self) -> bool:
        return self.ratio < TENTH


@dataclass(frozen=True)
class Asked:
    """A step of `batch` x `seq_len` random tokens, half of them supervised; so many of them after a first one."""

    batch: int = 4
    seq_len: int = 256
    steps: int = 10
    rank: int = 16
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        if min(self.batch, self.seq_len, self.steps) < 1:
            raise SettingError(
                f"batch={self.batch}, seq_len={self.seq_len}, steps={self.steps}: all must be at least 1"
            )
        if self.precision not in DTYPES:
            raise SettingError(
                f"precision {self.precision!r}: full fine-tuning changes the weights themselves, so they are "
                f"{' or '.join(DTYPES)} here"
            )
        LoraConfig(rank=self.rank)  # checks it

    @property
    def lora(self) -> LoraConfig:
        return LoraConfig(rank=self.rank, alpha=2.0 * self.rank)


def compare(asked: Asked) -> dict[str, Any]:
    """Both tables, ready for JSON: measured on the embedded model here, computed for Gemma 7B."""
    lora, full = (_in_a_process_of_its_own(method, asked) for method in METHODS)
    return {
        "environment": environment(),
        "asked": asdict(asked),
        "measured": [_row(cost) for cost in measured_costs(lora, full, gemma3_270m(), asked)],
        "computed": [_row(cost) for cost in computed_costs()],
    }


def _row(cost: Cost) -> dict[str, Any]:
    return {**asdict(cost), "ratio": cost.ratio, "below_a_tenth": cost.below_a_tenth}


def _in_a_process_of_its_own(method: str, asked: Asked) -> dict[str, float]:
    """`measure` where nothing ran before, so that the peak memory is its own."""
    with tempfile.TemporaryDirectory(prefix="helptune-cost-") as folder:
        command = [sys.executable, "-m", __name__, method, json.dumps(asdict(asked)), folder]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        except KeyboardInterrupt as stop:
            raise Interrupted("stopped; nothing is kept of a measurement that is not complete") from stop
    if done.returncode < 0:
        raise RunError(
            f"the process that measured {method} was killed (signal {-done.returncode}), most likely for lack of "
            "memory: full fine-tuning of the 270M model needs about 6 GiB; use a smaller --batch or --seq-len"
        )
    if done.returncode:
        raise RunError(f"the process that measured {method} ended with an error, shown above")
    return json.loads(done.stdout.splitlines()[-1])


def measure(method: str, asked: Asked, folder: Path, load: Callable[[], Base]) -> dict[str, float]:
    """Figures of one method: run the steps, then write a checkpoint and what would be published into `folder`.

    `peak` is that of this process when the last step is done, loading and compiling included, writing not.
    """
    config, state, step, artifact = (_lora if method == "lora" else _full)(asked, load)
    seconds = []
    for _ in tqdm(range(asked.steps + 1), desc=f"{config.name}, {method}", unit="step"):
        started = time.perf_counter()
        state, metrics = jax.block_until_ready(step(state))
        seconds.append(time.perf_counter() - started)
    peak, plan = peak_rss_gib() * 2**30, step.memory_analysis()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(state, Progress())
    checkpoints.close()
    artifact(state, folder / "artifact")
    return {
        **counts(state),
        "step_seconds": statistics.median(seconds[1:]),
        "peak": peak,
        "arguments": plan.argument_size_in_bytes,
        "temporaries": plan.temp_size_in_bytes,
        "checkpoint": _folder_bytes(folder / "checkpoints"),
        "artifact": _folder_bytes(folder / "artifact"),
        "last_loss": float(metrics.loss),
    }


@dataclass(frozen=True)
class Step:
    """A compiled step and its inputs beside the state."""

    compiled: Any
    before: tuple[Any, ...]
    after: tuple[Any, ...]

    def __call__(self, state: TrainState) -> Any:
        return self.compiled(*self.before, state, *self.after)

    def memory_analysis(self) -> Any:
        return self.compiled.memory_analysis()


def _lora(asked: Asked, load: Callable[[], Base]):
    base, key = load(), jax.random.key(0)
    lora, optimizer = asked.lora, make_optimizer(OptimizerConfig(), asked.steps + 1)
    state = init_state(init_adapters(lora, base.config, key), optimizer)
    batch = random_batch(base.config.vocab, asked.batch, asked.seq_len, prompt=asked.seq_len // 2)
    compiled = train_step.lower(base, state, batch, key, method=lora, optimizer=optimizer).compile()

    def artifact(state: TrainState, folder: Path) -> None:
        save_adapter(folder, state.adapters, AdapterCard(base.config.name, "0" * 64, lora))

    return base.config, state, Step(compiled, (base,), (batch, key)), artifact


def _full(asked: Asked, load: Callable[[], Base]):
    optimizer = make_optimizer(OptimizerConfig(), asked.steps + 1)
    masters = masters_of(load())
    config = masters.config
    state: Any = init_state(masters, optimizer)
    batch = random_batch(config.vocab, asked.batch, asked.seq_len, prompt=asked.seq_len // 2)
    whole = jax.tree.map(lambda x: x[0], batch)
    compiled = full_step.lower(state, whole, optimizer=optimizer, dtype=asked.precision).compile()

    def artifact(state: Any, folder: Path) -> None:
        folder.mkdir()
        save_base(jax.tree.map(lambda x: x.astype(asked.precision), state.adapters), folder / "model.safetensors")

    return config, state, Step(compiled, (), (whole,)), artifact


def counts(state: Any) -> dict[str, int]:
    """What there is to train in a state, real or of shapes alone. The gradient has the shapes and dtypes of that."""
    trained = sum(leaf.size for leaf in jax.tree.leaves(state.adapters))
    return {
        "trained": trained,
        "gradient": base_bytes(state.adapters),
        "optimizer": base_bytes(state.opt_state),
    }


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured_costs(lora: dict[str, float], full: dict[str, float], config: GemmaConfig, asked: Asked) -> list[Cost]:
    """The rows of two measurements."""
    train = TrainConfig(batch_rows=asked.batch, seq_len=asked.seq_len)
    supervised = 1 - asked.seq_len // 2 / asked.seq_len
    flops = step_flops(config, asked.lora, train, supervised), full_flops(config, train, supervised)
    return [
        Cost("trained parameters", "parameters", lora["trained"], full["trained"], "counted"),
        Cost("gradients", "bytes", lora["gradient"], full["gradient"], "counted"),
        Cost("optimizer state", "bytes", lora["optimizer"], full["optimizer"], "counted"),
        Cost("checkpoint on disk", "bytes", lora["checkpoint"], full["checkpoint"], "measured"),
        Cost("adapter, model on disk", "bytes", lora["artifact"], full["artifact"], "measured"),
        Cost("peak memory of the process", "bytes", lora["peak"], full["peak"], "measured"),
        Cost("XLA's plan: arguments", "bytes", lora["arguments"], full["arguments"], "computed"),
        Cost("XLA's plan: temporaries", "bytes", lora["temporaries"], full["temporaries"], "computed"),
        Cost("a step, median", "seconds", lora["step_seconds"], full["step_seconds"], "measured"),
        Cost("arithmetic of a step", "FLOP", *flops, "computed"),
    ]


def computed_costs() -> list[Cost]:
    """Gemma 7B from shapes alone: the preset's step of LARGE_ROWS rows at once, all of it on one device."""
    preset, config = named_preset(LARGE), named(LARGE)
    train, lora = replace(preset.train, batch_rows=LARGE_ROWS, accumulate=1), preset.lora
    optimizer, tokens = make_optimizer(OptimizerConfig(), 1), LARGE_ROWS * preset.train.seq_len
    key = jax.random.key(0)
    small: Any = jax.eval_shape(lambda: init_state(init_adapters(lora, config, key), optimizer))
    large: Any = jax.eval_shape(partial(init_state, optimizer=optimizer), abstract_base(config, "float32"))
    a, b = counts(small), counts(large)
    memory = partial(step_memory, config, lora, (1, 1, 1), train)
    whole = full_memory(config, train, "bfloat16").total
    once = replace(train, remat="none")
    return [
        Cost("trained parameters", "parameters", a["trained"], b["trained"], "counted"),
        Cost("gradients", "bytes", a["gradient"], b["gradient"], "counted"),
        Cost("optimizer state", "bytes", a["optimizer"], b["optimizer"], "counted"),
        Cost("checkpoint", "bytes", base_bytes(small), base_bytes(large), "counted"),
        Cost("adapter, model in bfloat16", "bytes", 4 * a["trained"], 2 * b["trained"], "counted"),
        Cost("memory of a step, bfloat16 base", "bytes", memory("bfloat16").total, whole, "computed"),
        Cost("memory of a step, int8 base for LoRA", "bytes", memory("int8").total, whole, "computed"),
        Cost("memory of a step, int4 base for LoRA", "bytes", memory("int4").total, whole, "computed"),
        Cost("arithmetic a token", "FLOP", step_flops(config, lora, once) / tokens, full_flops(config, once) / tokens,
             "computed"),
        Cost("arithmetic a token, with remat", "FLOP", step_flops(config, lora, train) / tokens,
             full_flops(config, train) / tokens, "computed"),
    ]  # fmt: skip


def cells(cost: Cost) -> tuple[str, ...]:
    """A row as text: what, LoRA, full, ratio, below a tenth, how."""
    below = "yes" if cost.below_a_tenth else "no"
    return (cost.what, _text(cost.lora, cost.unit), _text(cost.full, cost.unit), f"{cost.ratio:.2%}", below, cost.how)


def _text(value: float, unit: str) -> str:
    match unit:
        case "bytes":
            return f"{value / 2**30:,.2f} GiB" if value >= 2**30 else f"{value / 2**20:,.1f} MiB"
        case "seconds":
            return f"{value:.2f} s"
        case "FLOP":
            return f"{value / 1e9:,.1f} GFLOP"
        case _:
            return f"{value:,.0f}"


def show(found: dict[str, Any], console: Console) -> None:
    """Both tables in a terminal."""
    asked = found["asked"]
    measured = (
        f"{gemma3_270m().name} here: {asked['batch']} x {asked['seq_len']} tokens, half supervised, "
        f"{asked['precision']}, rank {asked['rank']}"
    )
    computed = f"{LARGE}, from shapes: {LARGE_ROWS} x {named_preset(LARGE).train.seq_len} tokens at once, one device"
    for title, name in ((measured, "measured"), (computed, "computed")):
        console.print(_table(title, found[name]))


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for name in ("", "LoRA", "full", "ratio", "below 10%", "how"):
        table.add_column(name, justify="right" if name in ("LoRA", "full", "ratio") else "left")
    for row in rows:
        table.add_row(*cells(Cost(*(row[name] for name in ("what", "unit", "lora", "full", "how")))))
    return table


if __name__ == "__main__":
    method, asked, folder = sys.argv[1], Asked(**json.loads(sys.argv[2])), Path(sys.argv[3])
    try:
        print(json.dumps(measure(method, asked, folder, lambda: Source().base(asked.precision))))
    except HelptuneError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
