"""The verbs of the data station, below `helptune data`: build a dataset, look into it, hash, judge, agree."""

import json
from pathlib import Path
from typing import Annotated

import typer

from helptune.options import AsJson, console

data = typer.Typer(no_args_is_help=True, help="Conversations: from sources to a dataset one can trust.")


@data.command("build")
def build(
    recipe: Annotated[str, typer.Argument(help="A recipe (TOML), or the name of a shipped one.")],
    out: Annotated[Path, typer.Option(help="Where the dataset goes.")],
    workers: Annotated[int, typer.Option(help="Processes that filter.", min=1)] = 2,
    as_json: AsJson = False,
) -> None:
    """Build the dataset of a recipe; after an interruption the same command goes on.

    Example: [bold]helptune data build curated --out data/curated[/bold]
    """
    from helptune.data.mixture.build import build as make
    from helptune.data.mixture.hardness import LOSS
    from helptune.data.mixture.recipe import find_recipe, read_recipe
    from helptune.data.mixture.show import show

    path = find_recipe(recipe)
    chosen = read_recipe(path)
    losses = None
    if chosen.difficulty == LOSS:
        from helptune.experiment.base_loss import answer_losses

        losses = answer_losses
    manifest = make(chosen, path.parent, out, workers, losses)
    if as_json:
        print(json.dumps(manifest))
    else:
        show(manifest, console())
        print(f"{out}: version {manifest['version']}")


@data.command("inspect")
def inspect(
    folder: Annotated[Path, typer.Argument(help="A dataset of `helptune data build`.")],
    reason: Annotated[str, typer.Option(help="Show what was dropped for this reason, instead of what was kept.")] = "",
    source: Annotated[str, typer.Option(help="Of this source alone, as the records name it.")] = "",
    category: Annotated[str, typer.Option(help="Of this category alone.")] = "",
    difficulty: Annotated[str, typer.Option(help="Of this difficulty alone.")] = "",
    count: Annotated[int, typer.Option(help="So many samples.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Another number draws others.")] = 0,
) -> None:
    """Where the records of a dataset went, and samples of those kept, or dropped for a reason.

    Example: [bold]helptune data inspect data/curated --reason near_duplicate[/bold]
    """
    from helptune.data.mixture.inspect import KEPT, Wanted, samples, text
    from helptune.data.mixture.show import show
    from helptune.data.mixture.writing import read_manifest

    if not reason:
        show(read_manifest(folder), console())
    wanted = Wanted(category, source, difficulty, reason or KEPT)
    print("\n\n".join(text(sample) for sample in samples(folder, wanted, count, seed)))


@data.command("hash")
def hash_prompts(
    prompts: Annotated[Path, typer.Argument(help="JSON lines of prompts or conversations, or plain lines.")],
    out: Annotated[Path, typer.Option(help="The file of hashes, to name in a recipe.")],
    name: Annotated[str, typer.Option(help="Of the set; by default that of the file.")] = "",
    source: Annotated[str, typer.Option(help="Where the prompts come from.")] = "",
    spdx: Annotated[str, typer.Option("--license", help="Their licence, as an SPDX identifier.")] = "unknown",
) -> None:
    """Hash an evaluation set, so that a build can keep its prompts out without holding them.

    Example: [bold]helptune data hash exam.jsonl --name exam --out exam.json[/bold]
    """
    from helptune.data.decontaminate import hash_file, write_set

    hashed = hash_file(prompts, name, source, spdx)
    write_set(out, hashed)
    place = json.dumps(str(out.resolve()))  # a recipe reads a path from its own folder
    print(f"{out}: {len(hashed.hashes)} prompts; name it in a recipe: [decontamination] sets = [{place}]")


@data.command("agreement")
def agreement(
    ratings: Annotated[Path, typer.Argument(help="Ratings: JSON lines or CSV of item, rater, rating, attribute.")],
    attribute: Annotated[str | None, typer.Option(help="One attribute alone.")] = None,
    max_spread: Annotated[int | None, typer.Option(help="Keep items whose ratings differ by at most this.")] = None,
    min_ratings: Annotated[int, typer.Option(help="Keep items with at least so many ratings.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Do the raters agree? Kappa and alpha with intervals, before and after filtering, and how much is left.

    Example: [bold]helptune data agreement ratings.jsonl --attribute helpfulness --max-spread 1[/bold]
    """
    from helptune.data.agreement.table import agreement_table, show

    rows = agreement_table(ratings, attribute, max_spread, min_ratings)
    if as_json:
        print(json.dumps(rows))
    else:
        show(rows, console())


@data.command("difficulty")
def difficulty(
    refit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Fit anew on the curated conversations, a few minutes, and write the coefficients to FILE. "
            "helptune reads those in data/difficulty.json of its own package.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How well the estimate of difficulty agrees with the writers' labels of the held-out curated conversations.

    Example: [bold]helptune data difficulty[/bold]
    """
    from dataclasses import asdict

    from helptune.data import difficulty as estimate
    from helptune.data.conversation import load_curated

    train, heldout = load_curated("train"), load_curated("heldout")
    if refit:
        from helptune.experiment.base_loss import answer_losses

        found = estimate.refit(answer_losses([*train, *heldout]), refit)
    else:
        found = estimate.compare(train, heldout, estimate.shipped_losses())
    if as_json:
        print(json.dumps({name: asdict(agreement) for name, agreement in found.items()}))
    else:
        estimate.show(found, console())


@data.command("safety")
def safety(
    out: Annotated[Path, typer.Option(help="Where weights and measures.json go.")],
    labelled: Annotated[
        Path | None, typer.Option(help="Folder of train, dev and test files.", show_default="the shipped set")
    ] = None,
    which: Annotated[str, typer.Option(help="lexical, probe or all.")] = "all",
    as_json: AsJson = False,
) -> None:
    """Train the safety screens: fit on train, choose and calibrate on dev, measure once on test.

    Example: [bold]helptune data safety --out runs/safety --which lexical[/bold]
    """
    from helptune.data.safety.labelled import SHIPPED
    from helptune.data.safety.show import show
    from helptune.data.safety.train import train_safety

    found = train_safety(labelled or SHIPPED, out, which)
    if as_json:
        print(json.dumps(found))
    else:
        show(found, console())


@data.command("screen")
def screen(
    conversations: Annotated[Path, typer.Argument(help="Conversations (JSON lines).")],
    classifier: Annotated[str, typer.Option(help="lexical, probe, shieldgemma:FOLDER, a URL, or python:...")] = "probe",
    target: Annotated[str, typer.Option(help="prompt or response.")] = "response",
) -> None:
    """What a safety classifier says of each conversation of a file: a verdict a line, as JSON.

    Example: [bold]helptune data screen data/curated/train.jsonl --classifier lexical[/bold]
    """
    from dataclasses import asdict

    from helptune.data.conversation import read_conversations
    from helptune.data.safety import find
    from helptune.data.safety.classifier import judge

    for verdict in judge(find(classifier), list(read_conversations(conversations)), target):
        print(json.dumps(asdict(verdict)))
