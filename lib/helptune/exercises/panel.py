"""The progress panel of a notebook, with a row for each exercise, which changes as checks are run; and the course's."""

import importlib
import pkgutil
import re
from typing import Any

from markupsafe import Markup

from helptune.exercises import checks
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


class Overview(Live):
    """A row for each notebook with exercises: how many of them are solved."""

    def __init__(self) -> None:
        names = [module.name for module in pkgutil.iter_modules(checks.__path__)]
        modules = {name: importlib.import_module(f"{checks.__name__}.{name}") for name in names}
        found = [(_numbered(name, module), name, list(titles(module))) for name, module in modules.items()]
        self._notebooks = sorted(found)
        super().__init__([], width="40rem")

    def _solved(self) -> list[tuple[str, int, int]]:
        """(notebook, exercises solved, exercises)."""
        progress = read_progress()
        return [
            (title, sum(progress.get(name, {}).get(one, {}).get("solved", False) for one in own), len(own))
            for title, name, own in self._notebooks
        ]

    @property
    def words(self) -> str:
        rows = self._solved()
        solved, total = sum(row[1] for row in rows), sum(row[2] for row in rows)
        return f"{solved} of {total} exercises solved, in {len(rows)} notebooks"

    def html(self) -> Markup:
        row = Markup("<tr><td style='text-align: left'>{}</td><td>{} of {}</td></tr>")
        rows = Markup("").join(row.format(*one) for one in self._solved())
        head = Markup("<p><b>{}</b></p>").format(self.words)
        return head + Markup("<table><tr><th>notebook</th><th>solved</th></tr>{}</table>").format(rows)


def _numbered(name: str, module: Any) -> str:
    """NN_name, as the docstring of a notebook's checks has it."""
    found = re.search(rf"\d\d_{name}", module.__doc__ or "")
    return found.group() if found else name


def overview() -> Overview:
    """The whole course, as it stands when the cell is run."""
    return Overview()
