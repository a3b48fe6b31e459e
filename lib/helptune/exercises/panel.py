"""The progress panel of a notebook: a row for each exercise, which changes as checks are run."""

import importlib
from typing import Any

from markupsafe import Markup

from helptune.exercises.check import titles
from helptune.exercises.progress import followers, read_progress
from helptune.interactive import Live


class Panel(Live):
    """A row for each exercise of a notebook such as "lora_math"."""

    def __init__(self, notebook: str):
        module = importlib.import_module(f"helptune.exercises.checks.{notebook}")
        self.notebook, self._titles = notebook, titles(module)
        super().__init__([], width="40rem")

    @property
    def words(self) -> str:
        tried = read_progress().get(self.notebook, {})
        solved = [name for name in self._titles if tried.get(name, {}).get("solved")]
        return f"{len(solved)} of {len(self._titles)} exercises solved" + (f": {', '.join(solved)}" if solved else "")

    def html(self) -> Markup:
        tried = read_progress().get(self.notebook, {})
        rows = Markup("").join(_row(name, title, _state(tried.get(name))) for name, title in self._titles.items())
        head = Markup("<p><b>{}</b></p>").format(self.words.partition(":")[0])
        return head + Markup("<table>{}{}</table>").format(_row("exercise", "what it asks", "state", tag="th"), rows)


def _state(tried: dict[str, Any] | None) -> str:
    if tried is None:
        return "not tried"
    return "✓ solved" if tried["solved"] else f"✗ {str(tried['hint']).replace('_', ' ')} (tries: {tried['tries']})"


def _row(*texts: str, tag: str = "td") -> Markup:
    cell = Markup("<{0} style='text-align: left; padding: 0.2rem 1rem 0.2rem 0'>{1}</{0}>")
    return Markup("<tr>{}</tr>").format(Markup("").join(cell.format(Markup(tag), text) for text in texts))


def panel(notebook: str) -> Panel:
    """The panel, to end a cell with. It follows what is recorded in this process from now on."""
    shown = Panel(notebook)
    followers[:] = [lambda name: shown.refresh() if name == notebook else None]  # one is live: the newest
    return shown
