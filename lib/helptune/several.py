"""The verbs about several adapters: list them, combine them, train them together."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from helptune.errors import SettingError
from helptune.options import EMBEDDED, AsJson, Checkpoint, Model, RunDir, absolute, console, field, precision_option


def adapters(
    folder: Annotated[Path, typer.Argument(help="A directory of named adapters.")],
    as_json: AsJson = False,
) -> None:
    """What is in a directory of adapters: names, kinds, bases, losses.

    Example: [bold]helptune adapters runs/tasks/adapters[/bold]
    """
    from rich.table import Table
    from rich.text import Text

    from helptune.adapt.collection import cards
    from helptune.text import printable

    found = cards(folder)
    if as_json:
        print(json.dumps({name: {**vars(card), "method": asdict(card.method)} for name, card in found.items()}))
        return
    table = Table("name", "adapter", "base", "step", "held-back loss")
    for name, card in found.items():
        loss = "" if card.eval_loss is None else f"{card.eval_loss:.3f}"
        method = ", ".join(f"{key} {value}" for key, value in asdict(card.method).items() if key != "sites")
        table.add_row(*(Text(printable(cell)) for cell in (name, method, card.base, str(card.step), loss)))
    console().print(table)


def combine(
    parts: Annotated[list[str], typer.Argument(help="Adapter directories, each with a weight: DIR=0.5; else 1.")],
    out: Annotated[Path, typer.Option(help="Where the combined adapter goes.")],
    rank: Annotated[int, typer.Option(help="Cut it to this rank; 0 keeps the exact sum.")] = 0,
    model: Model = None,
    checkpoint: Checkpoint = "",
) -> None:
    """One adapter out of several: the weighted sum of what they add to the base.

    Example: [bold]helptune combine runs/tasks/adapters/plan=0.7 runs/tasks/adapters/rewrite=0.3 --out runs/both[/bold]
    """
    from dataclasses import replace

    from helptune.adapt import combine as combining
    from helptune.adapt.artifact import load_adapter, save_adapter
    from helptune.experiment.models import source_of
    from helptune.files import require_vacant, write_folder

    require_vacant(out)
    source, loaded = source_of(model, checkpoint), []
    for part in parts:
        folder, weight = _weighted(part)
        loaded.append((*load_adapter(folder, source.config(), source.sha256()), weight))
    combined, card = combining.combine(loaded)
    lost = 0.0
    if rank:
        combined, method, lost = combining.truncate(combined, card.method, rank)
        card = replace(card, method=method)
    write_folder(out, lambda folder: save_adapter(folder, combined, card))
    cut = f", {lost:.1%} of the sum's norm was cut away" if rank else ", the exact sum"
    print(f"{out}: one adapter of rank {asdict(card.method)['rank']} from {len(loaded)}{cut}")


def tasks(
    task: Annotated[list[str], typer.Option(help="NAME=FILE; or a curated category's NAME. Once for each adapter.")],
    run: RunDir = Path("runs/tasks"),
    model: Annotated[str | None, field("Or config.json: the shape that the checkpoint states.", "gemma-3-270m")] = None,
    checkpoint: Annotated[str | None, field("Folder of the weights.", "the embedded model")] = None,
    precision: Annotated[str | None, precision_option(show_default="bfloat16")] = None,
    rank: Annotated[int | None, field("LoRA rank.", "16")] = None,
    alpha: Annotated[float | None, field("LoRA alpha.", "32.0")] = None,
    learning_rate: Annotated[float | None, field("Peak learning rate.", "0.0003")] = None,
    epochs: Annotated[int | None, field("Passes over each task's data, at most.", "3")] = None,
    max_steps: Annotated[int | None, field("Steps, at most; 0: epochs decide.", "0")] = None,
    batch_rows: Annotated[int | None, field("Rows of each task in a step.", "4")] = None,
    seq_len: Annotated[int | None, field("Tokens in a row.", "256")] = None,
    eval_every: Annotated[int | None, field("Steps between measurements, each with a checkpoint.", "15")] = None,
    seed: Annotated[int | None, field("Decides initialization and data order.", "0")] = None,
    as_json: AsJson = False,
) -> None:
    """Train an adapter for each task at once, over one base, and measure each on every task.

    Example: [bold]helptune tasks --task plan --task rewrite --task terse=terse.jsonl --run runs/tasks[/bold]
    """
    from helptune.experiment.presets import named_preset, override
    from helptune.experiment.tasks import finetune_tasks, show

    config = override(
        named_preset(EMBEDDED), model=model, checkpoint=absolute(checkpoint), precision=precision, rank=rank,
        alpha=alpha, learning_rate=learning_rate, epochs=epochs, max_steps=max_steps, batch_rows=batch_rows,
        seq_len=seq_len, eval_every=eval_every, seed=seed,
    )  # fmt: skip
    files = {}
    for text in task:
        name, _, file = text.partition("=")
        if name in files:
            raise SettingError(f"--task {name!r} is given twice: each adapter needs a name of its own")
        files[name] = absolute(file) or ""
    summary = finetune_tasks(config, files, run)
    if as_json:
        print(json.dumps(summary))
    else:
        show(summary, console())
        print(f"helptune chat --adapter {run / 'adapters'}")


def _weighted(text: str) -> tuple[Path, float]:
    folder, equals, weight = text.rpartition("=")
    if not equals or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(folder), float(weight)
    except ValueError as error:
        raise SettingError(f"{text!r}: the weight after = must be a number, as in DIR=0.5") from error
