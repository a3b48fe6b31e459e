"""Any JSON lines in the `messages` convention: {"messages": [{"role", "content"}, ...]}, and files of our own records.

Other fields of ours (id, source, license, category, ...) are taken where they are there and fit; unknown fields are
left out. So a file of another project needs no conversion, and a file of ours loses nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from hashlib import blake2b
from json import dumps
from typing import Any

from helptune.data.conversation import Conversation, parse_conversation
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row
from helptune.errors import DataError

_OURS = tuple(f.name for f in fields(Conversation))


def read(rows: Iterable[Row | Rejected], *, license: str = "", source: str = "messages") -> Iterator[Read]:
    """Conversations of `rows`; `license` (SPDX) and `source` stand in where a record names none.

    A record without an id gets one from its content: the same text, the same id.
    """
    for row in rows:
        yield row if isinstance(row, Rejected) else conversation_of(row, _record(row.value, license, source))


def conversation_of(row: Row, record: dict[str, Any]) -> Read:
    """`record` as a Conversation, or the Rejected that says where `row` stands and which field is wrong.

    Every source ends here: nothing that breaks the rules of `parse_conversation` gets any further.
    """
    try:
        return parse_conversation(record)
    except DataError as error:
        return Rejected(row.file, row.line, MALFORMED, str(error)[:500])


def _record(value: dict[str, Any], license: str, source: str) -> dict[str, Any]:
    record = {name: value[name] for name in _OURS if value.get(name) is not None}
    messages = record.get("messages")
    if isinstance(messages, list):
        record["messages"] = [
            {"role": m.get("role"), "content": m.get("content")} if isinstance(m, dict) else m for m in messages
        ]
    digest = blake2b(dumps(record.get("messages"), sort_keys=True).encode(), digest_size=8).hexdigest()
    return {"id": f"messages-{digest}", "source": source, "license": license} | record
