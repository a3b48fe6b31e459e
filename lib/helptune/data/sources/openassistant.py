"""OpenAssistant Conversations, oasst1 and oasst2 (Köpf et al. 2023): trees of messages, one best path of each.

A tree holds several replies to a message, so the set of all paths from root to leaf repeats messages, and a loss over
it counts a first answer once for each of its continuations. We take one path a tree: at every assistant turn the reply
the volunteers ranked first, so each message that is learned is a chosen one and is learned once.

Message files (one row a message) need not keep a tree together, so messages are grouped in a database on disk: it
costs a second for 100,000 messages, and no order of the file can then break a tree or fill the memory.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from helptune.data.sources.build import build, is_number, is_whole, reject
from helptune.data.sources.record import Read, Rejected, Row
from helptune.data.sources.scratch import scratch_database

LARGEST_TREE = 10_000  # messages; more than any tree of the releases by far
_ROLES = {"prompter": "user", "assistant": "assistant"}
_Labels = dict[str, dict[str, float]]
_SCHEMA = "CREATE TABLE messages (tree TEXT, number INTEGER, row TEXT); CREATE INDEX by_tree ON messages (tree);"


@dataclass(frozen=True)
class _Message:
    row: Row
    id: str
    parent: str | None
    role: str
    text: str
    lang: str
    rank: int | None
    labels: _Labels
    usable: bool
    """Neither deleted, nor rejected by reviewers, nor (unless asked for) written by a model."""


def read(
    rows: Iterable[Row | Rejected],
    *,
    source: str = "oasst2",
    languages: tuple[str, ...] = (),
    states: tuple[str, ...] = ("ready_for_export",),
    synthetic: bool = False,
) -> Iterator[Read]:
    """One Conversation or Rejected a tree, and a Rejected for each message that belongs to none.

    `rows` are messages or whole trees, of either release. `languages` (all when empty) is of the tree's first message;
    `states` are the tree states taken, all when empty; `synthetic` lets messages written by models be chosen.
    `ratings`: `helpfulness` is that of the least helpful assistant turn, as the loss is on every turn, and
    `helpfulness_count` how many people rated it; `labels` are all labels of each assistant turn, means with counts.
    """
    with scratch_database(_SCHEMA) as database:
        for number, row in enumerate(rows):
            if isinstance(row, Rejected):
                yield row
            elif "prompt" in row.value:
                yield from _tree(_of_tree(row, synthetic), row.value, source, languages, states, row)
            elif isinstance(tree := row.value.get("message_tree_id"), str) and tree.isprintable():
                kept = {name: row.value.get(name) for name in (*_FIELDS, "labels", "tree_state")}
                place = json.dumps([row.file, row.line, kept], default=str)
                database.execute("INSERT INTO messages VALUES (?, ?, ?)", (tree, number, place))
            else:
                yield reject(row, f"field 'message_tree_id' must be a string, found {tree!r}")
        order = """SELECT tree, row FROM messages
            JOIN (SELECT tree, MIN(number) AS first FROM messages GROUP BY tree) USING (tree) ORDER BY first, number"""
        for _, group in groupby(database.execute(order), key=lambda found: found[0]):
            yield from _grouped((Row(*json.loads(text)) for _, text in group), source, languages, states, synthetic)


def _grouped(
    group: Iterator[Row], source: str, languages: tuple[str, ...], states: tuple[str, ...], synthetic: bool
) -> Iterator[Read]:
    first = next(group)
    messages: list[_Message | Rejected] = [_message(first, first.value, synthetic)]
    for row in group:
        if len(messages) == LARGEST_TREE:
            yield reject(first, f"a tree of more than {LARGEST_TREE} messages")
            return
        messages.append(_message(row, row.value, synthetic))
    yield from _tree(messages, first.value, source, languages, states, first)


def _of_tree(row: Row, synthetic: bool) -> list[_Message | Rejected]:
    """The messages of a nested tree. `parent_id` is where the message stands."""
    messages: list[_Message | Rejected] = []
    waiting: list[tuple[Any, str | None]] = [(row.value["prompt"], None)]
    while waiting and len(messages) <= LARGEST_TREE:
        value, parent = waiting.pop()
        if not isinstance(value, dict):
            messages.append(reject(row, f"a message must be an object, found {value!r}"))
            continue
        message = _message(row, value | {"parent_id": parent}, synthetic)
        messages.append(message)
        replies = value.get("replies") or []
        if not isinstance(replies, list):
            messages.append(reject(row, f"field 'replies' must be a list, found {replies!r}"))
        elif isinstance(message, _Message):
            waiting += ((reply, message.id) for reply in reversed(replies))
    return messages


def _message(row: Row, value: dict[str, Any], synthetic: bool) -> _Message | Rejected:
    for name, kinds in _FIELDS.items():
        if not isinstance(value.get(name), kinds):
            return reject(row, f"field {name!r}: {value.get(name)!r} cannot be used")
    if value["role"] not in _ROLES:
        return reject(row, f"field 'role': {value['role']!r} is not one of {', '.join(_ROLES)}")
    labels = _labels(value.get("labels"))
    if labels is None:
        return reject(row, f"field 'labels' has no labels in [0, 1] with counts: {value['labels']!r}")
    usable = not value.get("deleted") and value.get("review_result") is not False
    return _Message(
        row,
        value["message_id"],
        value.get("parent_id"),
        _ROLES[value["role"]],
        value["text"],
        value.get("lang") or "",
        value.get("rank"),
        labels,
        usable and (synthetic or not value.get("synthetic")),
    )


_FIELDS: dict[str, Any] = {
    "message_id": str,
    "parent_id": str | None,
    "text": str,
    "role": str,
    "lang": str | None,
    "rank": int | None,
    "review_result": bool | None,
    "deleted": bool | None,
    "synthetic": bool | None,
}


def _labels(found: Any) -> _Labels | None:
    """`{name: {value, count}}` of the tree files, or the flat `{name[], value[], count[]}` of the message files.

    Some tables give the flat ones as a list of `{name, value, count}`. None when it is nothing of the kind.
    """
    if found is None:
        return {}
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        found = {name: [entry.get(name) for entry in found] for name in ("name", "value", "count")}
    if not isinstance(found, dict):
        return None
    columns = [found.get(name) for name in ("name", "value", "count")]
    if set(found) == {"name", "value", "count"} and all(isinstance(column, list) for column in columns):
        if len({len(column) for column in columns if column is not None}) != 1:
            return None
        entries = list(zip(*columns, strict=True))  # type: ignore[arg-type]
    elif all(isinstance(entry, dict) for entry in found.values()):
        entries = [(name, entry.get("value"), entry.get("count")) for name, entry in found.items()]
    else:
        return None
    labels: _Labels = {}
    for name, value, count in entries:
        if value is None:  # nobody gave this label
            continue
        if not isinstance(name, str) or not is_number(value, 0, 1) or not is_whole(count, 0):
            return None
        labels[name] = {"value": value, "count": count}
    return labels


def _tree(
    found: list[_Message | Rejected],
    tree: dict[str, Any],
    source: str,
    languages: tuple[str, ...],
    states: tuple[str, ...],
    row: Row,
) -> Iterator[Read]:
    """The best path of one tree. `tree` has the fields that are the same in all its messages, `row` stands for it."""
    if len(found) > LARGEST_TREE:
        yield reject(row, f"a tree of more than {LARGEST_TREE} messages")
        return
    yield from (message for message in found if isinstance(message, Rejected))
    messages: dict[str, _Message] = {}
    for message in found:
        if isinstance(message, _Message) and messages.setdefault(message.id, message) is not message:
            yield reject(message.row, f"field 'message_id': {message.id!r} came before in this tree")
    replies: dict[str | None, list[_Message]] = {}
    for message in messages.values():
        replies.setdefault(message.parent, []).append(message)
    roots = replies.get(None, [])
    for message in _detached(messages, replies):
        why = "in a cycle, or below one" if message.parent in messages else f"field 'parent_id': no {message.parent!r}"
        yield reject(message.row, f"{why}: message {message.id!r} does not descend from the first of its tree")
    if len(roots) != 1:
        if messages:
            yield reject(row, f"a tree of {len(roots)} first messages; 'parent_id' must be null in exactly one")
        return
    (root,) = roots
    state = tree.get("tree_state")
    if states and state not in states:
        yield reject(row, f"tree state {state!r}; taken are {', '.join(states)}", "tree_state")
    elif languages and root.lang not in languages:
        yield reject(row, f"language {root.lang!r}; taken are {', '.join(languages)}", "language")
    elif not root.usable:
        yield reject(row, "its first message was deleted, rejected by reviewers or written by a model", "deleted")
    elif len(path := _best_path(root, replies)) < 2:
        yield reject(row, "no assistant message that can be used answers the first message", "no_answer")
    else:
        yield _conversation(path, source, len(messages))


def _detached(messages: dict[str, _Message], replies: dict[str | None, list[_Message]]) -> list[_Message]:
    reached, waiting = set[str](), list(replies.get(None, []))
    while waiting:
        message = waiting.pop()
        reached.add(message.id)
        waiting += replies.get(message.id, [])
    return [message for message in messages.values() if message.id not in reached]


def _best_path(root: _Message, replies: dict[str | None, list[_Message]]) -> list[_Message]:
    """From `root` to an assistant message: at each turn the best reply that can be used, and leads to an answer."""

    def candidates(message: _Message) -> list[_Message]:
        return [m for m in replies.get(message.id, []) if m.usable and m.role != message.role]

    def worse(message: _Message) -> tuple:
        unranked = message.rank is None
        return unranked, message.rank or 0, -message.labels.get("helpfulness", {"value": 0})["value"], message.id

    if root.role != "user":
        return []
    path = [root]
    while answers := candidates(path[-1]):
        path.append(min(answers, key=worse))
        questions = [message for message in candidates(path[-1]) if candidates(message)]
        if not questions:
            return path
        path.append(min(questions, key=worse))
    return path[:-1]


def _conversation(path: list[_Message], source: str, size: int) -> Read:
    root, last = path[0], path[-1]
    labels = [message.labels for message in path if message.role == "assistant"]
    rated = [turn["helpfulness"] for turn in labels if "helpfulness" in turn]
    ratings: dict[str, Any] = {"labels": labels}
    if rated:
        least = min(rated, key=lambda label: label["value"])
        ratings |= {"helpfulness": least["value"], "helpfulness_count": least["count"]}
    return build(
        root.row,
        id=f"{source}-{root.id}",
        source=source,
        license="Apache-2.0",
        messages=[{"role": message.role, "content": message.text} for message in path],
        ratings=ratings,
        meta={
            "lang": root.lang,
            "message_ids": [message.id for message in path],
            "rank": last.rank,
            "tree_messages": size,
        },
    )
