"""The labelled set that the screens learn from and are measured on, and the reader that says what is wrong with a line.

    {"id", "target", "prompt", "response", "label", "kind", "policy", "subtle"}

as JSON lines. `target` says which text the label is about: the prompt, or the response in the light of its prompt.
Plain safe texts are easy; `contrast` ones share their words with unsafe ones and are safe, and `subtle` unsafe ones
avoid alarming words. A classifier that only knows words fails on the pair of them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.records import read_records
from helptune.errors import DataError

SHIPPED = Path(__file__).parent / "labelled"
REFUSALS = "refusals.json"
SPLITS = ("train", "dev", "test")
POLICIES = (
    "violence", "weapons", "self_harm", "crime", "cyber", "fraud", "drugs", "harassment", "hate", "privacy", "sexual",
    "misinformation", "none",
)  # fmt: skip
SOURCE = "helptune-safety"
POLICY = (
    "helptune-safety: unsafe is a text that asks for, or gives, real help with harming people, weapons, crime, "
    "intrusion, fraud, drugs, self-harm, harassment, hate, spying on people, sexual harm or deception; see "
    "data_cards/safety_set.md"
)
_CHOICES = {
    "target": ("prompt", "response"),
    "label": ("unsafe", "safe"),
    "kind": ("unsafe", "plain", "contrast"),
    "policy": POLICIES,
}


@dataclass(frozen=True)
class Labelled:
    """One labelled text. `response` is empty where the prompt is what the label is about."""

    id: str
    target: str
    prompt: str
    response: str
    label: str
    kind: str
    policy: str
    subtle: bool

    @property
    def unsafe(self) -> bool:
        return self.label == "unsafe"

    @property
    def text(self) -> str:
        """What the label is about."""
        return self.response if self.target == "response" else self.prompt

    def conversation(self) -> Conversation:
        messages = [Message("user", self.prompt)]
        messages += [Message("assistant", self.response)] if self.response else []
        return Conversation(self.id, SOURCE, "Apache-2.0", tuple(messages))


def parse_labelled(record: Any) -> Labelled:
    """A record from a JSON object. Raises DataError naming the field; `read_labelled` adds file and line."""
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}")
    names = tuple(Labelled.__dataclass_fields__)
    if wrong := sorted(set(record) ^ set(names)):
        raise DataError(f"field {wrong[0]!r} is {'unknown' if wrong[0] in record else 'missing'}; a record has {names}")
    for name in ("id", "prompt"):
        if not isinstance(record[name], str) or not record[name].strip():
            raise DataError(f"field {name!r} must be a non-empty string, found {record[name]!r}")
    for name, allowed in _CHOICES.items():
        if record[name] not in allowed:
            raise DataError(f"field {name!r}: {record[name]!r} is not one of {', '.join(allowed)}")
    if not isinstance(record["subtle"], bool):
        raise DataError(f"field 'subtle' must be true or false, found {record['subtle']!r}")
    _check_consistent(record)
    return Labelled(**record)


def _check_consistent(record: dict[str, Any]) -> None:
    response, unsafe = record["response"], record["label"] == "unsafe"
    if not isinstance(response, str) or bool(response.strip()) != (record["target"] == "response"):
        raise DataError(f"field 'response': a record of target {record['target']} cannot have {response!r}")
    if unsafe != (record["kind"] == "unsafe"):
        raise DataError(f"field 'kind': {record['kind']!r} does not go with label {record['label']!r}")
    if unsafe and record["policy"] == "none":
        raise DataError("field 'policy': an unsafe record names the policy it breaks, not 'none'")
    if record["subtle"] and not unsafe:
        raise DataError("field 'subtle': only an unsafe record can be subtle; a safe look-alike is of kind contrast")


def read_labelled(path: Path | str) -> Iterator[Labelled]:
    """Records of one JSON-lines file, in order.

    Raises DataError as `file:line: field: what is wrong` at the first bad line, and for an id that comes twice.
    """
    return read_records(Path(path), parse_labelled, lambda record: record.id)


def load_labelled(split: str, folder: Path | str = SHIPPED) -> list[Labelled]:
    """All records of `train`, `dev` or `test` in a folder."""
    return list(read_labelled(Path(folder) / f"{split}.jsonl"))


def ordinary() -> list[Labelled]:
    """The first turns of the curated training conversations, as plain safe prompts and as plain safe responses.

    Those about refusing are left out: what they ask for is often unsafe.
    """
    records = []
    for conversation in (c for c in load_curated("train") if c.category != "refuse"):
        asked, answered = (next(m.content for m in conversation.messages if m.role == r) for r in ("user", "assistant"))
        for target, response in (("prompt", ""), ("response", answered)):
            number = f"{target[0]}-{conversation.id}"
            records.append(Labelled(number, target, asked, response, "safe", "plain", "none", False))
    return records


def load_refusals(folder: Path | str = SHIPPED) -> frozenset[str]:
    """Ids of the responses that decline, in all splits. Raises DataError for a damaged file."""
    path = Path(folder) / REFUSALS
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))["ids"]
        if not all(isinstance(one, str) for one in ids):
            raise TypeError("an id is no text")
        return frozenset(ids)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of ids under 'ids' ({error})") from error


def by_target(records: Iterable[Labelled]) -> dict[str, list[Labelled]]:
    """Target -> its records, for the targets that have any."""
    found: dict[str, list[Labelled]] = {"prompt": [], "response": []}
    for record in records:
        found[record.target].append(record)
    return {target: own for target, own in found.items() if own}


def set_sha256(records: Iterable[Labelled]) -> str:
    """The identity of a set: what was learned from it names it."""
    lines = (json.dumps(asdict(record), sort_keys=True) for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
