"""A mixture's funnel as a table for a terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from helptune.text import printable


def show(manifest: dict[str, Any], console: Console) -> None:
    """Stages in order, a column a source; then the reasons, most frequent first."""
    sources = list(manifest["funnel"]["read"])
    stages = Table("after", "left", "dropped", *sources, title=f"{escape(printable(manifest['name']))}: records")
    for column in stages.columns[1:]:
        column.justify = "right"
    read = manifest["funnel"]["read"]
    stages.add_row("read", f"{sum(read.values()):,}", "", *(f"{read[key]:,}" for key in sources))
    for row in manifest["stages"]:
        stages.add_row(row["stage"], f"{row['left']:,}", _count(row["dropped"]), *(_count(row[key]) for key in sources))
    console.print(stages)
    reasons = Table("stage", "reason", "source", "dropped")
    reasons.columns[-1].justify = "right"
    for step in sorted(manifest["funnel"]["steps"], key=lambda step: -step["count"]):
        names = (escape(printable(step[name])) for name in ("stage", "reason", "source"))
        reasons.add_row(*names, f"{step['count']:,}")
    if manifest["funnel"]["steps"]:
        console.print(reasons)


def _count(dropped: int) -> str:
    return f"-{dropped:,}" if dropped else ""
