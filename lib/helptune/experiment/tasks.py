"""Several adapters in one run: what each was trained on, whether it helps with its own task, and with the others'."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from helptune.adapt.adapters import Adapters
from helptune.adapt.artifact import AdapterCard
from helptune.adapt.collection import check_name
from helptune.data.conversation import Conversation, load_curated, read_conversations
from helptune.data.packing import tokenize
from helptune.errors import DataError
from helptune.experiment.config import RunConfig
from helptune.experiment.devices import this_machine
from helptune.experiment.finetune import require_memory, with_fingerprints
from helptune.experiment.models import Source
from helptune.experiment.runs import open_run
from helptune.experiment.split import HELD_BACK, held_back, kept_for_training
from helptune.files import write_text
from helptune.gemma.base import Base
from helptune.lock import working_alone
from helptune.train.fit import eval_batches, evaluate_loss
from helptune.train.stop import withdraw_stop
from helptune.train.tasks import Task, fit_tasks

SUMMARY = "tasks.json"


def read_tasks(files: Mapping[str, str]) -> dict[str, list[Conversation]]:
    """Name -> conversations of its file of JSON lines; without a file, the curated ones of the category of that name.

    Raises DataError for a malformed file, a category that does not exist, and too few conversations to hold some back;
    AdapterError for a name that cannot be an adapter's.
    """
    curated = load_curated("train")
    found = {}
    for name, file in files.items():
        check_name(name)
        found[name] = list(read_conversations(file)) if file else [c for c in curated if c.category == name]
        if not file and not found[name]:
            known = ", ".join(dict.fromkeys(c.category for c in curated if c.category))
            raise DataError(
                f"task {name!r} names no file and is no curated category: give {name}=FILE, or one of {known}"
            )
        if len(found[name]) < HELD_BACK:
            raise DataError(f"task {name!r}: {len(found[name])} conversations; at least {HELD_BACK} are needed")
    return found


def finetune_tasks(config: RunConfig, files: Mapping[str, str], run: Path) -> dict[str, Any]:
    """Train an adapter for each task in one run, resumable, and measure each on every task; returns `tasks.json`.

    Raises what `read_tasks` and `fit_tasks` raise, and SettingError where memory is too small for all of them at once.
    """
    data = read_tasks(files)
    source = Source(config.model, config.checkpoint)
    source.check()
    model, tokenizer = source.config(), source.tokenizer(config.precision)
    require_memory(model, _as_one(config, len(data)), (1, 1, 1), this_machine())
    tasks = {}
    for name, conversations in data.items():
        examples = tokenize(conversations, tokenizer, model, config.train.seq_len)
        tasks[name] = Task(kept_for_training(examples), held_back(examples))
    config = replace(config, tasks=tuple(f"{name}={file}" for name, file in files.items()))
    config = with_fingerprints(config, [c for part in data.values() for c in part], [], source.sha256())
    base = source.base(config.precision)
    open_run(run, config)
    with working_alone(run):
        withdraw_stop(run)
        trained = fit_tasks(base, tasks, config.lora, config.train, run, config.base_sha256)
        summary = _measured(base, tasks, trained, config)
        write_text(run / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def _as_one(config: RunConfig, count: int) -> RunConfig:
    """One adapter of so many times the rank, on so many times the rows: it takes the memory of all of them."""
    train = replace(config.train, batch_rows=count * config.train.batch_rows)
    return replace(config, train=train, lora=replace(config.lora, rank=count * config.lora.rank))


def _measured(
    base: Base, tasks: Mapping[str, Task], trained: Mapping[str, tuple[Adapters, AdapterCard]], config: RunConfig
) -> dict[str, Any]:
    """Held-back loss, nats per token: of the base and of each adapter, on each task."""
    batches = {name: eval_batches(task.dev, config.train) for name, task in tasks.items()}
    losses: dict[str, dict[str, float]] = {"base": {}}
    for adapter, (adapters, card) in trained.items():
        losses[adapter] = {name: evaluate_loss(base, adapters, card.method, batches[name]) for name in tasks}
    for name, (adapters, card) in trained.items():
        # An adapter that adds nothing is the base.
        nothing = {site: {**pair, "b": 0 * pair["b"]} for site, pair in adapters.items()}
        losses["base"][name] = evaluate_loss(base, nothing, card.method, batches[name])
    counts = {name: {"train": len(task.train), "held_back": len(task.dev)} for name, task in tasks.items()}
    return {"conversations": counts, "steps": {n: card.step for n, (_, card) in trained.items()}, "losses": losses}


def show(summary: Mapping[str, Any], console: Console) -> None:
    """The table in a terminal: a row each model, a column each task, the lowest of a column in bold."""
    losses = summary["losses"]
    table = Table("held-back loss, nats per token", title="Rows: the adapter used. Columns: the task it is used on")
    tasks = list(summary["conversations"])
    for name in tasks:
        table.add_column(name, justify="right")
    for model, row in losses.items():
        best = {name: min(losses[m][name] for m in losses) for name in tasks}
        cells = [f"[bold]{row[n]:.3f}[/bold]" if row[n] == best[n] else f"{row[n]:.3f}" for n in tasks]
        table.add_row(model, *cells)
    console.print(table)
