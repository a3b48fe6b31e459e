"""The verbs that measure and foresee: speed on this machine, and the memory a step will take on another."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from helptune.options import (
    Adapter,
    AsJson,
    Checkpoint,
    Model,
    Precision,
    RunDir,
    console,
    depths,
    field,
    mesh_sizes,
    precision_option,
)

THE_PRESETS = "the preset's"

bench = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")


@bench.command("train")
def bench_train(
    batch: Annotated[int, typer.Option(help="Rows.")] = 4,
    seq_len: Annotated[int, typer.Option(help="Tokens in a row.")] = 256,
    steps: Annotated[int, typer.Option(help="Measured steps, after a first one that compiles.")] = 10,
    rank: Annotated[int, typer.Option(help="LoRA rank, on all seven projections.")] = 16,
    accumulate: Annotated[int, typer.Option(help="Equal parts in which a step is computed.")] = 1,
    remat: Annotated[str, typer.Option(help="What is computed again, to save memory: none, dots or full.")] = "none",
    precision: Precision = "bfloat16",
) -> None:
    """Training throughput on the real weights, as one line of JSON.

    Example: [bold]helptune bench train --batch 4 --seq-len 256[/bold]
    """
    from helptune.experiment.bench import bench_train as measure

    print(json.dumps(measure(batch, seq_len, steps, precision, rank, accumulate, remat)))


@bench.command("generate")
def bench_generate(
    batch: Annotated[int, typer.Option(help="Answers written side by side.")] = 1,
    prompt: Annotated[int, typer.Option(help="Tokens of each prompt.")] = 64,
    new_tokens: Annotated[int, typer.Option(help="Tokens of each answer.")] = 128,
    repeats: Annotated[int, typer.Option(help="Measured times, after a first one that compiles.")] = 5,
    precision: Precision = "bfloat16",
) -> None:
    """Speed of greedy answers on the real weights, as one line of JSON.

    Example: [bold]helptune bench generate --batch 8 --base int8[/bold]
    """
    from helptune.experiment.bench import bench_generate as measure

    print(json.dumps(measure(batch, prompt, new_tokens, repeats, precision)))


@bench.command("mixed")
def bench_mixed(
    adapters: Annotated[int, typer.Option(help="Adapters in the batch, beside the base.")] = 4,
    batch: Annotated[int, typer.Option(help="Answers written side by side.")] = 5,
    prompt: Annotated[int, typer.Option(help="Tokens of each prompt.")] = 64,
    new_tokens: Annotated[int, typer.Option(help="Tokens of each answer.")] = 64,
    repeats: Annotated[int, typer.Option(help="Measured times, by turns, after a first one that compiles.")] = 5,
    rank: Annotated[int, typer.Option(help="LoRA rank, on all seven projections.")] = 16,
    precision: Precision = "bfloat16",
) -> None:
    """A batch of the base and several adapters beside one of a single adapter, as one line of JSON.

    Example: [bold]helptune bench mixed --adapters 4 --base int8[/bold]
    """
    from helptune.experiment.bench import bench_mixed as measure

    print(json.dumps(measure(adapters, batch, prompt, new_tokens, repeats, rank, precision)))


@bench.command("cost")
def bench_cost(
    batch: Annotated[int, typer.Option(help="Rows.")] = 4,
    seq_len: Annotated[int, typer.Option(help="Tokens in a row.")] = 256,
    steps: Annotated[int, typer.Option(help="Measured steps of each method, after a first one.")] = 10,
    rank: Annotated[int, typer.Option(help="LoRA rank, on all seven projections.")] = 16,
    precision: Precision = "bfloat16",
    as_json: AsJson = False,
) -> None:
    """LoRA beside full fine-tuning: measured on the real weights, in two processes (6 GiB); computed for Gemma 7B.

    Example: [bold]helptune bench cost --steps 5[/bold]
    """
    from helptune.experiment.cost import Asked, compare, show

    found = compare(Asked(batch, seq_len, steps, rank, precision))
    if as_json:
        print(json.dumps(found))
    else:
        show(found, console())


@bench.command("data")
def bench_data(
    conversations: Annotated[int, typer.Option(help="Synthetic records, in the schemas of four sources.")] = 100_000,
    workers: Annotated[int, typer.Option(help="Processes that filter.", min=1)] = 2,
    probed: Annotated[int, typer.Option("--probe", help="Conversations for the probe on Gemma; 0 for none.")] = 256,
) -> None:
    """Time and memory of building a dataset, lexical screen; beside it the rate of the probe, as one line of JSON.

    Example: [bold]helptune bench data --conversations 10000[/bold]
    """
    from helptune.experiment.bench_data import bench_data as measure

    print(json.dumps(measure(conversations, workers, probed)))


def plan(
    model: Annotated[str, typer.Option(help="gemma-7b-it, gemma-3-270m, ...: base, and preset.")] = "gemma-7b-it",
    topology: Annotated[str, typer.Option(help="cpu:8, h100:8, a100-80, l4:4, v5e:2x4, v5p:2x2x1, ...")] = "h100:8",
    mesh: Annotated[str | None, typer.Option(help="Devices as data,fsdp,tensor; else all there are, as fsdp.")] = None,
    batch: Annotated[
        int | None, field("Rows in one optimizer step.", "those the preset computes at once", "--batch", "--batch-rows")
    ] = None,
    accumulate: Annotated[int, typer.Option(help="Parts in which a step is computed.")] = 1,
    seq: Annotated[int | None, field("Tokens in a row.", THE_PRESETS, "--seq", "--seq-len")] = None,
    precision: Annotated[str | None, precision_option(show_default=THE_PRESETS)] = None,
    rank: Annotated[int | None, field("LoRA rank.", THE_PRESETS)] = None,
    dropout: Annotated[float | None, field("Dropout on the adapter's input.", THE_PRESETS)] = None,
    remat: Annotated[str | None, field("What is computed again, to save memory.", THE_PRESETS)] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Ask XLA too; else the closed form.")] = True,
    execute: Annotated[bool, typer.Option("--execute", help="Run real steps here, with random weights.")] = False,
    layers: Annotated[str, typer.Option(help="Depths to execute; two or more are extrapolated.")] = "1,3",
    as_json: AsJson = False,
) -> None:
    """Memory and time of a training step before anything is loaded: will it fit, and if not, what would?

    Example: [bold]helptune plan --topology h100:8 --mesh 1,8,1 --batch 64 --seq 2048[/bold]
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # what is compiled for need not be here, and what is here is left alone
    from helptune.experiment.config import RunConfig
    from helptune.experiment.plan import plan as make_plan
    from helptune.experiment.plan import show
    from helptune.experiment.presets import PRESETS, override
    from helptune.experiment.rehearse import rehearse
    from helptune.gemma.config import named
    from helptune.train.topology import parse_topology

    preset = PRESETS.get(model, RunConfig())
    rows = preset.train.batch_rows // preset.train.accumulate if batch is None else batch
    run = override(
        preset, model=model, mesh=mesh_sizes(mesh), batch_rows=rows, accumulate=accumulate, seq_len=seq,
        precision=precision, rank=rank, dropout=dropout, remat=remat,
    )  # fmt: skip
    found = make_plan(named(model), run, parse_topology(topology), compiled=compiled)
    if execute:
        found["executed"] = rehearse(named(model), run.lora, run.precision, depths(layers))
    if as_json:
        print(json.dumps(found))
    else:
        show(found, console())


def capacity(
    out: Annotated[Path, typer.Option(help="The page whose table is renewed.")] = Path("course/gemma_7b.md"),
) -> None:
    """Renew the table of which devices take which batch, sequence length and base. Interrupt and repeat at will.

    Example: [bold]helptune capacity --out course/gemma_7b.md[/bold]
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    from helptune.experiment.capacity import capacity as renew

    rows = renew(out, out.with_suffix(".jsonl"))
    print(f"{out}: {len(rows)} rows")


def precision(
    adapter: Adapter = None,
    model: Model = None,
    checkpoint: Checkpoint = "",
    as_json: AsJson = False,
) -> None:
    """What int8 and int4 cost: bytes and held-out loss of the same model in every precision.

    Example: [bold]helptune precision --adapter runs/first/adapter[/bold]
    """
    from helptune.experiment.models import source_of
    from helptune.experiment.precision import precision_table, show

    rows = precision_table(source_of(model, checkpoint), adapter)
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        show(rows, console())


def gradients(
    run: RunDir = Path("runs/first"),
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Another adapter than the run's own.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of conversations a category; with 2 and more, halves too.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Cosines between the gradients of the categories a run was trained on: do they pull the same way?

    Example: [bold]helptune gradients --run runs/first[/bold]
    """
    from helptune.experiment.gradients import gradients_of_run, show

    found = gradients_of_run(run, adapter, rows)
    if as_json:
        print(json.dumps(found))
    else:
        show(found, console())
