"""Text for whoever shows it: made harmless for a terminal, which obeys escape sequences, and laid out in Markdown."""

import unicodedata
from collections.abc import Iterable

_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates: they can make a text read backwards, or reach into the text after it."""


def printable(text: str) -> str:
    """The text with \ufffd for each control character and change of direction, and for half a surrogate pair."""
    return "".join(
        c if c in "\n\t" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _DIRECTIONS) else "\ufffd"
        for c in text
    )


def markdown_table(sides: str, head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """`sides` has a letter a column: `l` stands left, `r` right, as numbers do. Cells are taken as they are."""
    lines = (" | ".join(map(str, row)) for row in [head, ({"l": "---", "r": "---:"}[side] for side in sides), *rows])
    return "\n".join(f"| {line} |" for line in lines)
