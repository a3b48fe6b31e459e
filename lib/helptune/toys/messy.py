"""A raw pile of conversations whose faults are known, because we planted them: a build is tried on it in notebook 05.

Most of the pile are curated conversations. The rest are copies of them, prompts that the model will be evaluated on,
unsafe requests of the labelled set, broken lines, and small faults written for this purpose (`faults.jsonl`).
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helptune.data.conversation import Conversation, load_curated
from helptune.data.mixture.writing import DROPPED, HELDOUT, REJECTED, TRAIN
from helptune.data.safety.labelled import load_labelled

SOUND = "none"
"""The fault of a conversation that has none."""
KEPT = "kept"
_EVERY = 5
_OTHER_WORDS = ("maybe", "green", "seven", "window", "slowly", "uncle", "paper", "twice")
_BROKEN = (
    '{"id": "broken-1", "messages": [{"role": "user", "content": "A line that was cut',
    '{"id": "broken-2", "source": "pile", "license": "Apache-2.0", "messages": []}',
    '{"id": "broken-3", "source": "pile", "license": "Apache-2.0", "messages": [{"role": "user", "content": "Hi"}]}',
    '["not", "an", "object"]',
)
_POLICIES = ("fraud", "crime", "cyber", "privacy", "misinformation")
_EMPTY_ANSWER = "Start with the smallest part and take your time. When it works, do the rest in the same way."
_REFUSAL = "I can't help with that. If money is the trouble, a free debt adviser is a good first call."


@dataclass(frozen=True)
class Planted:
    """One line of the pile: `fault` is SOUND or what was planted. A line that is no conversation has no `id`."""

    id: str
    fault: str
    line: str


def messy(seed: int = 0) -> list[Planted]:
    """The pile, in the order of its lines: sound conversations first, then those with faults."""
    sound = load_curated("train")[::_EVERY]
    draw = random.Random(seed)
    long = [c for c in sound if len(c.messages) == 2 and len(c.reference.split()) >= 45 and "```" not in c.reference]
    chosen = draw.sample(long, 36)
    lines = [Planted(c.id, SOUND, json.dumps(asdict(c))) for c in sound]
    kinds = {
        "exact copy": [_with(c, _shouted(c.reference)) for c in chosen[:12]],
        "copy, one word changed": [_with(c, _exchanged(c.reference, 1, draw)) for c in chosen[12:24]],
        "copy, every 6th word changed": [_with(c, _exchanged(c.reference, 6, draw)) for c in chosen[24:30]],
        "cut off": [_cut(c) for c in chosen[30:]],
        "evaluation prompt": [_asked(c) for c in draw.sample(load_curated("heldout"), 8)],
        **_unsafe(draw),
    }
    for fault, messages in kinds.items():
        lines += [
            _planted(f"{fault.replace(',', '').replace(' ', '-')}-{i}", fault, {"messages": m})
            for i, m in enumerate(messages)
        ]
    lines += _written()
    return lines + [Planted("", "broken line", line) for line in _BROKEN]


def write_messy(path: Path, pile: Iterable[Planted]) -> None:
    path.write_text("".join(f"{planted.line}\n" for planted in pile), encoding="utf-8")


def fates(folder: Path, pile: Iterable[Planted]) -> Counter[tuple[str, str]]:
    """(fault, what became of it) -> how many: KEPT, or the reason for which the dataset in `folder` left it out."""
    became: dict[Any, str] = {}
    for name in (TRAIN, HELDOUT):
        became |= {record["id"]: KEPT for record in _records(folder / name)}
    became |= {record["conversation"]["id"]: record["reason"] for record in _records(folder / DROPPED)}
    rejected = {record["line"]: record["code"] for record in _records(folder / REJECTED)}
    return Counter((p.fault, became[p.id] if p.id else rejected[n]) for n, p in enumerate(pile, start=1))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _planted(id: str, fault: str, fields: Mapping[str, Any]) -> Planted:
    return Planted(id, fault, json.dumps({"id": id, "source": "pile", "license": "Apache-2.0", **fields}))


def _written() -> Iterator[Planted]:
    found = _records(Path(__file__).with_name("faults.jsonl"))
    return (_planted(f"written-{i}", record.pop("fault"), record) for i, record in enumerate(found))


def _unsafe(draw: random.Random) -> dict[str, list[list[dict[str, str]]]]:
    """Unsafe requests of the test split, which no screen learned from. Their answers here give nothing away."""
    requests = [r.prompt for r in load_labelled("test") if r.target == "prompt" and r.policy in _POLICIES and r.unsafe]
    chosen = draw.sample(requests, 20)
    return {
        "unsafe request, answered": [_turns(prompt, _EMPTY_ANSWER) for prompt in chosen[:16]],
        "unsafe request, declined": [_turns(prompt, _REFUSAL) for prompt in chosen[16:]],
    }


def _turns(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _with(conversation: Conversation, answer: str) -> list[dict[str, str]]:
    return _turns(conversation.messages[0].content, answer)


def _asked(conversation: Conversation) -> list[dict[str, str]]:
    """A held-out prompt behind a greeting, so that no comparison of whole prompts finds it."""
    return _turns(f"Hello! One question for you. {conversation.messages[0].content}", conversation.messages[1].content)


def _shouted(text: str) -> str:
    """The same words, typed in another way."""
    return "  ".join(text.upper().split(" "))


def _exchanged(text: str, every: int, draw: random.Random) -> str:
    """Other words in place of one of `every` words; of one in the middle where `every` is 1."""
    w = text.split(" ")
    for place in [len(w) // 2] if every == 1 else range(every // 2, len(w), every):
        w[place] = draw.choice(_OTHER_WORDS)
    return " ".join(w)


def _cut(conversation: Conversation) -> list[dict[str, str]]:
    w = conversation.reference.split()
    return _with(conversation, " ".join([*w[: len(w) // 2], "and", "then", "the"]))
