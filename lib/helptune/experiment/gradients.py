"""Do the categories of the training conversations pull the adapter the same way, or against each other?

The cosine between tasks' gradients as in Yu et al. 2020 (PCGrad, arXiv:2001.06782), at the adapter a run has kept; what
the gradients looked like on the way stands in its `metrics.jsonl`.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from helptune.adapt.adapters import AdapterConfig, Adapters
from helptune.adapt.artifact import load_adapter
from helptune.data.packing import Batch, Example, collate, tokenize
from helptune.errors import DataError, SettingError
from helptune.experiment.config import read_config
from helptune.experiment.models import Source
from helptune.experiment.split import kept_for_training, read_data
from helptune.gemma.base import Base
from helptune.gemma.sharding import row_parts
from helptune.train.config import TrainConfig
from helptune.train.gradients import task_gradients

TASKS = 16
"""Categories that are compared, the most frequent ones: each costs a third of an optimizer step for every row."""


def category_gradients(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    train: TrainConfig,
    examples: Sequence[Example],
    categories: Sequence[str],
    rows: int = 1,
    mesh: Mesh | None = None,
) -> dict[str, Any] | None:
    """What `task_gradients` gives for the categories of `examples`, and the supervised `tokens` that each was measured
    on: its first ones, as many as fit into `rows` rows (on a mesh, rows a device). None for fewer than two categories.
    """
    names = [name for name, _ in Counter(categories).most_common(TASKS)]
    if len(names) < 2:
        return None
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        tasks = {}
        for name in sorted(names, key=list(categories).index):
            members = [e for e, category in zip(examples, categories, strict=True) if category == name]
            tasks[name or "none"] = _first_rows(members, train.seq_len, rows)
        found = task_gradients(base, adapters, method, tasks, remat=train.remat)
    return {**found, "tokens": [int(sum(b.weights.sum() for b in batches)) for batches in tasks.values()]}


def gradients_of_run(run: Path, adapter: Path | None, rows: int) -> dict[str, Any]:
    """`category_gradients` of a run's training conversations, at its own adapter or another one of the same base.

    Raises RunError for a folder that holds no run, SettingError for `rows` below 1, DataError for conversations of a
    single category, AdapterError for an adapter of another base.
    """
    if rows < 1:
        raise SettingError(f"--rows {rows}: must be at least 1")
    config = read_config(run / "config.json")
    source = Source(config.model, config.checkpoint)
    base = source.base(config.precision)
    adapters, card = load_adapter(adapter or run / "adapter", base.config, source.sha256())
    conversations = kept_for_training(read_data(config)[0])
    examples = tokenize(conversations, source.tokenizer(config.precision), base.config, config.train.seq_len)
    categories = [c.category for c in conversations]
    found = category_gradients(base, adapters, card.method, config.train, examples, categories, rows)
    if found is None:
        raise DataError(
            f"{config.train_file or 'curated'}: the training conversations name fewer than two categories: nothing to "
            'compare; give each a "category"'
        )
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """One row a category: its cosine with every other one, and between the halves of its own conversations."""
    table = Table(title="Cosine between the gradients of categories", title_justify="left")
    for name in ("", *found["tasks"], "own halves", "tokens"):
        table.add_column(name, justify="right" if name else "left")
    for i, name in enumerate(found["tasks"]):
        row = [*found["cosines"][i], found["halves"][i]]
        table.add_row(name, *("" if c is None else f"{c:.2f}" for c in row), str(found["tokens"][i]))
    console.print(table)


def _first_rows(examples: Sequence[Example], seq_len: int, count: int) -> list[Batch]:
    """The first examples, in order, in at most `count` batches with one row for each part of the mesh."""
    parts = row_parts()
    rows: list[list[int]] = [[]]
    for number, example in enumerate(examples):
        if sum(len(examples[n]) for n in rows[-1]) + len(example) > seq_len:
            if len(rows) == count * parts:
                break
            rows.append([])
        rows[-1].append(number)
    return [collate(examples, rows[i : i + parts], seq_len, parts) for i in range(0, len(rows), parts)]
