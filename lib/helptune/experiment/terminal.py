"""The live view of a run in a terminal: curves in braille, the latest figures, sample answers.

A braille character is two dots wide and four high, so a line of text is a picture four dots high. Without a terminal
each measurement is printed once, for logs. Model text never reaches the terminal as markup or as an escape sequence.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from helptune.errors import RunError
from helptune.experiment.watch import Sample, Snapshot, log_tail, read_run, status
from helptune.text import printable

_ENDS = ("stopped", "finished", "failed")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BASE, _TRAINING, _HELD_BACK = "orange1", "bright_black", "dodger_blue1"
_ANSWER = 240
_ROWS = 9


def watch(run: Path, console: Console, *, once: bool = False, every: float = 1.0) -> Snapshot:
    """Show the run until it ends, or until Ctrl-C; returns what was seen last. Raises RunError when there is none."""
    if not run.is_dir():
        raise RunError(f"{run}: there is no such run; name its directory with --run")
    seen = read_run(run)
    try:
        if once:
            what = view(seen, console.width) if console.is_terminal else plain(seen)
            console.print(what, soft_wrap=not console.is_terminal)
        elif console.is_terminal:
            with Live(view(seen, console.width), console=console, auto_refresh=False) as live:
                while seen.state not in _ENDS:
                    time.sleep(every)
                    seen = read_run(run)
                    live.update(view(seen, console.width), refresh=True)
        else:
            seen = _follow_plainly(seen, run, console, every)
    except KeyboardInterrupt:
        console.print("no longer watching; the run is left alone")
    if seen.state == "failed" and (tail := log_tail(run)):
        console.print(Text(printable(tail)))
    return seen


def _follow_plainly(seen: Snapshot, run: Path, console: Console, every: float) -> Snapshot:
    console.print(plain(seen), soft_wrap=True)
    shown = len(seen.measurements)
    while seen.state not in _ENDS:
        time.sleep(every)
        seen = read_run(run)
        if len(seen.measurements) != shown or seen.state in _ENDS:
            console.print(plain(seen), soft_wrap=True)
            shown = len(seen.measurements)
    return seen


def view(seen: Snapshot, width: int) -> RenderableType:
    """A moment of a run, in so many columns."""
    bar = ProgressBar(total=max(seen.total or 1, 1), completed=seen.step, width=min(width, 100))
    values = Table.grid(padding=(0, 2))
    for name, value in figures(seen):
        values.add_row(Text(name, style="dim"), Text(value))
    columns = Table.grid(padding=(0, 3))
    columns.add_row(chart(seen, max(20, min(width - 50, 64))), values)
    parts: list[RenderableType] = [Text(f"{seen.state}: {status(seen)}", style="bold"), bar, Text(), columns]
    return Group(*parts, *_answers(seen))


def plain(seen: Snapshot) -> Text:
    """A moment of a run as lines of text."""
    lines = [
        f"{seen.state}: {status(seen)}",
        "  " + ", ".join(f"{name.strip()} {value}" for name, value in figures(seen) if value != "-"),
    ]
    for sample in seen.latest[1]:
        lines.append(f"  {_short(sample.prompt, 60)!r} -> {_short(sample.answer, 120)!r}{_cut(sample)}")
    return Text("\n".join(lines))


def figures(seen: Snapshot) -> list[tuple[str, str]]:
    """(name, value) of the latest figures; "-" where there is none yet."""
    measured, best = seen.measurements[-1]["eval_loss"] if seen.measurements else None, seen.best
    held_back = [
        ("held-back loss", _written(measured, "{:.3f}")),
        ("  of the base", _written(seen.base_loss, "{:.3f}")),
        ("  best so far", f"{best[1]:.3f} at step {best[0]}" if best else "-"),
    ]
    rest = [("learning_rate", "learning rate", "{:.2e}"), ("grad_norm", "gradient norm", "{:.2f}")]
    return [
        ("training loss", _written(seen.last("loss"), "{:.3f}")),
        *held_back,
        *((label, _written(seen.last(name), form)) for name, label, form in rest),
        ("speed", _written(seen.speed, "{:.0f} tokens/s")),
        ("memory", _written(seen.last("memory_gib"), "{:.2f} GiB")),
    ]


def chart(seen: Snapshot, width: int, rows: int = _ROWS) -> RenderableType:
    """Training loss as grey dots, held-back loss as a blue line, the base's level dashed in orange."""
    training = seen.curve("loss")
    held_back = [(int(r["step"]), r["eval_loss"]) for r in seen.measurements]
    values = [value for _, value in (*training, *held_back)]
    if not values:
        return Text("no losses yet", style="dim")
    low, high, last = min(values), max(values), max(seen.total or 0, seen.step, 1)
    across, down = 2 * width - 1, 4 * rows - 1

    def place(point: tuple[float, float]) -> tuple[int, int]:
        return round(point[0] / last * across), round((high - point[1]) / ((high - low) or 1.0) * down)

    canvas = [[0] * width for _ in range(rows)]
    styles = [[""] * width for _ in range(rows)]

    def draw(dots: Sequence[tuple[int, int]], style: str) -> None:
        for x, y in dots:
            canvas[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            styles[y // 4][x // 2] = style

    draw([place(point) for point in training], _TRAINING)
    if seen.base_loss is not None:
        draw([(x, place((0, seen.base_loss))[1]) for x in range(across + 1) if x % 6 < 3], _BASE)
    draw(_line([place(point) for point in held_back]), _HELD_BACK)
    picture = Text()
    for row in range(rows):
        level = high - (high - low) * row / max(rows - 1, 1)
        picture.append(f"{level:6.2f} " if row % 4 == 0 else " " * 7, style="dim")
        for cell, style in zip(canvas[row], styles[row], strict=True):
            picture.append(chr(0x2800 + cell), style=style)
        picture.append("\n")
    legend = [("training", _TRAINING), ("held back", _HELD_BACK), ("base, held back", _BASE)]
    return picture + Text(" " * 7) + Text("  ").join(Text(name, style=style) for name, style in legend)


def _line(dots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The dots, joined."""
    joined = list(dots)
    for (x0, y0), (x1, y1) in pairwise(dots):
        long = max(abs(x1 - x0), abs(y1 - y0), 1)
        joined += [(x0 + round((x1 - x0) * i / long), y0 + round((y1 - y0) * i / long)) for i in range(long)]
    return joined


def _answers(seen: Snapshot) -> list[RenderableType]:
    """Each prompt with its first and its latest answer."""
    first = {sample.id: sample for sample in seen.base[1]}
    parts: list[RenderableType] = [Text(), Rule(style="dim")] if seen.latest[1] else []
    for now in seen.latest[1]:
        parts.append(Text(_short(now.prompt, _ANSWER), style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column()
        before = first.get(now.id)
        if before is not None:
            table.add_row(Text("base" if not seen.base[0] else f"step {seen.base[0]}", style=_BASE), _answer(before))
        if seen.latest[0] > seen.base[0]:
            table.add_row(Text(f"step {seen.latest[0]}", style=_HELD_BACK), _answer(now))
        parts.append(table)
    return parts


def _answer(sample: Sample) -> Text:
    return Text(_short(sample.answer, _ANSWER) or "(no text)") + Text(_cut(sample), style="dim")


def _cut(sample: Sample) -> str:
    return "" if sample.ended else " (cut at the limit)"


def _short(text: str, limit: int) -> str:
    """On one line, without what a terminal would obey."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _written(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
