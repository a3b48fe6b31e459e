"""What a set of conversations is made of, in the numbers that a data card owes its reader. One pass, bounded memory."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from helptune.data.conversation import Conversation
from helptune.text import markdown_table, printable

_LENGTHS = (25, 50, 100, 200, 400, 800)
"""Upper ends of the classes of length, in words over all turns."""

NOT_STATED = "not stated"
_LANGUAGES = {"helptune-curated": "en"}
"""Of sources whose records do not name theirs one by one, but are in one language by construction."""


@dataclass
class Description:
    """Counts by value of each feature; `words` is the total over all turns."""

    rows: int = 0
    words: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, conversation: Conversation) -> None:
        words = sum(len(m.content.split()) for m in conversation.messages)
        self.rows += 1
        self.words += words
        values = {
            "source": conversation.source,
            "license": conversation.license,
            "category": conversation.category or "none given",
            "difficulty": conversation.difficulty or "none given",
            "language": str(conversation.meta.get("lang") or _LANGUAGES.get(conversation.source, NOT_STATED)),
            "user turns": str(sum(m.role == "user" for m in conversation.messages)),
            "words": next((f"up to {end}" for end in _LENGTHS if words <= end), f"above {_LENGTHS[-1]}"),
        }
        for name, value in values.items():
            self.counts.setdefault(name, Counter())[value] += 1


def describe(conversations: Iterable[Conversation]) -> Description:
    found = Description()
    for conversation in conversations:
        found.add(conversation)
    return found


def table(name: str, splits: Mapping[str, Description]) -> str:
    """Markdown: a row a value of the feature `name`, a column a split."""
    values = sorted({v for found in splits.values() for v in found.counts.get(name, {})}, key=_natural)
    rows = [[cell(v), *(found.counts[name][v] for found in splits.values())] for v in values]
    return markdown_table("l" + "r" * len(splits), [name, *splits], rows)


def cell(text: str) -> str:
    """Somebody else's text as one cell of a Markdown table: in one line, and nothing in it is markup."""
    line = " ".join(printable(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|&!~])", r"\\\1", line)


def _natural(value: str) -> tuple[int, int, str]:
    """Numbers by size, `up to 50` before `up to 100`, easy before hard."""
    digits = "".join(c for c in value if c in "0123456789")[:9]
    levels = {"easy": 0, "medium": 1, "hard": 2}
    return (
        value.startswith("above"),
        int(digits) if digits and (" " in value or value == digits) else levels.get(value, 0),
        value,
    )
