"""Model text made harmless for whoever shows it: a terminal obeys escape sequences, a line the direction of writing."""

import unicodedata

_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates: they can make a text read backwards, or reach into the text after it."""


def printable(text: str) -> str:
    """The text with \ufffd for each control character and change of direction, and for half a surrogate pair."""
    return "".join(
        c if c in "\n\t" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _DIRECTIONS) else "\ufffd"
        for c in text
    )
