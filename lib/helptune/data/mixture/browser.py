"""A dataset in a notebook: choose a source, category, difficulty or drop reason, and read what is there.

The widgets keep their values without a live kernel; texts are escaped, whatever they contain.
"""

from pathlib import Path
from typing import Any

from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox
from markupsafe import Markup

from helptune.data.conversation import CATEGORIES, DIFFICULTIES
from helptune.data.mixture.inspect import KEPT, Sample, Wanted, reasons, samples, sources
from helptune.data.mixture.writing import read_manifest
from helptune.errors import DataError
from helptune.text import printable

_SHOWN = 3
_AS_TYPED = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4"
"""Not <pre>, whose words JupyterLab breaks anywhere."""


def browse(folder: Path | str) -> VBox:
    """The browser of the dataset in `folder`: four lists, a button for other samples, and the samples."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    shown = HTML(layout=Layout(max_width="48rem"))
    choices = {
        "reason": [("kept", KEPT), *((name.replace("_", " "), name) for name in reasons(manifest))],
        "source": [("any", ""), *((name, name) for name in sources(folder))],
        "category": [("any", ""), *((name, name) for name in CATEGORIES)],
        "difficulty": [("any", ""), *((name, name) for name in DIFFICULTIES)],
    }
    lists = {
        name: Dropdown(
            options=options, description=name, layout=Layout(width="11.5rem"), style={"description_width": "4.5rem"}
        )
        for name, options in choices.items()
    }
    more = Button(description="Other samples")
    seed = iter(range(1_000_000))

    def show(_: Any = None) -> None:
        wanted = Wanted(**{name: chosen.value for name, chosen in lists.items()})
        try:
            found = samples(folder, wanted, _SHOWN, next(seed))
            shown.value = Markup("").join(_html(sample) for sample in found)
        except DataError:
            shown.value = "<p>Nothing in this dataset fits. Choose another reason, source, category or difficulty.</p>"

    for chosen in lists.values():
        chosen.observe(show, "value")
    more.on_click(show)
    show()
    return VBox([HBox(list(lists.values()), layout=Layout(flex_flow="row wrap")), more, shown])


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
