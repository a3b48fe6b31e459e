"""Your own file: JSON lines in the `messages` convention, with as much or as little around the messages as there is.

A record of the course's own format (it has `id`, `source`, `license` and `messages`) is taken as it stands. Of any
other `messages` are taken, and `id`, `source` and `license` where it has them; the rest of its columns is left.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from helptune.data.sources.build import build, content_id, reject
from helptune.data.sources.record import Read, Rejected, Row

_OWN = {"id", "source", "license", "messages"}
_DEEPEST = 50
"""Objects and lists within one another; a record goes through functions that call themselves for each of them."""


def read(rows: Iterable[Row | Rejected], *, source: str = "local", license: str = "") -> Iterator[Read]:
    """One Conversation a row.

    What a record says of itself goes first: `source` and `license`, an SPDX id, are for records without. Who has no
    licence then is Rejected.
    """
    return (row if isinstance(row, Rejected) else _record(row, source, license) for row in rows)


def _record(row: Row, source: str, license: str) -> Read:
    if row.value.keys() >= _OWN:
        try:
            json.dumps(row.value, allow_nan=False)
            if _depth(row.value) > _DEEPEST:
                return reject(row, f"is nested deeper than {_DEEPEST} objects and lists")
        except (TypeError, ValueError, RecursionError) as error:  # a date of a parquet file, for one
            return reject(row, f"cannot be written as JSON ({error})")
        return build(row, **row.value)
    license = row.value.get("license") or license
    if not license:
        return reject(row, "says no licence; give one (an SPDX id) as the option `license`", "license")
    messages, id, own = (row.value.get(name) for name in ("messages", "id", "source"))
    source = own if isinstance(own, str) and own else source
    if isinstance(messages, list):
        messages = [_without_nulls(message) for message in messages]
    if not isinstance(id, str) or not id:
        id = content_id(source, json.dumps(messages, sort_keys=True, default=str))
    return build(row, id=id, source=source, license=license, messages=messages)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _without_nulls(message: Any) -> Any:
    """Tables give every message every column, such as a `name` that is null."""
    return {k: v for k, v in message.items() if v is not None} if isinstance(message, dict) else message
