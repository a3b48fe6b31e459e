"""Decontamination: no training prompt may contain a prompt that the model will be evaluated on.

An evaluation prompt is kept as hashes of its word n-grams, so a set can be shipped without its prompts (GPT-3, Brown et
al. 2020, app. C, matches 13-grams; chat prompts are too short for that). A training prompt matches where it contains
enough of those n-grams close together, whatever stands before or after. The hashes keep a set from being read, not
from being guessed: who has the prompts can tell that they are the ones.
"""

import json
import re
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.conversation import Conversation, load_curated
from helptune.data.words import NORMALIZATION, words
from helptune.errors import DataError
from helptune.files import write_text

N = 3
"""Words in an n-gram: one changed word breaks three of them, while a 13-gram breaks whole short prompts."""
SHARE = 0.5
"""Of an evaluation prompt's n-grams, what a training prompt may not contain."""
SHORT = 8
"""Below this many words all n-grams of a prompt must be there, and a prompt of fewer than N words is one n-gram."""
TURN = 5
"""Below this many words a prompt must be a whole turn: "tell me a joke" stands in many prompts by chance."""
EVALUATION_SETS = Path(__file__).parent / "evalsets"
_ARRAY = re.compile(r'\s*\[\s*(?:[{"]|$)')


@dataclass(frozen=True)
class HashSet:
    """The prompts of one evaluation set: for each its number of words, and its distinct n-grams as 8-byte hashes."""

    name: str
    source: str
    license: str
    lengths: tuple[int, ...]
    hashes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Match:
    set: str
    prompt: int
    """Index of the evaluation prompt in its set."""
    share: float
    """Share of its n-grams found."""


def gram_hash(gram: Iterable[str]) -> int:
    return int.from_bytes(blake2b(" ".join(gram).encode(), digest_size=8).digest(), "little")


def hash_set(prompts: Iterable[str], name: str, source: str, license: str) -> HashSet:
    """Prompts without a word are left out."""
    split = [w for w in map(words, prompts) if w]
    hashes = (tuple(dict.fromkeys(_grams(w, _size(len(w))))) for w in split)
    return HashSet(name, source, license, tuple(map(len, split)), tuple(hashes))


def write_set(path: Path, hashed: HashSet) -> None:
    """The hashes of a prompt are base64 of little-endian 8-byte integers."""
    record = {
        "name": hashed.name,
        "source": hashed.source,
        "license": hashed.license,
        "n": N,
        "short": SHORT,
        "normalization": NORMALIZATION,
        "count": len(hashed.hashes),
        "lengths": hashed.lengths,
        "hashes": [b64encode(np.array(h, "<u8").tobytes()).decode() for h in hashed.hashes],
    }
    write_text(path, json.dumps(record, indent=1) + "\n")


def read_set(path: Path) -> HashSet:
    """Raises DataError for a file that is damaged, or was hashed in another way."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        made = {"n": record["n"], "short": record["short"], "normalization": record["normalization"]}
        hashes = tuple(tuple(np.frombuffer(b64decode(h, validate=True), "<u8").tolist()) for h in record["hashes"])
        found = HashSet(record["name"], record["source"], record["license"], tuple(record["lengths"]), hashes)
        count = record["count"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not a hashed evaluation set ({type(error).__name__}: {error})") from error
    expected = {"n": N, "short": SHORT, "normalization": NORMALIZATION}
    if made != expected:
        raise DataError(f"{path}: was hashed with {made}, this version needs {expected}; hash its prompts again")
    if not len(found.lengths) == len(hashes) == count or not all(hashes):
        raise DataError(f"{path}: says {count} prompts, holds {len(hashes)}; it is damaged")
    return found


def hash_file(path: Path, name: str = "", source: str = "", license: str = "unknown") -> HashSet:
    """The set of a file of prompts: JSON lines or plain text lines, see `prompts_of`.

    Raises DataError for a file without a prompt, and as `read_prompts` does.
    """
    found = hash_set(read_prompts(path), name or path.stem, source or path.name, license)
    if not found.hashes:
        raise DataError(f"{path}: holds no prompt; write one a line, as plain text or as a JSON object")
    return found


def read_prompts(path: Path) -> Iterator[str]:
    """Prompts of a file, one record a line. Raises DataError naming the line of a record without a prompt."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if _ARRAY.match(line):
            raise DataError(
                f"{path}:{number}: begins like a JSON array; write one record a line, and a prompt that begins so "
                'as {"prompt": ...}'
            )
        if not line.lstrip().startswith("{"):
            yield from filter(None, [line.strip()])
            continue
        try:
            yield from prompts_of(json.loads(line))
        except (ValueError, RecursionError, DataError) as error:
            raise DataError(f"{path}:{number}: {error}") from error


def prompts_of(record: dict) -> list[str]:
    """The prompts of a JSON record: `messages` of a conversation, `turns`, `prompt`, `instruction` or `question`.

    A conversation gives its first turn, each later one of at least SHORT words ("Now make it shorter." is no prompt),
    and all of them as one text.
    """
    if isinstance(record.get("messages"), list):
        turns: list[Any] = [
            m.get("content") for m in record["messages"] if isinstance(m, dict) and m.get("role") == "user"
        ]
    elif isinstance(record.get("turns"), list):
        turns = record["turns"]
    else:
        turns = [record[key] for key in ("prompt", "instruction", "question") if key in record][:1]
    if not turns or not all(isinstance(turn, str) for turn in turns):
        raise DataError("has no text under 'messages', 'turns', 'prompt', 'instruction' or 'question'")
    later = [turn for turn in turns[1:] if len(words(turn)) >= SHORT]
    return [turns[0], *later, *(["\n".join(turns)] if len(turns) > 1 else [])]


def hash_curated() -> HashSet:
    """The course's held-out conversations."""
    prompts = (p for c in load_curated("heldout") for p in prompts_of({"turns": _user_turns(c)}))
    return hash_set(prompts, "curated-heldout", "helptune-curated, split heldout", "Apache-2.0")


def write_curated(folder: Path = EVALUATION_SETS) -> None:
    """Renew the shipped file; to be run when the held-out conversations have changed."""
    write_set(folder / "curated-heldout.json", hash_curated())


@dataclass(frozen=True)
class Index:
    """Several sets, by hash: which of their prompts have an n-gram."""

    sets: tuple[HashSet, ...]
    where: dict[int, list[tuple[int, int]]]
    """hash -> (set, prompt)."""
    sizes: tuple[int, ...]
    """The n of the n-grams: N, and the lengths of prompts below it."""


def index_sets(sets: Sequence[HashSet]) -> Index:
    where: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for s, hashed in enumerate(sets):
        for p, grams in enumerate(hashed.hashes):
            for gram in grams:
                where[gram].append((s, p))
    sizes = {N, *(_size(length) for hashed in sets for length in hashed.lengths)}
    return Index(tuple(sets), dict(where), tuple(sorted(sizes)))


def matches(conversation: Conversation, index: Index, share: float = SHARE) -> list[Match]:
    """The evaluation prompts that the conversation's user turns contain, best first within each set."""
    turns = [words(turn) for turn in _user_turns(conversation)]
    whole = [word for turn in turns for word in turn]
    found: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(dict)
    for size in index.sizes:
        for position, gram in enumerate(_grams(whole, size)):
            for entry in index.where.get(gram, ()):
                if _size(index.sets[entry[0]].lengths[entry[1]]) == size:
                    found[entry].setdefault(gram, []).append(position)
    result = []
    for (s, p), positions in found.items():
        length, total = index.sets[s].lengths[p], len(index.sets[s].hashes[p])
        if length < TURN:
            whole_turn = any(len(t) == length and positions.keys() >= set(_grams(t, _size(length))) for t in turns)
            part = len(positions) / total if whole_turn else 0.0
        else:
            part = _most_within(positions, length if length < SHORT else 2 * length) / total
        if part >= (1 if length < SHORT else share):
            result.append(Match(index.sets[s].name, p, part))
    return sorted(result, key=lambda m: (m.set, -m.share, m.prompt))


def _size(length: int) -> int:
    return min(N, length)


def _grams(w: Sequence[str], size: int) -> Iterator[int]:
    return (gram_hash(w[i : i + size]) for i in range(len(w) - size + 1))


def _most_within(positions: dict[int, list[int]], width: int) -> int:
    """The most distinct n-grams that start in a window of `width` words: scattered ones mean nothing."""
    hits = sorted((position, gram) for gram, at in positions.items() for position in at)
    best, start, inside = 0, 0, defaultdict[int, int](int)
    for position, gram in hits:
        inside[gram] += 1
        while hits[start][0] <= position - width:
            left = hits[start][1]
            inside[left] -= 1
            if not inside[left]:
                del inside[left]
            start += 1
        best = max(best, len(inside))
    return best


def _user_turns(conversation: Conversation) -> list[str]:
    return [m.content for m in conversation.messages if m.role == "user"]
