"""The command line: one verb a station. Imports of JAX wait until a verb needs them, so that --help is quick."""

import json
import logging
import os
import sys
import time
import unicodedata
from pathlib import Path
from typing import Annotated, Any

import typer

from helptune.errors import ContextError, DataError, HelptuneError, Interrupted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Helpful supervised fine-tuning of Gemma 3 270M with LoRA, on a laptop CPU.",
)
bench = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")
app.add_typer(bench, name="bench")

RunDir = Annotated[Path, typer.Option("--run", help="The run's directory.")]
Adapter = Annotated[Path | None, typer.Option("--adapter", help="Adapter directory; without it, the base model.")]
Dtype = Annotated[str, typer.Option("--dtype", help="bfloat16 or float32.")]
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
    from helptune.experiment.doctor import examine

    found = examine()
    if as_json:
        print(json.dumps(found))
    else:
        _print_doctor(found)
    if not found["ready"]:
        raise typer.Exit(1)


@app.command()
def finetune(
    run: RunDir = Path("runs/first"),
    config: Annotated[
        Path | None, typer.Option(help="A run's config.json to repeat; other options are ignored.")
    ] = None,
    data: Annotated[str, typer.Option(help="Training conversations (JSON lines) instead of the curated ones.")] = "",
    heldout: Annotated[str, typer.Option(help="Held-out conversations (JSON lines) instead of the curated ones.")] = "",
    epochs: Annotated[int, typer.Option(help="Passes over the training conversations.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = 16,
    alpha: Annotated[float, typer.Option(help="LoRA alpha; the update is scaled by alpha / rank.")] = 32.0,
    dropout: Annotated[float, typer.Option(help="Dropout on the adapter's input.")] = 0.0,
    sites: Annotated[str, typer.Option(help="Adapted projections, separated by commas.")] = "q,k,v,o,gate,up,down",
    rank_stabilized: Annotated[bool, typer.Option(help="Scale by alpha / sqrt(rank) instead (rsLoRA).")] = False,
    batch_rows: Annotated[int, typer.Option(help="Rows in one optimizer step.")] = 4,
    accumulate: Annotated[int, typer.Option(help="Equal parts in which a step is computed, to save memory.")] = 1,
    seq_len: Annotated[int, typer.Option(help="Tokens in a row.")] = 256,
    seed: Annotated[int, typer.Option(help="Decides initialization, data order and dropout.")] = 0,
    dtype: Dtype = "bfloat16",
) -> None:
    """Fine-tune, measure before and after, and write report.html. Interrupt and repeat the command at will.

    Example: [bold]helptune finetune --run runs/first[/bold]
    """
    from helptune.adapt.lora import LoraConfig
    from helptune.experiment.config import RunConfig, read_config
    from helptune.experiment.finetune import finetune as run_experiment
    from helptune.experiment.report import terminal_summary
    from helptune.train.fit import TrainConfig
    from helptune.train.optimizer import OptimizerConfig

    chosen = read_config(config) if config else RunConfig(
        dtype=dtype,
        train_file=_absolute(data),
        heldout_file=_absolute(heldout),
        lora=LoraConfig(rank=rank, alpha=alpha, dropout=dropout, sites=tuple(sites.split(",")),
                        rank_stabilized=rank_stabilized),
        train=TrainConfig(
            seq_len=seq_len, batch_rows=batch_rows, accumulate=accumulate, epochs=epochs, seed=seed,
            optimizer=OptimizerConfig(learning_rate=learning_rate),
        ),
    )  # fmt: skip
    try:
        run_experiment(chosen, run)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; run the same command again to go on") from stop
    _console().print(terminal_summary(run))


@app.command()
def chat(
    adapter: Adapter = None,
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
    dtype: Dtype = "bfloat16",
    as_json: AsJson = False,
) -> None:
    """Talk with the base model or an adapter. Ctrl-C stops an answer; an empty line or Ctrl-D ends the chat.

    Example: [bold]helptune chat --adapter runs/first/adapter --prompt "Why is the sky blue?" --greedy[/bold]
    """
    from helptune.gemma.generate import Sampling

    sampling = Sampling(
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        repetition_penalty=1.0 if greedy else repetition_penalty,
    )
    model = _Model(adapter, dtype)
    if prompt is not None:
        model.say([{"role": "user", "content": prompt}], sampling, raw=raw, as_json=as_json)
        return
    history: list[dict[str, str]] = []
    while text := _read_line():
        turns = [*history, {"role": "user", "content": text}]
        try:
            answer = model.say(turns, sampling, raw=raw, as_json=as_json)
        except KeyboardInterrupt:
            print(" (stopped; this question is forgotten)")
            continue
        except (ContextError, DataError) as error:
            print(f"error: {error}", file=sys.stderr)
            continue
        history = [] if raw else [*turns, {"role": "assistant", "content": answer}]


@app.command()
def score(
    file: Annotated[Path, typer.Option(help="A JSON list of texts.")],
    adapter: Adapter = None,
    dtype: Dtype = "float32",
    as_json: AsJson = False,
) -> None:
    """Negative log-likelihood of texts: mean (nll) and per token (token_nll), in nats; <bos> is added once, not scored.

    Example: [bold]helptune score --file texts.json --json[/bold]
    """
    from helptune.evaluate.score import score_text

    try:
        texts = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable JSON file ({error})") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise DataError(f"{file}: expected a JSON list of non-empty texts")
    model = _Model(adapter, dtype)
    rows = []
    for text in texts:
        nll = score_text(model.base, model.tokenizer, text, model.lora)
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
    dtype: Dtype = "bfloat16",
) -> None:
    """Training throughput on the real weights, as one line of JSON.

    Example: [bold]helptune bench train --batch 4 --seq-len 256[/bold]
    """
    from helptune.experiment.bench import bench_train as measure

    print(json.dumps(measure(batch, seq_len, steps, dtype, rank)))


class _Model:
    """Base, tokenizer and optional adapter, loaded together."""

    def __init__(self, adapter: Path | None, dtype: str):
        from helptune.adapt.artifact import load_adapter
        from helptune.adapt.lora import attach
        from helptune.gemma.checkpoints import embedded_sha256, load_base, load_embedded_tokenizer

        self.base, self.tokenizer, self.lora = load_base(dtype), load_embedded_tokenizer(), None
        if adapter is not None:
            weights, card = load_adapter(adapter, self.base.config, embedded_sha256())
            self.lora = attach(weights, card.lora)

    def say(self, turns: list[dict[str, str]], sampling: Any, *, raw: bool, as_json: bool) -> str:
        """Print the answer, as it is written or as one JSON line when it is complete, and return it."""
        from helptune.gemma.chat import render
        from helptune.gemma.generate import generate, stream_text
        from helptune.gemma.tokenizer import BOS

        if raw:
            ids = [BOS, *self.tokenizer.encode(turns[-1]["content"])]
        else:
            ids, _ = render(turns, self.tokenizer, self.base.config, reply=True)
        if not as_json:
            pieces = []
            for piece in stream_text(self.base, self.tokenizer, ids, sampling, self.lora):
                print(_printable(piece), end="", flush=True)
                pieces.append(piece)
            print()
            return "".join(pieces)
        started = time.perf_counter()
        (completion,) = generate(self.base, [ids], sampling, self.lora)
        text = self.tokenizer.decode(completion.tokens)
        seconds = round(time.perf_counter() - started, 3)
        print(
            json.dumps({"text": text, "ended": completion.ended, "tokens": len(completion.tokens), "seconds": seconds})
        )
        return text


def _with_huge_pages() -> None:
    """Start over with huge pages for large arrays where glibc offers them: training steps are about 5% faster.

    The C library reads the setting once, when a process starts; whoever has set it keeps what they set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


def _absolute(file: str) -> str:
    return str(Path(file).resolve()) if file else ""


def _printable(text: str) -> str:
    """Model text without control characters: an escape sequence could rewrite the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def _read_line() -> str:
    try:
        return input("you> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


def _console() -> Any:
    from rich.console import Console

    return Console()


def _print_doctor(found: dict[str, Any]) -> None:
    from rich.table import Table

    console, table = _console(), Table(show_header=False, box=None)
    speeds = ", ".join(f"{name} {speed} GFLOP/s" for name, speed in found["matmul_gflops"].items())
    for name, value in (
        ("machine", f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB, {found['system']}"),
        ("python", found["python"]),
        ("packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items())),
        ("devices", ", ".join(found["devices"])),
        ("matrix products", f"{speeds}; use --dtype {found['faster_dtype']}"),
        ("make finetune", f"about {found['finetune_minutes']} minutes here"),
    ):
        table.add_row(name, value)
    console.print(table)
    for check in found["checks"]:
        mark = "[green]ok[/green]" if check["ok"] else "[red]problem[/red]"
        console.print(f"{mark} {check['name']}: {check['found']}" + ("" if check["ok"] else f"; {check['advice']}"))
