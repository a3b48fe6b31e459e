"""The figures of the screens as a table on the terminal."""

from typing import Any


def show(found: dict[str, Any], console: Any) -> None:
    """What `train_safety` gives: each figure on the test split, with its 95% interval."""
    from rich.table import Table

    columns = [(name, target) for name in ("lexical", "probe") if name in found for target in ("prompt", "response")]
    figures = {column: found[column[0]]["test"][column[1]] for column in columns}
    table = Table(title="on the test split, with 95% intervals")
    table.add_column("figure")
    for name, target in columns:
        table.add_column(f"{name}, {target}s", justify="right")
    for figure in dict.fromkeys(figure for own in figures.values() for figure in own):
        table.add_row(figure, *(_text(figures[column].get(figure)) for column in columns))
    console.print(table)


def _text(figure: dict[str, Any] | None) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.2f}-{figure['high']:.2f})" if figure else ""
