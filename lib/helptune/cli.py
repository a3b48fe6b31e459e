"""The command line: one verb a station. Imports of JAX wait until a verb needs them, so that --help is quick."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from helptune import artifacts, evaluating, measures, mixing, several, teaching
from helptune.errors import AdapterError, DataError, HelptuneError, Interrupted, RunError, SettingError
from helptune.options import (
    EMBEDDED,
    Adapter,
    AsJson,
    Checkpoint,
    Model,
    Precision,
    RunDir,
    absolute,
    console,
    field,
    mesh_sizes,
    precision_option,
)
from helptune.text import printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Helpful supervised fine-tuning of Gemma with LoRA: 3 270M on a laptop CPU, 7B on GPUs.",
)


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
        print(f"error: {printable(str(error))}", file=sys.stderr)  # it may quote data
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
        show(found, console())
    if not found["ready"]:
        raise typer.Exit(1)


@app.command()
def finetune(
    run: RunDir = Path("runs/first"),
    preset: Annotated[str | None, field("Where to start from: gemma-3-270m or gemma-7b-it.", EMBEDDED)] = None,
    config: Annotated[Path | None, typer.Option(help="A run's config.json to repeat, instead of a preset.")] = None,
    model: Annotated[str | None, field("Or config.json: the shape that the checkpoint states.", "gemma-3-270m")] = None,
    checkpoint: Annotated[str | None, field("Folder of the weights.", "the embedded model")] = None,
    data: Annotated[str | None, field("Training conversations (JSON lines).", "the curated ones")] = None,
    heldout: Annotated[str | None, field("Held-out conversations (JSON lines).", "the curated ones")] = None,
    precision: Annotated[str | None, precision_option(show_default="bfloat16")] = None,
    mesh: Annotated[str | None, field("Devices as data,fsdp,tensor.", "all there are, as fsdp")] = None,
    deterministic: Annotated[
        bool | None, field("The same bits in every run on a GPU too; slower.", "", "--deterministic")
    ] = None,
    epochs: Annotated[int | None, field("Passes over the data, at most.", "2")] = None,
    max_steps: Annotated[int | None, field("Optimizer steps, at most; 0: epochs decide.", "0")] = None,
    learning_rate: Annotated[float | None, field("Peak learning rate.", "0.0003")] = None,
    warmup_steps: Annotated[int | None, field("Steps until that peak.", "10")] = None,
    schedule: Annotated[str | None, field("What follows: cosine, linear, constant or wsd.", "cosine")] = None,
    decay_share: Annotated[float | None, field("Share of all steps in which wsd decays.", "0.2")] = None,
    lora_plus: Annotated[float | None, field("LoRA+: learning rate of B over that of A.", "1.0")] = None,
    neftune_alpha: Annotated[float | None, field("NEFTune: strength of noise on the embeddings.", "0.0")] = None,
    adapter: Annotated[
        str | None, field("What is trained: lora, or a bottleneck, houlsby or pfeiffer.", "lora")
    ] = None,
    bottleneck_width: Annotated[int | None, field("Features of a bottleneck.", "64")] = None,
    rank: Annotated[int | None, field("LoRA rank.", "16")] = None,
    alpha: Annotated[float | None, field("LoRA alpha; the update is scaled by alpha / rank.", "32.0")] = None,
    dropout: Annotated[float | None, field("Dropout on the adapter's input.", "0.0")] = None,
    sites: Annotated[str | None, field("Adapted projections.", "q,k,v,o,gate,up,down")] = None,
    rank_stabilized: Annotated[
        bool | None, field("Scale by alpha / sqrt(rank) instead (rsLoRA).", "", "--rank-stabilized")
    ] = None,
    batch_rows: Annotated[int | None, field("Rows in one optimizer step.", "4")] = None,
    accumulate: Annotated[int | None, field("Equal parts in which a step is computed, to save memory.", "1")] = None,
    remat: Annotated[
        str | None, field("What is computed again, to save memory: none, dots (all but products) or full.", "none")
    ] = None,
    seq_len: Annotated[int | None, field("Tokens in a row.", "256")] = None,
    eval_every: Annotated[int | None, field("Steps between measurements, each with a checkpoint.", "25")] = None,
    patience: Annotated[int | None, field("Measurements without improvement until it stops.", "3")] = None,
    min_improvement: Annotated[float | None, field("Nats that a lower loss must gain to count as one.", "0.0")] = None,
    max_rise: Annotated[float | None, field("Nats above the lowest loss at which it stops; 0: never.", "0.0")] = None,
    max_new_tokens: Annotated[int | None, field("Longest answer to a held-out prompt.", "160")] = None,
    seed: Annotated[int | None, field("Decides initialization, data order and dropout.", "0")] = None,
) -> None:
    """Fine-tune, measure before and after, and write report.html. Interrupt and repeat the command at will.

    The defaults shown are those of the preset gemma-3-270m; another preset brings its own.

    Example: [bold]helptune finetune --run runs/first[/bold]

    On GPUs: [bold]helptune finetune --preset gemma-7b-it --checkpoint DIR --data FILE --heldout FILE --run DIR[/bold]
    """
    from helptune.experiment.config import read_config
    from helptune.experiment.presets import named_preset, override

    if config and preset:
        raise SettingError("--config and --preset are two places to start from: give one of them")
    chosen = override(
        read_config(config) if config else named_preset(preset or EMBEDDED),
        model=model, checkpoint=absolute(checkpoint), train_file=absolute(data), heldout_file=absolute(heldout),
        precision=precision, mesh=mesh_sizes(mesh), deterministic=deterministic,
        epochs=epochs, max_steps=max_steps, learning_rate=learning_rate, warmup_steps=warmup_steps,
        schedule=schedule, decay_share=decay_share, lora_plus=lora_plus, neftune_alpha=neftune_alpha,
        adapter=adapter, bottleneck_width=bottleneck_width, rank=rank, alpha=alpha, dropout=dropout,
        sites=tuple(sites.split(",")) if sites is not None else None,
        rank_stabilized=rank_stabilized, batch_rows=batch_rows, accumulate=accumulate, remat=remat, seq_len=seq_len,
        eval_every=eval_every, patience=patience, min_improvement=min_improvement, max_rise=max_rise,
        max_new_tokens=max_new_tokens, seed=seed,
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
        console().print(terminal_summary(run))


@app.command()
def watch(
    run: RunDir = Path("runs/first"),
    once: Annotated[bool, typer.Option("--once", help="Show this moment and end.")] = False,
) -> None:
    """See a run train, whoever started it, until it ends. Ctrl-C leaves the run alone.

    Example: [bold]helptune watch --run runs/first[/bold]
    """
    from helptune.experiment.terminal import watch as watch_run

    if watch_run(run, console(), once=once).state == "failed":
        raise typer.Exit(1)


@app.command()
def stop(run: RunDir = Path("runs/first")) -> None:
    """Ask a run to stop after its current step, with a checkpoint; the command that started it goes on from there.

    Example: [bold]helptune stop --run runs/first[/bold]
    """
    from helptune.lock import is_worked_on
    from helptune.train.stop import request_stop

    if not is_worked_on(run):
        raise RunError(
            f"{run}: nothing to stop: no process on this machine is working on it, or it is still loading its weights"
        )
    request_stop(run)
    print("asked it to stop; the command that started it goes on")


@app.command()
def chat(
    adapter: Adapter = None,
    model: Model = None,
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

    A directory of several adapters answers a --prompt with the base and each of them; in a chat, /use NAME switches.

    Example: [bold]helptune chat --adapter runs/first/adapter --prompt "Why is the sky blue?" --greedy[/bold]
    """
    from helptune.experiment.models import load, source_of
    from helptune.gemma.sampling import Sampling
    from helptune.talk import converse, say, say_side_by_side

    sampling = Sampling(
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        repetition_penalty=1.0 if greedy else repetition_penalty,
    )
    loaded = load(source_of(model, checkpoint), precision, adapter)
    turns = [{"role": "user", "content": prompt or ""}]
    if prompt is None:
        converse(loaded, sampling, raw=raw, as_json=as_json)
    elif loaded.rack is not None:
        say_side_by_side(loaded, loaded.rack, turns, sampling, raw=raw, as_json=as_json)
    else:
        say(loaded, turns, sampling, raw=raw, as_json=as_json)


@app.command()
def score(
    file: Annotated[Path, typer.Option(help="A JSON list of texts.")],
    adapter: Adapter = None,
    model: Model = None,
    checkpoint: Checkpoint = "",
    precision: Precision = "float32",
    as_json: AsJson = False,
) -> None:
    """Negative log-likelihood of texts: mean (nll) and per token (token_nll), in nats; <bos> is added once, not scored.

    Example: [bold]helptune score --file texts.json --json[/bold]
    """
    from helptune.evaluate.score import score_text
    from helptune.experiment.models import load, source_of

    try:
        texts = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable JSON file ({error})") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise DataError(f"{file}: expected a JSON list of non-empty texts")
    loaded = load(source_of(model, checkpoint), precision, adapter)
    if loaded.rack is not None:
        raise AdapterError(f"{adapter} holds {', '.join(loaded.rack.names)}: name the folder of one of them")
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
    console().print(terminal_summary(run))


app.add_typer(measures.bench, name="bench")
app.add_typer(mixing.data, name="data")
app.add_typer(evaluating.evaluate, name="evaluate")
app.add_typer(teaching.exercises, name="exercises")
app.command()(teaching.grade)
app.command()(evaluating.compare)
for measure in (measures.plan, measures.capacity, measures.precision, measures.gradients):
    app.command()(measure)
for verb in (several.adapters, several.combine, several.tasks):
    app.command()(verb)
artifacts.add_to(app)


def _with_huge_pages() -> None:
    """Start over with huge pages for large arrays where glibc offers them: training steps are about 5% faster.

    The C library reads the setting once, when a process starts; whoever has set it keeps what they set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)
