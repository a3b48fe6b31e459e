"""A dataset in a notebook: choose a source, category, difficulty or drop reason, and read what is there.

The widgets keep their values without a live kernel; texts are escaped, whatever they contain.
"""

from pathlib import Path

from ipywidgets import Button, Dropdown, HBox, Layout
from markupsafe import Markup

from helptune.data.conversation import CATEGORIES, DIFFICULTIES
from helptune.data.mixture.inspect import KEPT, Sample, Wanted, reasons, samples, sources
from helptune.data.mixture.writing import read_manifest
from helptune.errors import DataError
from helptune.interactive import Live
from helptune.text import printable

_SHOWN = 3
_AS_TYPED = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4"
"""Not <pre>, whose words JupyterLab breaks anywhere."""
_NOTHING = "Nothing in this dataset fits. Choose another reason, source, category or difficulty."


class Browser(Live):
    """Four lists, a button for other samples, and the samples that fit. `browser.lists["reason"].value` is a choice."""

    def __init__(self, folder: Path):
        self._folder, self._seed = folder, 0
        choices = {
            "reason": [("kept", KEPT), *((name.replace("_", " "), name) for name in reasons(read_manifest(folder)))],
            "source": [("any", ""), *((name, name) for name in sources(folder))],
            "category": [("any", ""), *((name, name) for name in CATEGORIES)],
            "difficulty": [("any", ""), *((name, name) for name in DIFFICULTIES)],
        }
        style, layout = {"description_width": "4.5rem"}, Layout(width="11.5rem")
        self.lists = {
            name: Dropdown(options=options, description=name, layout=layout, style=style)
            for name, options in choices.items()
        }
        for chosen in self.lists.values():
            chosen.observe(self.refresh, "value")
        more = Button(description="Other samples")
        more.on_click(self._draw_others)
        super().__init__([HBox(list(self.lists.values()), layout=Layout(flex_flow="row wrap")), more], width="48rem")

    @property
    def found(self) -> list[Sample]:
        wanted = Wanted(**{name: chosen.value for name, chosen in self.lists.items()})
        try:
            return samples(self._folder, wanted, _SHOWN, self._seed)
        except DataError:
            return []

    def html(self) -> Markup:
        return Markup("").join(map(_html, self.found)) or Markup("<p>{}</p>").format(_NOTHING)

    @property
    def words(self) -> str:
        """Names alone: what a text contains would move a terminal's cursor."""
        named = [str((sample.conversation or {}).get("id") or sample.detail) for sample in self.found]
        return printable(f"{self.lists['reason'].label}: {', '.join(named)}") if named else _NOTHING

    def _draw_others(self, _: Button) -> None:
        self._seed += 1
        self.refresh()


def browse(folder: Path | str) -> Browser:
    """The browser of the dataset in `folder`, to end a cell with."""
    return Browser(Path(folder))


def _html(sample: Sample) -> Markup:
    why = (
        Markup("")
        if sample.reason == KEPT
        else Markup("<p><b>{}</b>: {}</p>").format(sample.reason.replace("_", " "), printable(sample.detail))
    )
    if sample.conversation is None:
        return Markup("<hr>{}").format(why)
    c = sample.conversation
    about = " · ".join(part for part in (c["id"], c["source"], c["license"], c["category"], c["difficulty"]) if part)
    turns = Markup("").join(
        Markup('<p><b>{}</b></p><div class="helptune-text" style="{}">{}</div>').format(
            m["role"], _AS_TYPED, printable(m["content"])
        )
        for m in c["messages"]
    )
    return Markup("<hr><p><small>{}</small></p>{}{}").format(printable(about), why, turns)
