"""The report of a run: what changed, by how much, and the answers themselves, in one HTML file that needs no network.

It is made from the files of the run's directory alone, so it can be made again at any time, with the same bytes. What
models wrote is hostile text: every value is escaped, and the page's own policy forbids scripts and loading anything.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError
from markupsafe import Markup
from matplotlib.axes import Axes
from rich.table import Table
from rich.text import Text

from helptune import plots
from helptune.data.conversation import DIFFICULTIES, Conversation, read_conversations
from helptune.errors import RunError
from helptune.evaluate.table import ROWS
from helptune.experiment.evaluation_view import View, view
from helptune.experiment.evidence import HELDOUT, MODELS, Evidence, read_evidence, verdict
from helptune.experiment.findings import read_findings
from helptune.experiment.gradient_report import gradient_section
from helptune.experiment.protocol import dates
from helptune.experiment.templates import template
from helptune.files import write_whole

REPORT = "report.html"
_SIDE_BY_SIDE = 12
_BYTES = {"bfloat16": 2, "float32": 4}
_STAGES = {
    "base_loss": "held-out loss of the base",
    "base_answers": "answers of the base",
    "few_shot_answers": "answers of the few-shot base",
    "train": "training, with compiling, held-back loss and checkpoints",
    "tuned_loss": "held-out loss of the tuned model",
    "tuned_answers": "answers of the tuned model",
    "gradients": "gradients of the categories",
}


def write_report(run: Path) -> Path:
    """Write `report.html`, put in place only when complete. Raises RunError for a run that is unfinished or damaged."""
    with _expecting_complete(run):
        page = _render(run, read_evidence(run), list(read_conversations(run / HELDOUT)))
    try:
        # JSON of other people may hold half a surrogate pair, which UTF-8 has no bytes for.
        write_whole(run / REPORT, lambda part: part.write_bytes(page.encode("utf-8", errors="xmlcharrefreplace")))
    except OSError as error:
        raise RunError(f"{run / REPORT}: cannot be written ({error})") from error
    return run / REPORT


def terminal_summary(run: Path) -> Table:
    """The run in a dozen lines for the terminal. Raises RunError for a run that is unfinished or damaged."""
    with _expecting_complete(run):
        evidence = read_evidence(run)
        summary, (before, after) = evidence.summary, evidence.losses
        parameters, seconds = summary["parameters"], summary["seconds"]
        rows = [("held-out response loss", f"{before:.3f} -> {after:.3f} nats per token ({evidence.change:+.1%})")]
        for tally in evidence.tallies.values():
            rows.append((f"answers that ended, {tally.label}", f"{tally.share:.1%} ({tally})"))
        trained = f"{parameters['trainable']:,} of {parameters['base']:,} ({evidence.trainable_share:.2%})"
        rows += [
            ("trainable parameters", trained),
            ("adapter on disk", _size(summary["adapter_bytes"])),
            ("time", f"{_duration(sum(seconds.values()))}, of it training {_duration(seconds['train'])}"),
            ("training speed, median", f"{evidence.speed:.0f} tokens/s" if evidence.speed else "not measured"),
            ("peak memory", _peak(summary)),
            ("report", str(run / REPORT)),
        ]
    table = Table(title=Text(verdict(evidence)[0]), title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text, because [brackets] in a path are not markup
    return table


def _render(run: Path, evidence: Evidence, heldout: Sequence[Conversation]) -> str:
    headline, sentences = verdict(evidence)
    first, others = _side_by_side(evidence, heldout)
    gradients = gradient_section(evidence)
    evaluation, drawn = _evaluation(run, heldout, evidence)
    page = template("report.html.j2", duration=_duration, size=_size, signed=_signed)
    return page.render(
        run=run.absolute().name,
        headline=headline,
        sentences=sentences,
        e=evidence,
        s=evidence.summary,
        limit=evidence.config["max_new_tokens"],
        peak=_peak(evidence.summary),
        pictures=_pictures(evidence) | _as_svg((gradients.pictures if gradients else {}) | drawn),
        v=evaluation,
        gradients=gradients,
        categories=_categories(evidence, heldout),
        first=first,
        others=others,
        difficulties=", ".join(f"{n} {d}" for d, n in Counter(c.difficulty for c, _ in first if c.difficulty).items()),
        sizes=_sizes(evidence),
        stages=[(_STAGES.get(name, name), seconds) for name, seconds in evidence.summary["seconds"].items()],
        settings={
            "config.json": _flat(evidence.config),
            "environment.json": _flat(evidence.environment),
            "adapter/adapter.json": [
                row for row in _flat(evidence.card) if not row[0].startswith(("lora.", "bottleneck."))
            ],
        },
    )


def _evaluation(run: Path, heldout: Sequence[Conversation], evidence: Evidence) -> tuple[View | None, dict[str, Any]]:
    """What `helptune evaluate` found, once it was run."""
    if not (run / "eval" / ROWS).exists():
        return None, {}
    answers = {name: {answer.id: answer for answer in own} for name, own in evidence.answers.items()}
    return view(read_findings(run / "eval"), heldout, answers, dates(run / "eval"))


def _pictures(evidence: Evidence) -> dict[str, tuple[Markup, str]]:
    """name -> (picture, what it shows in words)."""
    losses, training, speed = evidence.summary["heldout_loss"], evidence.summary["training"], evidence.speed
    before, after = (losses[name]["by_category"] for name in ("base", "tuned"))
    tallies = evidence.tallies.values()
    lengths = {tally.label: (tally.lengths, tally.total) for tally in tallies}
    drawn = {
        "loss": (
            plots.loss_curve(plots.blank(), evidence.records),
            f"Training loss and held-back loss over {training['steps']} optimizer steps. The held-back loss is lowest "
            f"at step {training['best_step']}, with {training['best_loss']:.3f} nats per token.",
        ),
        "categories": (
            plots.category_losses(plots.blank(height=4), before, after),
            "Held-out loss in nats per token of the base and the tuned model: "
            + "; ".join(f"{name} {before[name]:.2f} and {after[name]:.2f}" for name in before),
        ),
        "ended": (
            plots.answers_ended(plots.blank(height=3), lengths, evidence.config["max_new_tokens"]),
            "Share of answers that had ended after so many new tokens. At the limit: "
            + "; ".join(f"{tally.label} {tally.share:.1%}" for tally in tallies),
        ),
        "speed": (
            plots.throughput(plots.blank(height=3), evidence.records),
            f"Tokens per second of each training step{f', median {speed:.0f}' if speed else ''}.",
        ),
    }
    return _as_svg(drawn)


def _as_svg(drawn: dict[str, tuple[Axes, str]]) -> dict[str, tuple[Markup, str]]:
    """Ours, from matplotlib: the only markup the page does not escape."""
    return {name: (Markup(plots.to_svg(ax)), words) for name, (ax, words) in drawn.items()}


def _categories(evidence: Evidence, heldout: Sequence[Conversation]) -> list[tuple[str, int, float, float]]:
    """(category, conversations, loss of the base, of the tuned model)."""
    counts = Counter(c.category or "all" for c in heldout)
    before, after = (evidence.summary["heldout_loss"][name]["by_category"] for name in ("base", "tuned"))
    return [(name, counts[name], before[name], after[name]) for name in before]


def _side_by_side(evidence: Evidence, heldout: Sequence[Conversation]) -> tuple[list[Any], list[Any]]:
    """Prompts with all their answers: one of each category, filled up in order to 12; and the others.

    The k-th category shows its first prompt of difficulty k mod 3, so that easy and hard ones come up alike.

    The rule looks at no answer, so nobody can pick cherries with it.
    """
    answers = {name: {answer.id: answer for answer in evidence.answers[name]} for name in MODELS}
    rows = [(c, [(name, MODELS[name], answers[name][c.id]) for name in MODELS]) for c in heldout]
    first_of = {c.category: i for i, c in reversed(list(enumerate(heldout)))}
    for k, category in enumerate(dict.fromkeys(c.category for c in heldout)):
        wanted = (category, DIFFICULTIES[k % len(DIFFICULTIES)])
        matches = (i for i, c in enumerate(heldout) if (c.category, c.difficulty) == wanted)
        first_of[category] = next(matches, first_of[category])
    ranked = sorted(range(len(rows)), key=lambda i: (first_of[heldout[i].category] != i, i))
    cut = max(_SIDE_BY_SIDE, len(first_of))
    return [rows[i] for i in sorted(ranked[:cut])], [rows[i] for i in sorted(ranked[cut:])]


def _sizes(evidence: Evidence) -> list[tuple[str, str, str, str, str]]:
    """(what, LoRA, how known, full fine-tuning, how known). Computed: number of parameters times bytes of each."""
    trained, total = (evidence.summary["parameters"][name] for name in ("trainable", "base"))
    dtype = evidence.config["precision"]
    dtype = dtype if dtype in _BYTES else "bfloat16"  # a quantized base cannot be trained as a whole
    return [
        ("trained parameters", f"{trained:,}", "counted", f"{total:,}", "counted"),
        ("share of the base", f"{evidence.trainable_share:.2%}", "computed", "100%", ""),
        ("result on disk", _size(evidence.summary["adapter_bytes"]), "measured",
         _size(total * _BYTES[dtype]), f"computed, {dtype}"),
        ("gradient, float32", _size(4 * trained), "computed", _size(4 * total), "computed"),
        ("two Adam moments, float32", _size(8 * trained), "computed", _size(8 * total), "computed"),
    ]  # fmt: skip


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 1000 * 2**20 else f"{count / 2**30:.2f} GiB"


def _peak(summary: dict[str, Any]) -> str:
    host, device = summary["peak_rss_gib"], summary["peak_device_gib"]
    return f"{host:.2f} GiB" + (f", {device:.2f} GiB on each accelerator" if device else "")


def _signed(change: float) -> str:
    return f"{change:+.1%}".replace("-", "\u2212")


@contextmanager
def _expecting_complete(run: Path) -> Iterator[None]:
    """A file that is valid JSON but not what this version writes is the user's to mend, so it gets a RunError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, UndefinedError) as error:
        raise RunError(
            f"{run}: a file of this run is not as expected ({type(error).__name__}: {error}); "
            "it may be of another version or of other held-out conversations: start anew in another --run directory"
        ) from error
