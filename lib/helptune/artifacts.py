"""The verbs that pass adapters on: out to Hugging Face PEFT and vLLM, in from PEFT, and merged into their base."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from helptune.options import AsJson, Checkpoint, Model, console, field

_Folder = Annotated[Path, typer.Option("--adapter", help="Adapter directory, such as runs/first/adapter.")]
_Out = Annotated[Path, typer.Option("--out", help="A new folder; it appears when it is complete.")]


def add_to(app: typer.Typer) -> None:
    """`import` is a word of Python's own, so the names of the verbs are given here."""
    app.command("export")(export)
    app.command("merge")(merge)
    app.command("import")(import_)


def export(adapter: _Folder, out: _Out, model: Model = None, checkpoint: Checkpoint = "") -> None:
    """Write a LoRA adapter in the format of Hugging Face PEFT, checked against the rules of vLLM.

    Example: [bold]helptune export --adapter runs/first/adapter --out exported/helpful[/bold]
    """
    from helptune.experiment.exporting import export_adapter
    from helptune.experiment.models import source_of

    serve = export_adapter(source_of(model, checkpoint), adapter, out)
    print(f"{out}: an adapter for PEFT and vLLM\n{serve}")


def merge(
    adapter: _Folder,
    out: _Out,
    dtype: Annotated[str, field("Of the merged weights: bfloat16 or float32.", "bfloat16", "--dtype")] = "bfloat16",
    base: Annotated[str, field("Precision of the base, that of the training.", "bfloat16", "--base")] = "bfloat16",
    model: Model = None,
    checkpoint: Checkpoint = "",
    as_json: AsJson = False,
) -> None:
    """Merge a LoRA adapter into its base: a folder for transformers, vLLM and --checkpoint, and what merging cost.

    Example: [bold]helptune merge --adapter runs/first/adapter --out exported/helpful-270m[/bold]
    """
    from helptune.adapt.certificate import show
    from helptune.experiment.exporting import merge_adapter
    from helptune.experiment.models import source_of

    certificate = merge_adapter(source_of(model, checkpoint), adapter, out, base, dtype)
    if as_json:
        print(json.dumps(asdict(certificate)))
    else:
        show(certificate, console())
        print(f"{out}: the merged model")


def import_(
    peft: Annotated[Path, typer.Option(help="A folder that PEFT has saved.")],
    out: _Out,
    model: Model = None,
    checkpoint: Checkpoint = "",
) -> None:
    """Make an adapter directory of a PEFT folder. It will belong to the base named here, and is checked against it.

    Example: [bold]helptune import --peft downloaded/adapter --out adapters/imported[/bold]
    """
    from helptune.experiment.exporting import import_adapter
    from helptune.experiment.models import source_of

    card = import_adapter(source_of(model, checkpoint), peft, out)
    lora = asdict(card.method)
    print(f"{out}: rank {lora['rank']}, alpha {lora['alpha']:g}, on {', '.join(lora['sites'])}, for {card.base}")
