"""Votes: which of two answers to the same prompt somebody, or some machine, found better. The file, and its reader.

    {"item", "first", "second", "winner": "first" | "second" | "tie" | null, "rater", "kind": "human" | "machine"}

as JSON lines. `first` and `second` are the models in the order in which the rater saw their answers: whoever looks at
a pair favours a place, so the order is part of the vote (Zheng et al. 2023, arXiv:2306.05685). null says that no vote
was given, and `note` may say why. `answers` may hold the `answers_hash` of the two texts, and `key` that of all a judge
was shown. A line that cannot be counted, or is about other answers than there are now, is told, and counted as lost:
votes are not missing at random.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from helptune.errors import DataError
from helptune.evaluate.table import Problem
from helptune.files import write_text

PART = "preference"
Kind = Literal["human", "machine"]
Winner = Literal["first", "second", "tie"]
KINDS, WINNERS = get_args(Kind), get_args(Winner)
_FIELDS = ("item", "first", "second", "winner", "rater", "kind", "note", "key", "answers")
_OPTIONAL = ("note", "key", "answers")
_QUOTED = 200
"""Characters of a note that are repeated in a problem."""


@dataclass(frozen=True)
class Vote:
    """`winner` is None where the rater abstained, or the judge failed."""

    item: str
    first: str
    second: str
    winner: Winner | None
    rater: str
    kind: Kind
    note: str = ""
    key: str = ""
    answers: str = ""

    def score(self, model: str) -> float | None:
        """1 where `model`, one of the two, was found better, 1/2 for a tie, None without a vote."""
        if self.winner is None:
            return None
        if self.winner == "tie":
            return 0.5
        return float(model == (self.first if self.winner == "first" else self.second))


@dataclass(frozen=True)
class Lost:
    """A line that holds no usable vote: as much as can be told of whose and what it was ("" and nobody: unknown)."""

    kind: str
    models: frozenset[str]


@dataclass(frozen=True)
class VoteSet:
    """What was read. `problems` names every line that was not counted as a vote for one model, a tie included."""

    votes: tuple[Vote, ...]
    problems: tuple[Problem, ...] = ()
    lost: tuple[Lost, ...] = ()

    def between(self, a: str, b: str, kind: Kind) -> tuple[list[Vote], int]:
        """The votes of one kind on one pair, and how many lost lines may have been such a vote."""
        votes = [v for v in self.votes if v.kind == kind and {v.first, v.second} == {a, b}]
        return votes, sum(one.kind in ("", kind) and one.models <= {a, b} for one in self.lost)


def answers_hash(first: str, second: str) -> str:
    """Of two texts, in the order in which they were shown: sixteen hexadecimal digits."""
    return hashlib.sha256(json.dumps([first, second]).encode()).hexdigest()[:16]


def read_votes(
    *paths: Path | str,
    models: Collection[str] | None = None,
    items: Collection[str] | None = None,
    texts: Mapping[str, Mapping[str, str]] | None = None,
) -> VoteSet:
    """The votes of one or more files. `models` and `items`, where given, are all that may be voted on.

    `texts` are the answers as they are now, by model and item. A bad line is a Problem as `file:line`, and is lost:
    broken JSON, a field that is missing, unknown or not what it should be, the same model twice, a model or an item
    that is not known, other answers than those of `texts`, one name for a human and for a machine. A
    vote of the same rater on the same item in the same order is a Problem, and the first one counts. A null vote is
    kept, and told as a Problem too. Raises DataError only for a file that cannot be read at all.
    """
    return collect((pair for path in paths for pair in _records(Path(path))), models, items, texts)


def collect(
    records: Iterable[tuple[str, Any]],
    models: Collection[str] | None = None,
    items: Collection[str] | None = None,
    texts: Mapping[str, Mapping[str, str]] | None = None,
) -> VoteSet:
    """The votes among (where it is from, JSON object) pairs; a DataError in place of an object says why it is none."""
    votes, problems, lost = list[Vote](), list[Problem](), list[Lost]()
    seen, kinds = dict[tuple[str, ...], str](), dict[str, tuple[str, str]]()
    for where, record in records:
        try:
            if isinstance(record, DataError):
                raise record
            vote = parse_vote(record, models, items)
            _check_answers(vote, texts or {})
            kind, named = kinds.setdefault(vote.rater, (vote.kind, where))
            if kind != vote.kind:
                raise DataError(f"field 'kind': rater {vote.rater!r:.60} is {kind} in {named} and {vote.kind} here")
        except DataError as error:
            problems.append(Problem(PART, _item(record), str(error), where))
            lost.append(_lost(record, models))
            continue
        key = (vote.item, vote.first, vote.second, vote.rater)
        if key in seen:
            what = f"{vote.rater!r:.60} voted on {vote.first} and {vote.second} in this order already in {seen[key]}"
            problems.append(Problem(PART, vote.item, f"{what}, which counts", where))
            continue
        seen[key] = where
        votes.append(vote)
        if vote.winner is None:
            why = f": {vote.note[:_QUOTED]}" if vote.note else ""
            problems.append(Problem(PART, vote.item, f"{vote.kind} rater {vote.rater!r:.60} gave no vote{why}", where))
    return VoteSet(tuple(votes), tuple(problems), tuple(lost))


def parse_vote(record: Any, models: Collection[str] | None = None, items: Collection[str] | None = None) -> Vote:
    """A Vote from a JSON object. Raises DataError naming the field."""
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}")
    for name in [*record, *_FIELDS]:
        if name not in _FIELDS:
            raise DataError(f"field {name!r:.60} is not one of {', '.join(_FIELDS)}")
        if name not in record and name not in _OPTIONAL:
            raise DataError(f"field {name!r} is missing" + ("; null says no vote" if name == "winner" else ""))
    item, first, second, rater = (_name(record, name) for name in ("item", "first", "second", "rater"))
    if record["winner"] not in (*WINNERS, None):
        raise DataError(f"field 'winner': {record['winner']!r:.60} is not {', '.join(WINNERS)} or null")
    if record["kind"] not in KINDS:
        raise DataError(f"field 'kind': {record['kind']!r:.60} is not {' or '.join(KINDS)}")
    texts = {name: record.get(name) or "" for name in _OPTIONAL}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"field {name!r} must be a text, found {text!r:.60}")
    if first == second:
        raise DataError(f"fields 'first' and 'second' both name {first!r:.60}; a vote is between two models")
    for name, model in (("first", first), ("second", second)):
        if models is not None and model not in models:
            raise DataError(f"field {name!r}: unknown model {model!r:.60}; known are {', '.join(models)}")
    if items is not None and item not in items:
        raise DataError(f"field 'item': unknown item {item!r:.60}; it is none of the {len(items)} that were answered")
    return Vote(item, first, second, record["winner"], rater, record["kind"], **texts)


def _check_answers(vote: Vote, texts: Mapping[str, Mapping[str, str]]) -> None:
    shown = [texts.get(model, {}).get(vote.item) for model in (vote.first, vote.second)]
    if vote.answers and None not in shown and vote.answers != answers_hash(*map(str, shown)):
        raise DataError("field 'answers': the answers are others now than those that were voted on; let them be judged")


def vote_line(vote: Vote) -> str:
    """The line of a file that holds this vote, with its line break; empty `note` and `key` are left out."""
    record = {name: value for name, value in asdict(vote).items() if value != "" or name not in _OPTIONAL}
    return json.dumps(record) + "\n"  # in ASCII: a judge's text may hold half a surrogate pair


def write_votes(path: Path, votes: Iterable[Vote]) -> None:
    write_text(path, "".join(map(vote_line, votes)))


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """(`file:line`, object) of each line that is not empty. Lines stay bytes, so that one bad byte costs one line."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); a line of a votes file has {', '.join(_FIELDS)}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"{path}:{number}", DataError(f"not usable JSON ({error})")


def _name(record: dict[str, Any], field: str) -> str:
    value = record[field]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field {field!r} must be a name or a number, found {value!r:.60}")
    return value


def _item(record: Any) -> str:
    item = record.get("item") if isinstance(record, dict) else None
    return str(item)[:_QUOTED] if isinstance(item, str | int) else ""


def _lost(record: Any, models: Collection[str] | None) -> Lost:
    """Unknown models are left out: nobody knows which one was meant."""
    found = record if isinstance(record, dict) else {}
    named = [found.get(name) for name in ("first", "second")]
    known = frozenset(m for m in named if isinstance(m, str) and (models is None or m in models))
    kind = found.get("kind")
    return Lost(kind if isinstance(kind, str) and kind in KINDS else "", known)
