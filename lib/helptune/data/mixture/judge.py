"""The safety pass, a chunk at a time: which conversations the stage 1 classifier lets into a dataset."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import compress
from typing import Any

from helptune.data.conversation import Conversation, parse_conversation
from helptune.data.mixture.chunks import Chunk
from helptune.data.mixture.recipe import Recipe, Safety, fingerprint
from helptune.files import write_text

NONE = "none"
"""Of a recipe that wants no judge; its dataset's manifest says so."""

IN_WORKERS = ("lexical",)
"""Classifiers that are cheap to load and run on one core; a model runs once, in the first process, on all of them."""


def verdicts_file(recipe: Recipe, shelves: Iterable[str]) -> str:
    """The name depends on everything that decides who is judged, and by what."""
    rules = (recipe.safety, recipe.duplicates, recipe.decontamination, recipe.agreement)
    return f"judged-{fingerprint(*map(repr, rules), *shelves)}.json"


def judge(chunk: Chunk, rows: Sequence[int], safety: Safety, file: str) -> Chunk:
    """Write `file` of the chunk: for each of the chunk's kept `rows` p_unsafe of each target, and the verdict or ""."""
    wanted = set(rows)
    records = compress(chunk.records("kept.jsonl"), (row in wanted for row in range(max(wanted, default=-1) + 1)))
    conversations = [parse_conversation(record) for record in records]
    classifier = _classifier(safety.classifier)
    limits = _limits(safety)
    scores = {target: classifier.score(conversations, target) for target in safety.targets}
    judged = {}
    for i, (row, conversation) in enumerate(zip(rows, conversations, strict=True)):
        own = {target: scores[target][i] for target in safety.targets}
        reasons = [f"{target}_not_judged" for target, score in own.items() if score.abstain]
        reasons += [f"unsafe_{target}" for target, score in own.items() if score.p_unsafe >= limits[target]]
        if _declines(conversation, own) and "unsafe_prompt" in reasons:
            reasons.remove("unsafe_prompt")
        judged[row] = {"p_unsafe": {t: round(s.p_unsafe, 4) for t, s in own.items()}, "reason": (reasons or [""])[0]}
    write_text(chunk.file(file), json.dumps(judged))
    return chunk


def classifier_facts(safety: Safety) -> dict[str, Any]:
    """What a manifest says of the judge: who it was, and from which probability on it dropped a text."""
    if safety.classifier == NONE:
        return {"classifier": NONE}
    classifier = _classifier(safety.classifier)
    about = {"classifier": classifier.name, "version": classifier.version, "policy": classifier.policy}
    return about | {"thresholds": _limits(safety)}


def _limits(safety: Safety) -> dict[str, float]:
    if safety.threshold:
        return dict.fromkeys(safety.targets, safety.threshold)
    thresholds = _classifier(safety.classifier).thresholds
    return {target: thresholds.of(target) for target in safety.targets}


def _declines(conversation: Conversation, scores: dict[str, Any]) -> bool:
    """An unsafe request that is declined is what a demonstration of refusal looks like."""
    return conversation.category == "refuse" or ("response" in scores and scores["response"].refusal)


@cache
def _classifier(spec: str) -> Any:
    from helptune.data.safety import find

    return find(spec)
