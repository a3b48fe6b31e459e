"""The verbs of the evaluation: did it help, which of several runs helped more, and how many votes would it take?"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from helptune.errors import Interrupted, SettingError
from helptune.options import Adapter, AsJson, Checkpoint, Model, Precision, RunDir, console
from helptune.text import printable

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
        if run is not None or adapter is not None or base:
            verb = f"helptune evaluate {context.invoked_subcommand}"
            raise SettingError(f"options of `{verb}` come after its name: {verb} --help")
        return
    if sum((run is not None, adapter is not None, base)) != 1:
        raise SettingError("name what is evaluated: one of --run DIR, --adapter DIR and --base")
    if run is not None and (out is not None or model or checkpoint or precision):
        raise SettingError("a run knows its model and keeps its results: leave --out, --model, --checkpoint, --dtype")
    if run is None and out is None:
        raise SettingError("say where the results go: --out DIR")
    from helptune.experiment.evaluation import Asked, evaluate_models, evaluate_run
    from helptune.experiment.evaluation_view import terminal
    from helptune.experiment.findings import to_json

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
        print(to_json(found))
    else:
        terminal(found, console())


@evaluate.command("judge")
def judge(
    run: RunDir = Path("runs/first"),
    by: Annotated[
        str, typer.Option("--by", help="composite, local, local:ADAPTER, or the URL of an endpoint.")
    ] = "composite",
    judge_model: Annotated[str, typer.Option(help="Which model of the endpoint judges.")] = "",
    key: Annotated[str, typer.Option(help="Environment variable that holds the endpoint's key.")] = "OPENAI_API_KEY",
    a: Annotated[str, typer.Option("--a", help="One model of the run: base, few_shot, tuned.")] = "base",
    b: Annotated[str, typer.Option("--b", help="The other one.")] = "tuned",
    votes: Annotated[list[Path] | None, typer.Option(help="Votes of people, to measure the judge by.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a machine judge the answers of a run pair by pair, in both orders, and say how far one can believe it.

    Its votes are kept in the run's eval/judge_votes.jsonl. They never count as people's.

    Example: [bold]helptune evaluate judge --run runs/first --by http://127.0.0.1:8000/v1 --judge-model NAME[/bold]
    """
    from helptune.evaluate.judging.run import judge_run
    from helptune.evaluate.judging.words import sentences
    from helptune.evaluate.votes import read_votes
    from helptune.experiment.evaluation import told_again
    from helptune.experiment.findings import to_json
    from helptune.experiment.judges import judge_of, own_model

    people = read_votes(*(votes or ()), models=(a, b))
    try:
        found = judge_run(run, judge_of(run, by, judge_model, key), a, b, people.votes, own=own_model(run, by))
        told_again(run)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; run the same command again to go on") from stop
    for problem in people.problems:
        print(f"not counted: {printable(problem.where)}: {printable(problem.what)}", file=sys.stderr)
    print(to_json(found) if as_json else "\n".join(sentences(found)))


@evaluate.command("export")
def export(
    out: Annotated[Path, typer.Option(help="A new file.")],
    run: RunDir = Path("runs/first"),
    a: Annotated[str, typer.Option("--a", help="One model of the run: base, few_shot, tuned.")] = "base",
    b: Annotated[str, typer.Option("--b", help="The other one.")] = "tuned",
) -> None:
    """Write the held-out prompts, the answers of two models and all votes on them for LLM Comparator, as JSON.

    Example: [bold]helptune evaluate export --run runs/first --out comparator.json[/bold]
    """
    from helptune.experiment.side_by_side import export_sides

    found = export_sides(run, out, a, b)
    for problem in found.problems:
        print(f"not counted: {printable(problem.where)}: {printable(problem.what)}", file=sys.stderr)
    print(f"{out}: {found.prompts} prompts with the answers of {a} and {b}, {found.votes} votes on them")


@evaluate.command("power")
def power(
    preferred: Annotated[float, typer.Option(help="The share of votes to be exceeded.")] = 0.75,
    margin: Annotated[float, typer.Option(help="What may be lost, as points and as a share of --score.")] = 0.05,
    discordance: Annotated[float, typer.Option(help="Share of items on which the two models differ.")] = 0.15,
    score: Annotated[float, typer.Option(help="The base's score.")] = 0.35,
    consistent: Annotated[float, typer.Option(help="The agreement to be exceeded.")] = 0.9,
    items: Annotated[int | None, typer.Option(help="So many items: what loss can they rule out?")] = None,
    chance: Annotated[float, typer.Option(help="Power: the chance of showing what is true.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Level: the chance of showing what is not.")] = 0.05,
    design_effect: Annotated[float, typer.Option(help="What votes on one prompt cost: 1 for one vote a prompt.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """How many votes, items or groups a claim takes, before anything is voted on.

    Example: [bold]helptune evaluate power --preferred 0.75[/bold]
    """
    from dataclasses import asdict

    from helptune.evaluate.statistics.planner import plan, show

    needs = plan(
        preferred=preferred, margin=margin, discordance=discordance, score=score, consistent=consistent, items=items,
        alpha=alpha, power=chance, design_effect=design_effect,
    )  # fmt: skip
    if as_json:
        print(json.dumps([asdict(need) for need in needs]))
    else:
        show(needs, console())


@evaluate.command("harness")
def harness(
    tasks: Annotated[list[str], typer.Option("--task", help="A task of lm-evaluation-harness; may be repeated.")],
    adapter: Adapter = None,
    model: Model = None,
    checkpoint: Checkpoint = "",
    precision: Precision = "bfloat16",
    include: Annotated[Path | None, typer.Option(help="A folder of further tasks. Tasks may run code.")] = None,
    fewshot: Annotated[int | None, typer.Option(help="Solved examples.", show_default="the task's own")] = None,
    limit: Annotated[int | None, typer.Option(help="The first so many items of each task.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run public benchmarks of lm-evaluation-harness, an optional extra, on the base or an adapter.

    Installed by: pip install 'helptune\\[harness]'

    Example: [bold]helptune evaluate harness --task arc_easy --limit 200 --adapter runs/first/adapter[/bold]
    """
    from dataclasses import asdict

    from helptune.experiment.harness import evaluate_tasks
    from helptune.experiment.models import load, source_of

    loaded = load(source_of(model, checkpoint), precision, adapter)
    if loaded.rack is not None:
        raise SettingError(f"{adapter} holds {', '.join(loaded.rack.names)}: name the folder of one of them")
    scores, _ = evaluate_tasks(loaded, tasks, include=include, fewshot=fewshot, limit=limit)
    if as_json:
        print(json.dumps([asdict(one) for one in scores]))
        return
    for one in scores:
        print(f"{one.task}  {one.metric}  {one.value:.4f}  {one.items} items")


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two evaluated runs or more: DIR for its tuned model, or DIR:MODEL.")
    ],
    out: Annotated[Path | None, typer.Option(help="A folder for comparison.json and comparison.html.")] = None,
    as_json: AsJson = False,
) -> None:
    """Two evaluated runs item by item on every metric: a table, a figure, a verdict. More than two are ranked.

    Example: [bold]helptune compare runs/first runs/second --out runs/compared[/bold]
    """
    from helptune.experiment.comparison import compare_runs, show, write
    from helptune.experiment.findings import to_json

    found = compare_runs(runs)
    if out is not None:
        write(found, out)
    if as_json:
        print(to_json(found))
    else:
        show(found, console())
        if out is not None:
            print(f"{out / 'comparison.html'}")
