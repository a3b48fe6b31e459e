"""The verbs of the course: exercises from solutions, their checks checked, and submissions graded."""

from pathlib import Path
from typing import Annotated

import typer

from helptune.errors import Interrupted, SettingError
from helptune.options import console
from helptune.text import printable

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


def grade(
    submissions: Annotated[Path, typer.Argument(help="Folder with a folder for each learner, as nbgrader collects.")],
    out: Annotated[Path, typer.Option(help="Folder of marks and feedback; the same one goes on where it stopped.")],
    solutions: Solutions = Path("solutions"),
    extra_checks: Annotated[Path | None, typer.Option(help="Folder of your own checks, NN_name.py.")] = None,
    notebook: Annotated[str | None, typer.Option(help="Grade this notebook only, such as 02_lora_math.")] = None,
    marks: Annotated[
        Path | None, typer.Option(help="CSV of points that a person gave, such as OUT/to_read.csv.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Submissions at a time.")] = 2,
    cell_seconds: Annotated[float, typer.Option(min=1, help="Longest time of a cell or call.")] = 120,
    total_seconds: Annotated[float, typer.Option(min=1, help="Longest time of a submission.")] = 900,
    memory: Annotated[float, typer.Option(min=0.25, help="Most memory of a submission, in GiB.")] = 4,
) -> None:
    """Grade a class: points and reasons for each question, a page for each learner, an overview.

    Each submission runs in a sandbox (bwrap). Interrupt it whenever you like; the same command goes on.

    Example: [bold]helptune grade submitted --out graded[/bold]
    """
    from helptune.exercises.grade.batch import OVERVIEW, grade_all
    from helptune.exercises.grade.sandbox import Limits

    limits = Limits(cell_seconds=cell_seconds, total_seconds=total_seconds, memory=int(memory * 2**30))
    try:
        done = grade_all(
            submissions, out, _existing(solutions), extra_checks, notebook, marks, jobs=jobs, limits=limits
        )
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; run the same command again to go on") from stop
    flagged = sum(bool(result["flags"]) for result in done.results)
    print(f"{len(done.results)} graded ({done.kept} of them before), {flagged} to be looked at: {out / OVERVIEW}")
    print("\n".join(printable(problem) for problem in done.problems), end="\n" if done.problems else "")


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise SettingError(f"{folder}: no such folder; run this in the project's, or name it with --solutions")
    return folder
