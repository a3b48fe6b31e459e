"""The command line: one verb a station. Imports of JAX wait until a verb needs them, so that --help is quick."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from helptune.errors import DataError, HelptuneError, Interrupted, SettingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Helpful supervised fine-tuning of Gemma with LoRA: 3 270M on a laptop CPU, 7B on GPUs.",
)
EMBEDDED = "gemma-3-270m"
bench = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")
app.add_typer(bench, name="bench")


def _field(text: str, default: str, *names: str) -> Any:
    """An option that overrides a field of a preset: the default is the preset's, and only shown here."""
    return typer.Option(*names, help=text, show_default=default or False)


RunDir = Annotated[Path, typer.Option("--run", help="The run's directory.")]
Adapter = Annotated[Path | None, typer.Option("--adapter", help="Adapter directory; without it, the base model.")]
Model = Annotated[str, typer.Option(help="gemma-7b-it, ...; config.json: the shape that the checkpoint states.")]
Checkpoint = Annotated[str, typer.Option(help="Folder of the weights; without it, the embedded Gemma 3 270M.")]
Precision = Annotated[
    str, typer.Option("--base", "--dtype", help="Precision of the base: bfloat16, float32, int8 or int4.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def start() -> None:
    """What the `helptune` command runs: `main`, in a process with huge pages."""
    _with_huge_pages()
    main()


def main() -> None:
    """Run a verb: known errors end with their message alone, Ctrl-C with exit code 130."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        app()
    except Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
        sys.exit(130)
    except (HelptuneError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at machine, versions, devices and memory; say what will run and how long it will take.

    Example: [bold]helptune doctor[/bold]
    """
    from helptune.experiment.doctor import examine, show

    found = examine()
    if as_json:
        print(json.dumps(found))
    else:
        show(found, _console())
    if not found["ready"]:
        raise typer.Exit(1)


@app.command()
def finetune(
    run: RunDir = Path("runs/first"),
    preset: Annotated[str, typer.Option(help="Where to start from: gemma-3-270m or gemma-7b-it.")] = "gemma-3-270m",
    config: Annotated[Path | None, typer.Option(help="A run's config.json to repeat, instead of a preset.")] = None,
    model: Annotated[
        str | None, _field("Or config.json: the shape that the checkpoint states.", "gemma-3-270m")
    ] = None,
    checkpoint: Annotated[str | None, _field("Folder of the weights.", "the embedded model")] = None,
    data: Annotated[str | None, _field("Training conversations (JSON lines).", "the curated ones")] = None,
    heldout: Annotated[str | None, _field("Held-out conversations (JSON lines).", "the curated ones")] = None,
    precision: Annotated[
        str | None, _field("Of the frozen base: bfloat16, float32, int8 or int4.", "bfloat16", "--base", "--dtype")
    ] = None,
    mesh: Annotated[str | None, _field("Devices as data,fsdp,tensor.", "all there are, as fsdp")] = None,
    deterministic: Annotated[
        bool | None, _field("The same bits in every run on a GPU too; slower.", "", "--deterministic")
    ] = None,
    epochs: Annotated[int | None, _field("Passes over the data, at most.", "3")] = None,
    max_steps: Annotated[int | None, _field("Optimizer steps, at most; 0: epochs decide.", "0")] = None,
    learning_rate: Annotated[float | None, _field("Peak learning rate.", "0.0003")] = None,
    warmup_steps: Annotated[int | None, _field("Steps until that peak.", "10")] = None,
    rank: Annotated[int | None, _field("LoRA rank.", "16")] = None,
    alpha: Annotated[float | None, _field("LoRA alpha; the update is scaled by alpha / rank.", "32.0")] = None,
    dropout: Annotated[float | None, _field("Dropout on the adapter's input.", "0.0")] = None,
    sites: Annotated[str | None, _field("Adapted projections.", "q,k,v,o,gate,up,down")] = None,
    rank_stabilized: Annotated[
        bool | None, _field("Scale by alpha / sqrt(rank) instead (rsLoRA).", "", "--rank-stabilized")
    ] = None,
    batch_rows: Annotated[int | None, _field("Rows in one optimizer step.", "4")] = None,
    accumulate: Annotated[int | None, _field("Equal parts in which a step is computed, to save memory.", "1")] = None,
    remat: Annotated[bool | None, _field("Compute each layer twice, to save memory.", "no-remat")] = None,
    seq_len: Annotated[int | None, _field("Tokens in a row.", "256")] = None,
    eval_every: Annotated[int | None, _field("Steps between measurements, each with a checkpoint.", "15")] = None,
    patience: Annotated[int | None, _field("Measurements without improvement until it stops.", "3")] = None,
    max_new_tokens: Annotated[int | None, _field("Longest answer to a held-out prompt.", "160")] = None,
    seed: Annotated[int | None, _field("Decides initialization, data order and dropout.", "0")] = None,
) -> None:
    """Fine-tune, measure before and after, and write report.html. Interrupt and repeat the command at will.

    The defaults shown are those of the preset gemma-3-270m; another preset brings its own.

    Example: [bold]helptune finetune --run runs/first[/bold]

    On GPUs: [bold]helptune finetune --preset gemma-7b-it --checkpoint DIR --data FILE --heldout FILE --run DIR[/bold]
    """
    from helptune.experiment.config import read_config
    from helptune.experiment.presets import named_preset, override

    chosen = override(
        read_config(config) if config else named_preset(preset),
        model=model, checkpoint=_absolute(checkpoint), train_file=_absolute(data), heldout_file=_absolute(heldout),
        precision=_precision(precision), mesh=_mesh(mesh), deterministic=deterministic,
        epochs=epochs, max_steps=max_steps, learning_rate=learning_rate, warmup_steps=warmup_steps,
        rank=rank, alpha=alpha, dropout=dropout, sites=tuple(sites.split(",")) if sites is not None else None,
        rank_stabilized=rank_stabilized, batch_rows=batch_rows, accumulate=accumulate, remat=remat, seq_len=seq_len,
        eval_every=eval_every, patience=patience, max_new_tokens=max_new_tokens, seed=seed,
    )  # fmt: skip
    # The backend reads its flags, and a process finds its peers, before anything is computed.
    from helptune.train import distributed

    if chosen.deterministic:
        from helptune.train.determinism import make_deterministic

        make_deterministic()
    distributed.initialize()
    from helptune.experiment.finetune import finetune as run_experiment
    from helptune.experiment.report import terminal_summary

    try:
        run_experiment(chosen, run)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; run the same command again to go on") from stop
    if distributed.is_main():
        _console().print(terminal_summary(run))


@app.command()
def chat(
    adapter: Adapter = None,
    model: Model = EMBEDDED,
    checkpoint: Checkpoint = "",
    prompt: Annotated[str | None, typer.Option(help="Ask this once instead of starting a conversation.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 256,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token.")] = False,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 0.7,
    top_k: Annotated[int, typer.Option(help="Sample among the likeliest so many tokens.")] = 64,
    top_p: Annotated[float, typer.Option(help="Sample among the likeliest tokens of this total probability.")] = 0.95,
    repetition_penalty: Annotated[float, typer.Option(help="Against loops; 1 is off. Not used by --greedy.")] = 1.1,
    seed: Annotated[int, typer.Option(help="Decides the sampling.")] = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as plain text, without the chat format.")
    ] = False,
    precision: Precision = "bfloat16",
    as_json: AsJson = False,
) -> None:
    """Talk with the base model or an adapter. Ctrl-C stops an answer; an empty line or Ctrl-D ends the chat.

    Example: [bold]helptune chat --adapter runs/first/adapter --prompt "Why is the sky blue?" --greedy[/bold]
    """
    from helptune.experiment.models import Source, load
    from helptune.gemma.generate import Sampling
    from helptune.talk import converse, say

    sampling = Sampling(
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        repetition_penalty=1.0 if greedy else repetition_penalty,
    )
    loaded = load(Source(model, checkpoint), _precision(precision), adapter)
    if prompt is None:
        converse(loaded, sampling, raw=raw, as_json=as_json)
    else:
        say(loaded, [{"role": "user", "content": prompt}], sampling, raw=raw, as_json=as_json)


@app.command()
def score(
    file: Annotated[Path, typer.Option(help="A JSON list of texts.")],
    adapter: Adapter = None,
    model: Model = EMBEDDED,
    checkpoint: Checkpoint = "",
    precision: Precision = "float32",
    as_json: AsJson = False,
) -> None:
    """Negative log-likelihood of texts: mean (nll) and per token (token_nll), in nats; <bos> is added once, not scored.

    Example: [bold]helptune score --file texts.json --json[/bold]
    """
    from helptune.evaluate.score import score_text
    from helptune.experiment.models import Source, load

    try:
        texts = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable JSON file ({error})") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise DataError(f"{file}: expected a JSON list of non-empty texts")
    loaded = load(Source(model, checkpoint), _precision(precision), adapter)
    rows = []
    for text in texts:
        nll = score_text(loaded.base, loaded.tokenizer, text, loaded.adapter)
        rows.append({"n_tokens": len(nll), "nll": float(nll.mean()), "token_nll": [float(x) for x in nll]})
    if as_json:
        print(json.dumps(rows))
        return
    for row, text in zip(rows, texts, strict=True):
        print(f"{row['nll']:8.4f} nats/token  {row['n_tokens']:6d} tokens  {text[:60]!r}")


@app.command()
def report(run: RunDir = Path("runs/first")) -> None:
    """Rebuild report.html of a finished run from its files.

    Example: [bold]helptune report --run runs/first[/bold]
    """
    from helptune.experiment.report import terminal_summary, write_report

    write_report(run)
    _console().print(terminal_summary(run))


@bench.command("train")
def bench_train(
    batch: Annotated[int, typer.Option(help="Rows.")] = 4,
    seq_len: Annotated[int, typer.Option(help="Tokens in a row.")] = 256,
    steps: Annotated[int, typer.Option(help="Measured steps, after a first one that compiles.")] = 10,
    rank: Annotated[int, typer.Option(help="LoRA rank, on all seven projections.")] = 16,
    precision: Precision = "bfloat16",
) -> None:
    """Training throughput on the real weights, as one line of JSON.

    Example: [bold]helptune bench train --batch 4 --seq-len 256[/bold]
    """
    from helptune.experiment.bench import bench_train as measure

    print(json.dumps(measure(batch, seq_len, steps, precision, rank)))


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


@app.command()
def plan(
    model: Annotated[str, typer.Option(help="gemma-7b-it, gemma-3-270m, ...: base and preset.")] = "gemma-7b-it",
    topology: Annotated[str, typer.Option(help="cpu:8, h100:8, a100-80, l4:4, v5e:2x4, v5p:2x2x1, ...")] = "h100:8",
    mesh: Annotated[str | None, typer.Option(help="Devices as data,fsdp,tensor; else all there are, as fsdp.")] = None,
    batch: Annotated[int, typer.Option("--batch", "--batch-rows", help="Rows in one optimizer step.")] = 8,
    accumulate: Annotated[int, typer.Option(help="Parts in which a step is computed.")] = 1,
    seq: Annotated[int, typer.Option("--seq", "--seq-len", help="Tokens in a row.")] = 1024,
    base: Annotated[str, typer.Option(help="Precision of the base: bf16, f32, int8 or int4.")] = "bf16",
    rank: Annotated[int | None, typer.Option(help="LoRA rank; else the preset's.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout on the adapter's input; else the preset's.")] = None,
    remat: Annotated[bool, typer.Option(help="Compute layers twice, to save memory.")] = True,
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

    run = override(
        PRESETS.get(model, RunConfig()), model=model, mesh=_mesh(mesh), batch_rows=batch, accumulate=accumulate,
        seq_len=seq, precision=_precision(base), rank=rank, dropout=dropout,
        remat=remat,
    )  # fmt: skip
    found = make_plan(named(model), run, parse_topology(topology), compiled=compiled)
    if execute:
        found["executed"] = rehearse(named(model), run.lora, run.precision, [int(n) for n in layers.split(",")])
    if as_json:
        print(json.dumps(found))
    else:
        show(found, _console())


@app.command()
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


@app.command()
def precision(
    adapter: Adapter = None,
    model: Model = EMBEDDED,
    checkpoint: Checkpoint = "",
    as_json: AsJson = False,
) -> None:
    """What int8 and int4 cost: bytes and held-out loss of the same model in every precision.

    Example: [bold]helptune precision --adapter runs/first/adapter[/bold]
    """
    from dataclasses import asdict

    from helptune.experiment.models import Source
    from helptune.experiment.precision import precision_table, show

    rows = precision_table(Source(model, checkpoint), adapter)
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        show(rows, _console())


def _with_huge_pages() -> None:
    """Start over with huge pages for large arrays where glibc offers them: training steps are about 5% faster.

    The C library reads the setting once, when a process starts; whoever has set it keeps what they set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


def _absolute(file: str | None) -> str | None:
    return str(Path(file).resolve()) if file else file


def _precision(name: Any) -> Any:
    return {"bf16": "bfloat16", "f32": "float32"}.get(name, name)


def _mesh(text: str | None) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in text.split(",")) if text else None
    except ValueError as error:
        raise SettingError(f"--mesh {text!r}: give three numbers, data,fsdp,tensor, such as 1,8,1") from error


def _console() -> Any:
    from rich.console import Console

    return Console()
