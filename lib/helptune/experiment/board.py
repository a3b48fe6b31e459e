"""A moment of a run as HTML, in pieces for the monitor. What models wrote is hostile text: every value is escaped."""

from markupsafe import Markup

from helptune import plots
from helptune.experiment.templates import template
from helptune.experiment.watch import Snapshot, status
from helptune.text import printable

_LONGEST = 2_000
"""Characters of a prompt or an answer that are shown."""

_TRACES = (
    ("learning_rate", "learning rate", "{:.2e}", False),
    ("grad_norm", "gradient norm", "{:.2f}", True),
    ("speed", "tokens/s", "{:.0f}", True),
    ("memory_gib", "memory, GiB", "{:.2f}", False),
)
"""(quantity of a step, name, how a value is written, noisy)."""


def _shown(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + " …")


_page = template("monitor.html.j2", shown=_shown).module


def head(seen: Snapshot, sentence: str, *, live: bool = True) -> Markup:
    """The state, and what it means. A live one hides the still one of the same cell."""
    return _page.style() + _page.head(seen, sentence, live)  # type: ignore[attr-defined]


def figures(seen: Snapshot, tail: str = "") -> Markup:
    """Progress and the four figures that matter; `tail` is the end of the log of a run that failed."""
    return _page.figures(seen, facts(seen), printable(tail))  # type: ignore[attr-defined]


def pictures(seen: Snapshot) -> Markup:
    """The losses, and what a step did beside them."""
    loss = plots.loss_curve(plots.blank(5.2, 3.7), [*seen.steps, *seen.measurements])
    traces = []
    for name, label, form, noisy in _TRACES:
        points = seen.curve(name)
        value = form.format(points[-1][1]) if points else ""
        picture = plots.trace(plots.blank(2.7, 1.6), points, noisy=noisy)
        words = f"{label} of each step, now {value}" if points else f"{label}: nothing yet"
        traces.append((label, value, Markup(plots.to_svg(picture)), words))
    return _page.pictures(Markup(plots.to_svg(loss)), in_words(seen), traces)  # type: ignore[attr-defined]


def samples(seen: Snapshot) -> Markup:
    return _page.samples(seen)  # type: ignore[attr-defined]


def still(seen: Snapshot, tail: str = "") -> Markup:
    """All of it without a process behind it: for a saved notebook, or a page."""
    page = head(seen, status(seen), live=False) + figures(seen, tail) + pictures(seen) + samples(seen)
    return Markup('<div class="helptune-still">') + page + Markup("</div>")


def facts(seen: Snapshot) -> list[tuple[str, str, str]]:
    """(name, value, what it is to be compared with)."""
    loss, last = seen.last("loss"), seen.measurements[-1] if seen.measurements else None
    best, base, measured = seen.best, seen.base_loss, seen.latest[1]
    ended = sum(sample.ended for sample in measured)
    return [
        ("training loss", f"{loss:.3f}" if loss is not None else "–", f"nats per token, step {seen.step}"),
        (
            "held-back loss",
            f"{last['eval_loss']:.3f}" if last else "–",
            f"base {base:.3f}, {last['eval_loss'] / base - 1:+.1%}".replace("-", "\u2212") if last and base else "",
        ),
        ("best so far", f"{best[1]:.3f}" if best else "–", f"step {best[0]}: kept" if best else ""),
        ("samples ended", f"{ended} of {len(measured)}" if measured else "–", f"step {seen.latest[0]}"),
    ]


def in_words(seen: Snapshot) -> str:
    """What the picture of the losses shows."""
    loss, base, best = seen.last("loss"), seen.base_loss, seen.best
    words = [f"Training and held-back loss in nats per token over {seen.step} optimizer steps."]
    words += [] if loss is None else [f"Training loss {loss:.2f}."]
    words += [] if base is None else [f"Level of the base {base:.3f}."]
    words += [] if best is None else [f"Lowest held-back loss {best[1]:.3f} at step {best[0]}."]
    return " ".join(words)
