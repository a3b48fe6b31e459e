"""Votes and answers as LLM Comparator shows them, side by side: its JSON file, written and read.

    {"metadata", "models": [{"name"}, {"name"}], "examples": [{"input_text", "tags", "output_text_a", "output_text_b",
     "score", "individual_rater_scores": [{"is_flipped", "score", "rating_label", "rationale"}], "custom_fields"}]}

after Kahng et al. 2024 (arXiv:2402.10524). A score above 0 says that A is better, whichever answer was shown first;
`is_flipped` says that it was B. Its raters are judges, so what is read is a machine's vote unless the file says human.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helptune.errors import DataError
from helptune.evaluate.judgements import judgements
from helptune.evaluate.votes import Vote, VoteSet, collect
from helptune.files import write_text

RATER = "llm-comparator"
_SCHEMA = {"id": "string", "rater": "per_rating_string", "kind": "per_rating_string"}
_LABELS = {"first": ("A is better", 1.0), "tie": ("same", 0.0), "second": ("B is better", -1.0)}


@dataclass(frozen=True)
class SideBySide:
    """A prompt and two answers to it."""

    item: str
    prompt: str
    a: str
    b: str
    tags: tuple[str, ...] = ()


def write_comparator(
    path: Path, names: tuple[str, str], sides: Sequence[SideBySide], votes: VoteSet, source: str = "helptune"
) -> None:
    """The votes on two models, of every kind; `score` is the mean of an item's judgements, from -1 to 1, or null."""
    a, b = names
    by_item: dict[str, list[Vote]] = {}
    for vote in votes.votes:
        if {vote.first, vote.second} == {a, b}:
            by_item.setdefault(vote.item, []).append(vote)
    schema = [{"name": name, "type": kind} for name, kind in _SCHEMA.items()]
    examples = [
        {
            "input_text": side.prompt,
            "tags": side.tags,
            "output_text_a": side.a,
            "output_text_b": side.b,
            "score": _mean(by_item.get(side.item, ()), a),
            "individual_rater_scores": [_rating(i, v, a) for i, v in enumerate(by_item.get(side.item, ()))],
            "custom_fields": {"id": side.item},
        }
        for side in sides
    ]
    whole = {
        "metadata": {"source_path": source, "custom_fields_schema": schema},
        "models": [{"name": n} for n in names],
    }
    write_text(path, json.dumps(whole | {"examples": examples}, indent=1) + "\n")


def read_comparator(path: Path | str) -> tuple[tuple[str, str], list[SideBySide], VoteSet]:
    """Names, texts and votes of a file. An example is known by its custom field `id`, or else by its number from 1.

    The k-th rating in each order is taken as one rater's. An example without ratings has one vote, its score, if any;
    there, and where a rating does not say `is_flipped`, A counts as shown first. A rating that cannot be read is a lost
    vote, as in `read_votes`. Raises DataError for a file that is no comparison, naming the example.
    """
    path = Path(path)
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error}); LLM Comparator's format is wanted") from error
    found = whole if isinstance(whole, dict) else {}
    models, examples = found.get("models"), found.get("examples")
    named = [m.get("name") if isinstance(m, dict) else None for m in models] if isinstance(models, list) else []
    names = [name for name in named if isinstance(name, str) and name.strip()]
    if len(named) != 2 or len(set(names)) != 2:
        raise DataError(f"{path}: field 'models' must name two different models, found {models!r:.80}")
    if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
        raise DataError(f"{path}: field 'examples' must be a list of objects, found {examples!r:.80}")
    sides = [_side(example, number, path) for number, example in enumerate(examples, start=1)]
    twice = [item for item, times in Counter(side.item for side in sides).items() if times > 1]
    if twice:
        raise DataError(f"{path}: two examples have the id {twice[0]!r:.60}")
    records = (
        record
        for number, (side, example) in enumerate(zip(sides, examples, strict=True), start=1)
        for record in _records(side.item, example, names, f"{path}: example {number}")
    )
    return (names[0], names[1]), sides, collect(records)


def _records(item: str, example: dict, names: Sequence[str], where: str) -> Iterator[tuple[str, Any]]:
    """The ratings of an example as records of a votes file."""
    ratings = example.get("individual_rater_scores") or []
    if not ratings and example.get("score") is not None:
        why = "the example's score: nothing tells who gave it, or in what order"
        ratings = [{"score": example["score"], "rationale": why}]
    if not isinstance(ratings, list):
        yield where, DataError(f"field 'individual_rater_scores' must be a list, found {ratings!r:.60}")
        return
    orders = Counter[bool]()
    for number, rating in enumerate(ratings, start=1):
        place = f"{where}, rating {number}"
        score = rating.get("score") if isinstance(rating, dict) else rating
        if not isinstance(rating, dict) or not (score is None or _is_score(score)):
            yield place, DataError(f"a rating has a score, a number or null, found {score!r:.60}")
            continue
        flipped = rating.get("is_flipped") is True
        orders[flipped] += 1
        custom = rating.get("custom_fields")
        about = custom if isinstance(custom, dict) else {}
        a_won = None if score is None else (score > 0) - (score < 0)
        yield (
            place,
            {
                "item": item,
                "first": names[flipped],
                "second": names[not flipped],
                "winner": None if a_won is None else ("second", "tie", "first")[1 + (-a_won if flipped else a_won)],
                "rater": about.get("rater") or f"{RATER} {orders[flipped]}",
                "kind": about.get("kind") or "machine",
                "note": rating.get("rationale") or "",
            },
        )


def _rating(index: int, vote: Vote, a: str) -> dict[str, Any]:
    """The label speaks of the places as they were shown, the score of the models, as LLM Comparator has it."""
    flipped = vote.first != a
    label, score = _LABELS[vote.winner] if vote.winner else (None, None)
    return {
        "index": index,
        "is_flipped": flipped,
        "score": -score if flipped and score else score,
        "rating_label": label,
        "rationale": vote.note,
        "custom_fields": {"rater": vote.rater, "kind": vote.kind},
    }


def _mean(votes: Sequence[Vote], a: str) -> float | None:
    scores = [2 * one.score - 1 for one in judgements(votes, a) if one.score is not None]
    return sum(scores) / len(scores) if scores else None


def _side(example: dict, number: int, path: Path) -> SideBySide:
    custom, tags = example.get("custom_fields"), example.get("tags")
    item = custom.get("id") if isinstance(custom, dict) else None
    prompt, a, b = (
        _text(example, name, f"{path}: example {number}") for name in ("input_text", "output_text_a", "output_text_b")
    )
    known = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return SideBySide(
        str(item) if isinstance(item, str | int) and item != "" else f"example {number}", prompt, a, b, known
    )


def _text(example: dict, name: str, where: str) -> str:
    """A text, or the texts among its pieces, of which others may be pictures."""
    value = example.get(name)
    if isinstance(value, list):
        value = "".join(
            part["data"]
            for part in value
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("data"), str)
        )
    if not isinstance(value, str):
        raise DataError(f"{where}: field {name!r} must be a text, found {value!r:.60}")
    return value


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
