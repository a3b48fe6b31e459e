"""The last gate of every source: a record becomes a Conversation only through the validator of the course's own format.

What the validator refuses is a Rejected with the file and line of its row, so a bad record is counted and never raised.
"""

import hashlib
from typing import Any

from helptune.data.conversation import parse_conversation
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row
from helptune.errors import DataError

LONGEST_REASON = 300  # characters; a validator may quote a whole message


def build(row: Row, /, **record: Any) -> Read:
    """The Conversation of `record` (its fields by name, whatever they are called), or why there is none."""
    try:
        return parse_conversation(record)
    except (DataError, ValueError, RecursionError) as error:  # the last two from quoting odd values
        return reject(row, str(error))


def reject(row: Row, reason: str, code: str = MALFORMED) -> Rejected:
    short = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."
    return Rejected(row.file, row.line, code, short)


def content_id(source: str, *texts: str) -> str:
    """An id made of what was said, for sources that give none: the same in every file and every run."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass"))
    return f"{source}-{digest.hexdigest()[:20]}"


def is_whole(value: Any, low: int, high: int = 2**63 - 1) -> bool:
    """Whether `value` is a whole number (no bool) in [low, high]; what JSON, parquet and SQLite all hold."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether `value` is a number (no bool, no NaN) in [low, high]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
