"""What leaves after the filters: repeats, evaluation prompts, what raters disagree on, what a classifier calls unsafe.

Each pass marks rows of the index as dropped and says why. They run in one process and in order, so the first of several
alike is the one that stays: put the source you trust most first.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune.data.agreement.gate import check, filtered, with_at_least
from helptune.data.agreement.ratings import read_ratings
from helptune.data.duplicates import NearDuplicates
from helptune.data.mixture.index import Drop, Index
from helptune.data.mixture.recipe import Agreement, Decontamination, Duplicates
from helptune.errors import DataError

_SHOWN = 5


def drop_duplicates(index: Index, rule: Duplicates) -> None:
    """Ids that come twice, texts that are the same when normalized, and texts that are nearly the same."""
    seen_ids: set[str] = set()
    seen_texts: dict[bytes, int] = {}
    near = NearDuplicates(rule.threshold)
    for row in tqdm(range(len(index)), desc="duplicates", unit=" conversations", mininterval=1):
        id, text = index.ids[row], index.columns["exact"][row].tobytes()
        if id in seen_ids:
            index.drops[row] = Drop("duplicates", "repeated_id", f"the id {id} came before")
        elif text in seen_texts:
            first = index.ids[seen_texts[text]]
            index.drops[row] = Drop("duplicates", "exact_duplicate", f"the same text as {first}")
        elif (like := near.first_like(id, index.columns["signature"][row])) is not None:
            index.drops[row] = Drop("duplicates", "near_duplicate", f"nearly the same text as {like}")
        if row not in index.drops:
            seen_texts[text] = row
        seen_ids.add(id)


def decontaminate(index: Index, rule: Decontamination) -> None:
    """Drop what matches an evaluation prompt. Raises DataError naming the first ones where a match fails the build."""
    rows = [row for row in sorted(index.matches) if row not in index.drops]
    if rows and rule.on_match == "fail":
        raise DataError(
            f"{len(rows)} conversations match prompts of an evaluation set: {_named(index, rows[:_SHOWN])}"
            f"{', ...' if len(rows) > _SHOWN else ''}. Take them out of the source, or let the recipe drop them: "
            '[decontamination] on_match = "drop"'
        )
    for row in rows:
        index.drops[row] = Drop("decontamination", "evaluation_prompt", _words(index, row))


def _named(index: Index, rows: Iterable[int]) -> str:
    return "; ".join(f"{index.ids[row]} ({_words(index, row)})" for row in rows)


def _words(index: Index, row: int) -> str:
    match = index.matches[row][0]
    return f"{match['set']} prompt {match['prompt']}, {match['share']:.0%} of its word sequences"


def require_agreement(index: Index, rule: Agreement, home: Path) -> dict[str, Any]:
    """Drop rated conversations that the gate's filters do not keep; what a manifest says of them, {} without ratings.

    Raises DataError for a file that cannot be read, ratings of other conversations than these, and raters whose
    agreement does not pass the gate.
    """
    if not rule.ratings:
        return {}
    found = read_ratings(home / rule.ratings)
    if rule.attribute not in found:
        raise DataError(f"agreement: {rule.ratings} has no {rule.attribute!r} but {', '.join(found)}")
    ratings, rated = found[rule.attribute], set(found[rule.attribute].items)
    if not (matched := len(rated.intersection(index.ids))) and index.ids:
        raise DataError(
            f"agreement: no item of {rule.ratings}, such as {min(rated, default='')!r}, is the id of a conversation "
            f"that passed the filters, such as {min(index.ids)!r}; name items by these ids"
        )
    verdict = check(ratings, rule.gate)
    if not verdict.passed:
        raise DataError(f"agreement on {rule.attribute}: {verdict}")
    enough = set(with_at_least(ratings, rule.gate.min_ratings).items)
    kept = set(filtered(ratings, rule.gate.max_spread, rule.gate.min_ratings).items)
    few = Drop("agreement", "too_few_ratings", f"fewer than {rule.gate.min_ratings} ratings of {rule.attribute}")
    apart = Drop("agreement", "raters_disagree", f"its ratings of {rule.attribute} are too far apart")
    for row in index.alive:
        if (id := index.ids[row]) in rated and id not in kept:
            index.drops[row] = apart if id in enough else few
    before, after = asdict(verdict.before), asdict(verdict.after)
    told = {"attribute": rule.attribute, "before": before, "after": after, "retention": verdict.retention}
    return told | {"items": verdict.total, "matched": matched}


def drop_unsafe(index: Index, files: Iterable[Path]) -> None:
    """Take over the verdicts that `judge` wrote, a file a chunk."""
    for number, file in enumerate(files):
        for row, judged in json.loads(file.read_text()).items():
            place = index.starts[number] + int(row)
            index.p_unsafe[place] = judged["p_unsafe"]
            if judged["reason"]:
                words = ", ".join(f"{target} {p:.2f}" for target, p in judged["p_unsafe"].items())
                index.drops[place] = Drop("safety", judged["reason"], f"probability of unsafe: {words}")
