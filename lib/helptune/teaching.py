"""The verbs of the course: exercises from solutions, and their checks checked."""

from pathlib import Path
from typing import Annotated

import typer

from helptune.errors import SettingError
from helptune.options import console

exercises = typer.Typer(no_args_is_help=True, help="Exercises: generate them from the solutions, test their checks.")

Solutions = Annotated[Path, typer.Option(help="The folder of solutions.")]
Exercises = Annotated[Path, typer.Option(help="The folder of exercises.")]


@exercises.command("build")
def build(solutions: Solutions = Path("solutions"), exercises: Exercises = Path("exercises")) -> None:
    """Generate the exercises from the solutions: stubs for answers, no hidden tests, no outputs.

    Example: [bold]helptune exercises build[/bold]
    """
    from helptune.exercises.release import build as make

    changed = make(_existing(solutions), exercises)
    print("\n".join(f"wrote {path}" for path in changed) or "nothing changed")


@exercises.command("check")
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Notebooks, such as 02_lora_math; all of them.")] = None,
    solutions: Solutions = Path("solutions"),
    exercises: Exercises = Path("exercises"),
) -> None:
    """Are the exercises those of the solutions, and do their checks find every known mistake, by name?

    Example: [bold]helptune exercises check 02_lora_math[/bold]
    """
    from helptune.exercises.mutants import try_mutants
    from helptune.exercises.release import drifted, solution_files

    found = solution_files(_existing(solutions))
    if unknown := set(names or ()) - {path.stem for path in found}:
        raise SettingError(f"{solutions} has no {', '.join(sorted(unknown))}: {', '.join(p.stem for p in found)}")
    chosen = [path for path in found if not names or path.stem in names]
    problems = [
        f"{path}: is not what the solutions give; helptune exercises build" for path in drifted(chosen, exercises)
    ]
    for path in chosen:
        verdicts = list(try_mutants(path))
        wrong = [str(verdict) for verdict in verdicts if not verdict.holds]
        problems += wrong
        console().print(f"{path.stem}: {len(verdicts) - len(wrong)} of {len(verdicts)} verdicts as they should be")
    if problems:
        print("\n".join(problems))
        raise typer.Exit(1)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise SettingError(f"{folder}: no such folder; run this in the project's, or name it with --solutions")
    return folder
