"""OpenAssistant (Köpf et al. 2023): trees of messages that volunteers wrote and ranked; oasst1 and oasst2, Apache-2.0.

Both published forms are read: trees, {"message_tree_id", "prompt": {..., "replies": [...]}}, and messages, a row each
with `parent_id`. One conversation comes from a tree, its best path: from root to leaf by rank, then helpfulness. Taking
every path would repeat the first messages once for each leaf, and weigh them so.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from helptune.data.sources.messages import conversation_of
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row

_ROLES = {"prompter": "user", "assistant": "assistant"}
_DEEPEST = 200
"""Messages from a root to a leaf; the published trees have at most about a dozen."""
_UNRANKED = 1_000


def read(
    rows: Iterable[Row | Rejected], *, languages: tuple[str, ...] | list[str] = ("en",), source: str = "openassistant"
) -> Iterator[Read]:
    """One conversation a tree, in order of the trees' first rows.

    Not taken, with these codes: `language` (the root is in none of `languages`), `tree_state` (not ready for export),
    `no_answer` (deleted, rejected by its reviewers or never answered), `synthetic` (a model wrote an answer).
    """
    with tempfile.TemporaryDirectory() as folder:
        shelf = _Shelf(Path(folder) / "messages.sqlite")
        try:
            for row in rows:
                if isinstance(row, Rejected):
                    yield row
                elif isinstance(row.value.get("prompt"), dict):
                    yield _read_tree(row, row.value, list(languages), source)
                elif fault := _fault(row.value) or _treeless(row.value):
                    yield Rejected(row.file, row.line, MALFORMED, fault)
                else:
                    shelf.add(row)
            for group in shelf.trees():
                yield from _read_messages(group, list(languages), source)
        finally:
            shelf.close()


class _Shelf:
    """Messages on disk until all of a tree are there: in message files nothing says when a tree is complete."""

    def __init__(self, path: Path):
        self.database = sqlite3.connect(path)
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("CREATE TABLE messages (tree TEXT, file TEXT, line INTEGER, value TEXT)")

    def add(self, row: Row) -> None:
        value = json.dumps(row.value, default=str)
        tree = row.value["message_tree_id"].encode("utf-8", "replace").decode()
        self.database.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (tree, row.file, row.line, value))

    def trees(self) -> Iterator[list[Row]]:
        """In the order of their first rows, each with its rows in order."""
        self.database.execute("CREATE INDEX by_tree ON messages (tree)")
        order = self.database.execute("SELECT tree FROM messages GROUP BY tree ORDER BY min(rowid)")
        for (tree,) in order:
            found = self.database.execute(
                "SELECT file, line, value FROM messages WHERE tree = ? ORDER BY rowid", (tree,)
            )
            yield [Row(file, line, json.loads(value)) for file, line, value in found]

    def close(self) -> None:
        self.database.close()


def _fault(message: Any) -> str:
    """What is wrong with one message, its place in the tree left aside; "" if nothing."""
    if not isinstance(message, dict):
        return f"a message must be an object, found {message!r:.80}"
    for name in ("message_id", "text", "role"):
        if not isinstance(message.get(name), str):
            return f"field {name!r} must be a text, found {message.get(name)!r:.80}"
    if message["role"] not in _ROLES:
        return f"field 'role': {message['role']!r:.80} is not one of {', '.join(_ROLES)}"
    return ""


def _treeless(message: dict[str, Any]) -> str:
    tree = message.get("message_tree_id")
    return "" if isinstance(tree, str) else f"field 'message_tree_id' must be a text, found {tree!r:.80}"


def _read_messages(rows: list[Row], languages: list[str], source: str) -> Iterator[Read]:
    """The conversation of one tree that comes as single messages, and what is wrong with them."""
    nodes: dict[str, dict[str, Any]] = {}
    roots: list[tuple[Row, dict[str, Any]]] = []
    for row in rows:
        id, parent = row.value["message_id"], row.value.get("parent_id")
        if id in nodes:
            yield Rejected(row.file, row.line, MALFORMED, f"field 'message_id': {id!r:.80} came before in its tree")
        elif parent is not None and not isinstance(parent, str):
            yield Rejected(row.file, row.line, MALFORMED, f"field 'parent_id' must be a text, found {parent!r:.80}")
        elif parent is None and roots:
            yield Rejected(row.file, row.line, MALFORMED, "the tree has a root already: a second has no parent_id")
        else:
            nodes[id] = row.value | {"replies": []}
            if parent is None:
                roots.append((row, nodes[id]))
    for row in rows:
        id, parent = row.value["message_id"], row.value.get("parent_id")
        if isinstance(parent, str) and id in nodes and parent in nodes:
            nodes[parent]["replies"].append(nodes[id])
        elif isinstance(parent, str) and id in nodes:
            yield Rejected(row.file, row.line, MALFORMED, f"field 'parent_id': no message {parent!r:.80} in its tree")
    if roots:
        row, root = roots[0]
        tree = {"message_tree_id": row.value["message_tree_id"], "tree_state": row.value.get("tree_state")}
        yield _read_tree(row, tree | {"prompt": root}, languages, source)
    else:
        yield Rejected(rows[0].file, rows[0].line, MALFORMED, "the tree has no root: every message has a parent_id")


def _read_tree(row: Row, tree: dict[str, Any], languages: list[str], source: str) -> Read:
    def left_out(code: str, reason: str) -> Rejected:
        return Rejected(row.file, row.line, code, reason)

    root = tree["prompt"]
    state = tree.get("tree_state") or root.get("tree_state")
    if fault := _fault(root):
        return left_out(MALFORMED, fault)
    if state not in (None, "ready_for_export"):
        return left_out("tree_state", f"the tree is {state!r:.80}, not ready for export")
    if root.get("lang") not in (None, *languages):
        return left_out("language", f"the tree is in {root.get('lang')!r:.80}")
    if root["role"] != "prompter":
        return left_out(MALFORMED, "field 'role': a tree must start with the prompter")
    path, fault = _best_path(root)
    if fault:
        return left_out(MALFORMED, fault)
    if len(path) < 2:
        return left_out("no_answer", "nobody answered, or what was answered was deleted or rejected by reviewers")
    if any(message.get("synthetic") for message in path if message["role"] == "assistant"):
        return left_out("synthetic", "a model wrote an answer")
    return conversation_of(row, _record(path, tree.get("message_tree_id"), source))


def _best_path(root: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """(messages from the root down, "") ending on the last assistant that can be reached, or ([], what is wrong)."""
    path, message = [root], root
    if not _usable(root):
        return [], ""
    while isinstance(replies := message.get("replies") or [], list):
        other = "assistant" if message["role"] == "prompter" else "prompter"
        if fault := next(filter(None, map(_fault, replies)), ""):
            return [], fault
        good = [reply for reply in replies if reply["role"] == other and _usable(reply)]
        if not good or len(path) == _DEEPEST:
            break
        message = min(good, key=lambda m: (_rank(m), -_label(m, "helpfulness")[0], m["message_id"]))
        path.append(message)
    while path and path[-1]["role"] != "assistant":
        path.pop()
    return path, ""


def _usable(message: dict[str, Any]) -> bool:
    """Not deleted, not rejected by its reviewers, and not empty. Who was not reviewed has a `review_result` of null."""
    return not message.get("deleted") and message.get("review_result") is not False and bool(message["text"].strip())


def _rank(message: dict[str, Any]) -> float:
    rank = message.get("rank")
    return float(rank) if isinstance(rank, (int, float)) else _UNRANKED


def _label(message: dict[str, Any], name: str) -> tuple[float, int]:
    """(mean in [0, 1], number of votes) of a label; (0, 0) without. Files of messages and of trees differ."""
    labels = message.get("labels")
    if not isinstance(labels, dict):
        return 0.0, 0
    if isinstance(names := labels.get("name"), list):
        values, counts = labels.get("value"), labels.get("count")
        if name not in names or not isinstance(values, list) or not isinstance(counts, list):
            return 0.0, 0
        place = names.index(name)
        found = (values[place], counts[place]) if place < min(len(values), len(counts)) else (None, None)
    else:
        label = labels.get(name)
        found = (label.get("value"), label.get("count")) if isinstance(label, dict) else (None, None)
    value, count = found
    if isinstance(value, (int, float)) and 0 <= value <= 1 and isinstance(count, int) and count > 0:
        return float(value), count
    return 0.0, 0


def _record(path: list[dict[str, Any]], tree: Any, source: str) -> dict[str, Any]:
    answers = [_label(m, "helpfulness") for m in path if m["role"] == "assistant"]
    votes = sum(count for _, count in answers)
    ratings: dict[str, Any] = {"oasst": {"rank": path[-1].get("rank"), "helpfulness_votes": votes}}
    if votes:
        ratings["helpfulness"] = sum(value * count for value, count in answers) / votes
    return {
        "id": f"{source}-{path[-1]['message_id']}",
        "source": source,
        "license": "Apache-2.0",
        "messages": [{"role": _ROLES[m["role"]], "content": m["text"].strip()} for m in path],
        "ratings": ratings,
        "meta": {"lang": path[0].get("lang") or "", "message_tree_id": str(tree)},
    }
