"""The verbs of the evaluation: did it help, which of several runs helped more, and how many votes would it take?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from helptune.errors import Interrupted, SettingError
from helptune.options import AsJson, Checkpoint, Model, console

evaluate = typer.Typer(
    invoke_without_command=True,
    help="Did it help? Answers, safety, capability, consistency, and the acceptance sheet.\n\n"
    "Example: [bold]helptune evaluate --run runs/first[/bold]",
)


@evaluate.callback()
def whole(
    context: typer.Context,
    run: Annotated[Path | None, typer.Option(help="A finished run: its base, few-shot base and adapter.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="An adapter, or a directory of several, and its base.")] = None,
    base: Annotated[bool, typer.Option("--base", help="The base alone, as it is and with solved examples.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where results go; a run keeps its own.")] = None,
    model: Model = None,
    checkpoint: Checkpoint = "",
    precision: Annotated[
        str | None, typer.Option("--dtype", help="Precision of the base.", show_default="the run's, or bfloat16")
    ] = None,
    votes: Annotated[list[Path] | None, typer.Option(help="Votes (JSON lines), of people or machines.")] = None,
    classifier: Annotated[str, typer.Option(help="Stage 1 safety classifier, as for `data screen`.")] = "probe",
    cost: Annotated[bool, typer.Option(help="Measure LoRA beside full fine-tuning, too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Answer the evaluation sets, measure, compare with the base, and fill the acceptance sheet.

    Interrupt it at will; the same command goes on, and repeats nothing that is done.

    Example: [bold]helptune evaluate --run runs/first[/bold]
    """
    if context.invoked_subcommand is not None:
        return
    if sum((run is not None, adapter is not None, base)) != 1:
        raise SettingError("name what is evaluated: one of --run DIR, --adapter DIR and --base")
    if run is not None and (out is not None or model or checkpoint or precision):
        raise SettingError("a run knows its model and keeps its results: leave --out, --model, --checkpoint, --dtype")
    if run is None and out is None:
        raise SettingError("say where the results go: --out DIR")
    from helptune.experiment.evaluation import Asked, evaluate_models, evaluate_run
    from helptune.experiment.evaluation_view import terminal

    asked = Asked(votes=tuple(votes or ()), classifier=classifier, cost=cost)
    try:
        if run is not None:
            found = evaluate_run(run, asked)
        else:
            assert out is not None
            found = evaluate_models(out, adapter, model, checkpoint, precision or "bfloat16", asked)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; run the same command again to go on") from stop
    if as_json:
        print(json.dumps(found))
    else:
        terminal(found, console())
