"""One record of the course's data: a conversation, and the validator that says exactly what is wrong with a file.

    {"id", "source", "license", "messages": [{"role", "content"}], "category", "difficulty", "ratings", "meta"}

as JSON lines. `messages` follows the convention of the ecosystem, so other tools read our files and we read theirs.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from helptune.errors import DataError
from helptune.files import write_text

CATEGORIES = (
    "explain", "facts", "howto", "write", "rewrite", "summarize", "extract", "classify", "reason",
    "code", "brainstorm", "plan", "advice", "role", "clarify", "honest", "refuse", "multiturn",
)  # fmt: skip
DIFFICULTIES = ("easy", "medium", "hard")
CURATED = Path(__file__).parent / "curated"
_CONTROL_TOKENS = ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>")


@dataclass(frozen=True)
class Message:
    role: str
    content: str

    def __getitem__(self, name: str) -> str:
        """Read like the JSON object it came from, which is what chat templates expect."""
        return getattr(self, name)


@dataclass(frozen=True)
class Conversation:
    """`category` and `difficulty` are empty for records of other sources; `meta` and `ratings` are theirs to fill."""

    id: str
    source: str
    license: str
    messages: tuple[Message, ...]
    category: str = ""
    difficulty: str = ""
    ratings: dict[str, Any] = field(default_factory=dict, hash=False)
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last assistant turn."""
        return self.messages[:-1]

    @property
    def reference(self) -> str:
        """The last assistant turn."""
        return self.messages[-1].content


def parse_conversation(record: Any) -> Conversation:
    """A Conversation from a JSON object. Raises DataError naming the field; `read_conversations` adds file and line."""
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}")
    unknown = set(record) - set(Conversation.__dataclass_fields__)
    if unknown:
        raise DataError(f"field {sorted(unknown)[0]!r} is not one of {', '.join(Conversation.__dataclass_fields__)}")
    text = {name: _text(record, name) for name in ("id", "source", "license")}
    labels = {
        name: _choice(record, name, allowed)
        for name, allowed in (("category", CATEGORIES), ("difficulty", DIFFICULTIES))
    }
    for name in ("ratings", "meta"):
        if not isinstance(record.get(name, {}), dict):
            raise DataError(f"field {name!r} must be an object, found {record[name]!r}")
    return Conversation(
        **text, **labels, messages=_messages(record), ratings=record.get("ratings", {}), meta=record.get("meta", {})
    )


def read_conversations(path: Path | str) -> Iterator[Conversation]:
    """Conversations of one JSON-lines file, in order.

    Raises DataError as `file:line: field: what is wrong` at the first bad line, and for an id that comes twice.
    """
    path, first_seen = Path(path), dict[str, int]()
    for number, line in enumerate(_lines(path), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.strip():
                continue
            conversation = parse_conversation(json.loads(text))
            if conversation.id in first_seen:
                raise DataError(
                    f"field 'id': {conversation.id!r} was already used in line {first_seen[conversation.id]}"
                )
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not UTF-8 text ({error.reason})") from error
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON ({error.msg} at column {error.colno})") from error
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of open brackets
            raise DataError(f"{path}:{number}: not usable JSON ({error})") from error
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        first_seen[conversation.id] = number
        yield conversation


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def write_conversations(path: Path, conversations: Iterable[Conversation]) -> None:
    """JSON lines that `read_conversations` reads back the same, put in place only when complete."""
    write_text(path, "".join(json.dumps(asdict(c)) + "\n" for c in conversations))


def load_curated(split: str) -> list[Conversation]:
    """The embedded conversations of `split`, `train` or `heldout`, category by category."""
    return [c for name in CATEGORIES for c in read_conversations(CURATED / split / f"{name}.jsonl")]


def _text(record: dict, name: str, where: str = "") -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field '{where}{name}' must be a non-empty string, found {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"field '{where}{name}' contains half of a character (a lone surrogate): {value!r}") from error
    return value


def _choice(record: dict, name: str, allowed: tuple[str, ...]) -> str:
    value = record.get(name, "")
    if value not in ("", *allowed):
        raise DataError(f"field {name!r}: {value!r} is not one of {', '.join(allowed)}")
    return value


def _messages(record: dict) -> tuple[Message, ...]:
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError(f"field 'messages' must be a non-empty list, found {messages!r}")
    parsed = tuple(_message(m, f"messages[{i}]") for i, m in enumerate(messages))
    turns = parsed[1:] if parsed[0].role == "system" else parsed
    for i, message in enumerate(turns):
        expected = ("user", "assistant")[i % 2]
        if message.role != expected:
            where = len(parsed) - len(turns) + i
            raise DataError(
                f"field 'messages[{where}].role': expected {expected!r}, found {message.role!r}; turns alternate"
            )
    if len(turns) % 2 or not turns:
        raise DataError("field 'messages': the last turn must be the assistant's")
    return parsed


def _message(message: Any, name: str) -> Message:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise DataError(f"field {name!r} must be an object with exactly 'role' and 'content', found {message!r}")
    content = _text(message, "content", where=f"{name}.")
    stray = next((token for token in _CONTROL_TOKENS if token in content), None)
    if stray:
        raise DataError(
            f"field '{name}.content' contains the control token {stray}; remove it, the template adds its own"
        )
    return Message(message["role"], content)
