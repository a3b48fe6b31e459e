"""What a source reads and what it gives: rows that know where they stand, and records that gave no conversation.

A source never raises for a record: it yields a Conversation, or a Rejected that says where and why. So one bad line
among 100,000 is counted and reported, and the others are read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from helptune.data.conversation import Conversation

MALFORMED = "malformed"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Row:
    """One record as it stands in a file: `line` counts from 1 (lines of a text, rows of a table or of a split)."""

    file: str
    line: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A record that gives no conversation.

    `code` is MALFORMED when the record breaks the schema of its source, and UNREADABLE when the rest of its file is
    lost with it, nobody knows how many records; any other code is a choice of the source (`deleted`, `language`,
    `no_answer`, ...). `reason` says it in words, with the field where there is one.
    """

    file: str
    line: int
    code: str
    reason: str


Read = Conversation | Rejected


@dataclass
class Tally:
    """How many rows were taken of a source's files so far: a record may be made of many, such as a tree of messages."""

    rows: int = 0

    def counting(self, rows: Iterable[Row | Rejected]) -> Iterator[Row | Rejected]:
        for row in rows:
            self.rows += 1
            yield row
