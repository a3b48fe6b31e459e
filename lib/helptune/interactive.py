"""A picture that follows its sliders, in a notebook: drawn anew on every change, and told in words.

    explore(draw, words, rank=slider(1, 64, 16), alpha=slider(1, 64, 32))

`draw(ax, rank=..., alpha=...)` draws on an empty Axes; `words(rank=..., alpha=...)` says what is to be seen there. The
controls are ordinary ipywidgets: Tab reaches them, the arrow keys move them. Where no kernel lives, the picture and the
words of the moment stand in their place.
"""

from collections.abc import Callable
from typing import Any

from IPython.display import display
from ipywidgets import HTML, DOMWidget, Dropdown, FloatSlider, IntSlider, Layout, VBox
from markupsafe import Markup

from helptune.plots.style import blank, to_svg

_STYLE = {"description_width": "9rem"}
_WIDE = Layout(width="min(100%, 34rem)")
_HIDE = Markup("<style>.jp-OutputArea:has(.helptune-live) .helptune-still {display: none}</style>")


class Live(VBox):
    """Controls over a piece of HTML. Saved without its kernel, a cell keeps the HTML of the moment it was shown."""

    def __init__(self, controls: list[DOMWidget], width: str = "100%"):
        self._page = HTML(layout=Layout(width="100%", max_width=width))
        self.refresh()
        super().__init__([*controls, self._page])

    def html(self) -> Markup:
        """What is to be seen now."""
        raise NotImplementedError

    @property
    def words(self) -> str:
        """The same, told."""
        raise NotImplementedError

    def refresh(self, _change: Any = None) -> None:
        self._shown = self.html()
        self._page.value = str(Markup("<div class='helptune-live'>{}</div>").format(self._shown))

    def __repr__(self) -> str:
        return self.words

    def _ipython_display_(self, **kwargs: Any) -> None:
        still = _HIDE + Markup("<div class='helptune-still'>{}</div>").format(self._shown)
        display({"text/html": str(still), "text/plain": self.words}, raw=True)
        display(super()._repr_mimebundle_(**kwargs), raw=True)


def slider(low: float, high: float, value: float, step: float = 1, name: str = "") -> IntSlider | FloatSlider:
    """A slider of whole numbers, or of others when one of them is not whole. `name` defaults to the argument's."""
    whole = all(isinstance(number, int) for number in (low, high, value, step))
    kind = IntSlider if whole else FloatSlider
    return kind(value, min=low, max=high, step=step, description=name, layout=_WIDE, style=_STYLE)


def choice(options: Any, value: Any = None, name: str = "") -> Dropdown:
    """A list to choose one of: values, or (label, value) pairs."""
    picked = {} if value is None else {"value": value}
    return Dropdown(options=options, description=name, layout=_WIDE, style=_STYLE, **picked)


class Explorer(Live):
    """A picture of its controls' values. `explorer.controls["rank"].value = 4` moves it, as a hand would."""

    def __init__(
        self,
        draw: Callable[..., Any],
        words: Callable[..., str],
        controls: dict[str, DOMWidget],
        size: tuple[float, float],
    ):
        self.controls, self._draw, self._words, self._size = controls, draw, words, size
        for name, control in controls.items():
            control.description = control.description or name
            control.observe(self.refresh, "value")
        super().__init__(list(controls.values()), width=f"{size[0]:g}in")

    @property
    def values(self) -> dict[str, Any]:
        return {name: control.value for name, control in self.controls.items()}

    @property
    def words(self) -> str:
        return self._words(**self.values)

    def html(self) -> Markup:
        ax, words = blank(*self._size), self.words
        self._draw(ax, **self.values)
        picture = Markup("<div role='img' aria-label='{}'>{}</div>").format(words, Markup(to_svg(ax)))
        return picture + Markup("<p>{}</p>").format(words)


def explore(
    draw: Callable[..., Any],
    words: Callable[..., str],
    size: tuple[float, float] = (6.4, 3.6),
    **controls: DOMWidget,
) -> Explorer:
    """An Explorer to end a cell with. `size` of the picture is in inches."""
    return Explorer(draw, words, controls, size)
