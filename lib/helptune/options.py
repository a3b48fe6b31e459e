"""What the options of several verbs have in common: their types, how their text is read, and where tables go."""

from pathlib import Path
from typing import Annotated, Any

import typer

from helptune.errors import SettingError

EMBEDDED = "gemma-3-270m"


def field(text: str, default: str, *names: str) -> Any:
    """An option that overrides a field of a preset: the default is the preset's, and only shown here."""
    return typer.Option(*names, help=text, show_default=default or False)


def precision_option(show_default: bool | str = True) -> Any:
    """The precision of the base; verbs get its full name. Which ones exist is checked later, where JAX is loaded."""
    return typer.Option(
        "--base", "--dtype", help="Precision of the base: bfloat16, float32, int8 or int4 (bf16 and f32 will do).",
        show_default=show_default, callback=lambda name: {"bf16": "bfloat16", "f32": "float32"}.get(name, name),
    )  # fmt: skip


RunDir = Annotated[Path, typer.Option("--run", help="The run's directory.")]
Adapter = Annotated[Path | None, typer.Option("--adapter", help="Adapter directory; without it, the base model.")]
Model = Annotated[str | None, field("gemma-7b-it, ...", "what the folder's config.json states")]
Checkpoint = Annotated[str, typer.Option(help="Folder of the weights; without it, the embedded Gemma 3 270M.")]
Precision = Annotated[str, precision_option()]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def absolute(file: str | None) -> str | None:
    return str(Path(file).resolve()) if file else file


def mesh_sizes(text: str | None) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in text.split(",")) if text else None
    except ValueError as error:
        raise SettingError(f"--mesh {text!r}: give three numbers, data,fsdp,tensor, such as 1,8,1") from error


def depths(text: str) -> list[int]:
    try:
        return [int(depth) for depth in text.split(",")]
    except ValueError as error:
        raise SettingError(f"--layers {text!r}: give numbers of layers, such as 1,3") from error


def console() -> Any:
    from rich.console import Console

    return Console()
