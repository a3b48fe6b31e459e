"""Evaluated runs side by side: two on every metric, more as a ranking; for the terminal, as JSON and as a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from helptune import plots
from helptune.compare.engine import Compared, compare, headline, sentences
from helptune.compare.ranking import Ranked, rank
from helptune.errors import RunError, SettingError
from helptune.evaluate.table import Problem, Row, read_problems, read_rows
from helptune.experiment.comparison_table import comparison_table, effects
from helptune.experiment.evidence import TUNED
from helptune.experiment.findings import to_json
from helptune.experiment.protocol import PROTOCOL, read_protocol
from helptune.experiment.templates import template
from helptune.files import write_text
from helptune.text import printable

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Side:
    """One model of one evaluated run. `asked` tells its questions, the rule of its answers, and its classifier."""

    name: str
    folder: Path
    model: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    asked: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """`compared` of two; `ranked` of more."""

    names: tuple[str, ...]
    compared: Compared | None
    ranked: Ranked | None


def compare_runs(specs: Sequence[str]) -> Comparison:
    """Each spec is DIR or DIR:MODEL; a run's model is the tuned one unless it says otherwise.

    Raises SettingError for fewer than two or the same twice, RunError for a run that was not evaluated, or was asked
    other questions than the first.
    """
    if len(specs) < 2:
        raise SettingError("name two runs at least: helptune compare runs/first runs/second")
    sides = [_side(spec) for spec in specs]
    who = [(side.folder.resolve(), side.model) for side in sides]  # one folder may be spelled in several ways
    if twice := [side.name for i, side in enumerate(sides) if who[i] in who[:i]]:
        raise SettingError(f"{twice[0]} is named twice; to compare models of one run, name them: DIR:base DIR:tuned")
    for side in sides[1:]:
        other = [what for what, value in sides[0].asked.items() if side.asked.get(what) != value]
        if other:
            raise RunError(
                f"{side.name} was evaluated with another {' and '.join(other)} than {sides[0].name}: figures of "
                "different questions cannot be compared; evaluate both with the same"
            )
    names = tuple(side.name for side in sides)
    problems = tuple(dict.fromkeys(problem for side in sides for problem in side.problems))
    if len(sides) == 2:
        return Comparison(names, compare(sides[0].rows, sides[1].rows, (names[0], names[1]), problems), None)
    return Comparison(names, None, rank({side.name: side.rows for side in sides}, problems))


def _side(spec: str) -> Side:
    folder, model = Path(spec), ""
    if not folder.is_dir() and ":" in spec:
        text, _, model = spec.rpartition(":")
        folder = Path(text)
    rows = read_rows(folder / "eval")
    models = list(dict.fromkeys(row.model for row in rows))
    model = model or (TUNED if TUNED in models else models[0] if len(models) == 1 else "")
    if model not in models:
        raise SettingError(f"{spec}: which model? This evaluation has {', '.join(models)}: name one as {folder}:MODEL")
    protocol = read_protocol(folder / "eval")
    try:
        asked = {f"set of {name}": known["sha256"] for name, known in protocol["sets"].items()} | {
            "rule of answering": protocol["rule"],
            "classifier": protocol["classifier"],
            "way of measuring": protocol["measures"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder / 'eval' / PROTOCOL}: no {error}; run `helptune evaluate` again") from error
    own = tuple(row for row in rows if row.model == model)
    lost = tuple(one for one in read_problems(folder / "eval") if one.where in ("", model))
    return Side(f"{folder}:{model}", folder, model, own, lost, asked)


def show(found: Comparison, console: "Console") -> None:
    """The verdict and the table, in the terminal."""
    from rich.table import Table
    from rich.text import Text

    title, said, head, rows = _laid_out(found)
    console.print(Text(printable(title), style="bold"))
    for sentence in said:
        console.print(Text(printable(sentence)))
    table = Table()
    for cell in head:
        table.add_column(Text(printable(cell)))  # Text, because [brackets] in a name are not markup
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def write(found: Comparison, out: Path) -> None:
    """`comparison.json` and `comparison.html`, one file that needs no other."""
    title, said, head, rows = _laid_out(found)
    if found.compared is not None:
        axes, words = effects(found.compared)
    else:
        assert found.ranked is not None
        axes = plots.strength_scale(plots.blank(height=1.2 + 0.4 * len(found.names)), found.ranked.ranking)
        words = f"Strengths: {found.ranked.ranking}"
    problems = (found.compared or found.ranked).problems  # type: ignore[union-attr]
    page = template("comparison.html.j2").render(
        title=title, sentences=said, head=head, rows=rows, names=found.names, problems=problems,
        picture=Markup(plots.to_svg(axes)), words=words,
    )  # fmt: skip
    write_text(out / "comparison.json", to_json(found) + "\n")
    write_text(out / "comparison.html", page)


def _laid_out(found: Comparison) -> tuple[str, list[str], Sequence[str], Sequence[Sequence[str]]]:
    """(verdict, sentences, head of the table, its rows)."""
    if found.compared is not None:
        table = comparison_table(found.compared)
        return f"{headline(found.compared)}.", sentences(found.compared), table.head, table.rows
    ranked = found.ranked
    assert ranked is not None
    rows = []
    for one in ranked.ranking.strengths:
        mean, strength = ranked.means[one.model], one.value
        rank = str(one.best) if one.best == one.worst else f"{one.best} to {one.worst}"
        rows.append(
            [
                rank,
                one.model,
                _number(mean.value, mean.low, mean.high),
                _number(strength.value, strength.low, strength.high),
                str(mean.n),
            ]
        )
    said = [
        "Ranked by how often each scores higher than another on the same item; = stands between models that are not "
        "told apart (Bradley-Terry, Holm over all pairs). The scores are a program's, not people's."
    ]
    if ranked.problems:
        said.append(f"{len(ranked.problems)} values are missing or damaged; an item that a model lacks ranks nobody.")
    return f"{ranked.ranking}", said, ["rank", "model", "mean helpfulness", "strength", "n"], rows


def _number(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "undefined"
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{value:.3f}{interval}"
