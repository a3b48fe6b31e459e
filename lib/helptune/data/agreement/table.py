"""Every measure of a rating file in one table, over all items and over those that stay: `helptune data agreement`."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helptune.data.agreement.coefficients import ANONYMOUS, LEAST_SHARED, MEASURES, measure
from helptune.data.agreement.gate import BIAS, filtered
from helptune.data.agreement.ratings import Ratings, read_ratings
from helptune.errors import SettingError
from helptune.text import printable

if TYPE_CHECKING:
    from rich.console import Console

NAMELESS = (
    "Raters are anonymous, and the order of their ratings means nothing: kappa is of one pair of ratings an item, "
    "drawn at random with the seed, and alpha is ordinal. Measures that need to know who rated are left out."
)


def agreement_table(
    path: Path | str,
    attribute: str | None = None,
    max_spread: int | None = None,
    min_ratings: int = 1,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each attribute (or the one named), stage ("all" items, and those "kept") and measure.

    A row is ready for JSON: the fields of Agreement, `attribute`, `stage`, `total` (items of the stage), `retention`
    and `anonymous`. There is no stage "kept" where no filter was asked for. Figures of that stage are biased upward by
    construction. Raises DataError for a bad file, SettingError for an attribute it does not hold.
    """
    found = read_ratings(path)
    if attribute is not None and attribute not in found:
        raise SettingError(f"{path}: holds no attribute {attribute!r}; it has {', '.join(map(repr, found))}")
    chosen = found.values() if attribute is None else [found[attribute]]
    rows = []
    for ratings in chosen:
        stages = {"all": ratings}
        if max_spread is not None or min_ratings > 1:
            stages["kept"] = filtered(ratings, max_spread, min_ratings)
        for stage, part in stages.items():
            retention = len(part.items) / len(ratings.items)
            about = {
                "attribute": ratings.attribute,
                "stage": stage,
                "total": len(part.items),
                "retention": retention,
                "anonymous": ratings.anonymous,
            }
            rows += [
                about | asdict(measure(part, name, level, resamples=resamples, seed=seed))
                for name, level in _measures(ratings)
            ]
    return rows


def _measures(ratings: Ratings) -> Sequence[tuple[str, str]]:
    if ratings.anonymous:
        return ANONYMOUS
    return [(name, level) for name, levels in MEASURES.items() for level in levels]


def show(rows: Sequence[dict[str, Any]], console: "Console") -> None:
    """A table for each attribute and stage, and below them how to read them."""
    from rich.table import Table
    from rich.text import Text

    for title, part in groupby(rows, _title):
        table = Table("measure", "value", "interval", title=Text(title), title_justify="left")
        for row in part:
            value = "undefined" if row["value"] is None else f"{row['value']:.3f}"
            interval = row["undefined"] if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            table.add_row(f"{row['measure']}, {row['level']}", value, interval)
        console.print(table)
    notes = [f"Intervals: {rows[0]['interval']}."] if rows else []
    notes += [NAMELESS] if any(row["anonymous"] for row in rows) else []
    left_out = max((row["pairs_left_out"] for row in rows), default=0)
    notes += [f"Kappa leaves out {left_out} pairs of raters who share fewer than {LEAST_SHARED} items."] * bool(
        left_out
    )
    notes += [BIAS] if any(row["stage"] == "kept" for row in rows) else []
    for note in notes:
        console.print(Text(note, style="dim"))


def _title(row: dict[str, Any]) -> str:
    least, mean, most = row["ratings_per_item"]
    kept = f"the {row['retention']:.0%} that stay" if row["stage"] == "kept" else "all"
    return printable(
        f"{row['attribute'] or 'ratings'}: {row['total']} items ({kept}), {mean:.1f} ({least} to {most}) ratings an "
        f"item, {row['raters']} raters, {row['missing']} missing"
    )
