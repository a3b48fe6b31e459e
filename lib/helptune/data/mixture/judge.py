"""The safety pass, a chunk at a time: which conversations the stage 1 classifier lets into a dataset."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from helptune.data.conversation import Conversation
from helptune.data.mixture.chunks import Chunk
from helptune.data.mixture.recipe import Safety, fingerprint
from helptune.data.safety.classifier import SafetyClassifier, Thresholds, Verdict, turns
from helptune.data.safety.classifier import judge as safety_judge
from helptune.data.safety.refusal import is_refusal
from helptune.errors import DataError, HelptuneError
from helptune.files import write_text

NONE = "none"
"""Of a recipe that wants no judge; its dataset's manifest says so."""

IN_WORKERS = ("lexical",)
"""Classifiers that are cheap to load and run on one core; a model runs once, in the first process, on all of them."""


def verdicts_file(safety: Safety, rows: Sequence[int]) -> str:
    """The name depends on everything that decides a chunk's verdicts: who judges, at which thresholds, and whom."""
    return f"judged-{fingerprint(repr(safety), json.dumps(classifier_facts(safety)), json.dumps(rows))}.json"


def judge(chunk: Chunk, rows: Sequence[int], safety: Safety, labels_are_ours: bool) -> Chunk:
    """Write, for each of the chunk's kept `rows`, p_unsafe of each target, and the reason to drop it or "".

    `labels_are_ours`: of the curated source, whose category `refuse` its writers gave. Any other source's is a claim
    of the record. Raises DataError for a classifier that fails.
    """
    conversations = chunk.kept(rows)
    verdicts = [_verdicts(conversations, target, safety) for target in safety.targets]
    judged = {}
    for row, conversation, *own in zip(rows, conversations, *verdicts, strict=True):
        p_unsafe = {verdict.target: round(verdict.p_unsafe, 4) for verdict in own}
        known_refusal = labels_are_ours and conversation.category == "refuse"
        judged[row] = {"p_unsafe": p_unsafe, "reason": _reason(own, known_refusal or declines(conversation, own))}
    write_text(chunk.file(verdicts_file(safety, rows)), json.dumps(judged))
    return chunk


def _verdicts(conversations: Sequence[Conversation], target: str, safety: Safety) -> list[Verdict]:
    classifier = _classifier(safety.classifier)
    try:
        return list(safety_judge(classifier, conversations, target, _thresholds(safety)))
    except HelptuneError:
        raise
    except Exception as error:  # whatever somebody else's classifier raises
        raise DataError(
            f"safety classifier {safety.classifier!r} failed ({type(error).__name__}: {error}); "
            "when it is mended, the same command goes on where it stopped"
        ) from error


def declines(conversation: Conversation, verdicts: Sequence[Verdict]) -> bool:
    """Whether every answer declines. The verdict on the prompts is that on the worst of them and does not say which it
    was, and what is declined in one turn may be done in the next: so one refusal among other answers clears nothing.

    A classifier has one word for all answers, so it counts where there is one answer.
    """
    answers = turns(conversation, "response")
    told = any(verdict.refusal for verdict in verdicts if verdict.target == "response")
    return all(map(is_refusal, answers)) or (told and len(answers) == 1)


def _reason(verdicts: Sequence[Verdict], declined: bool) -> str:
    """The first reason to drop it. An unsafe request that is declined is what a demonstration of refusal looks like."""
    reasons = [f"{v.target}_not_judged" for v in verdicts if v.unsafe is None]
    reasons += [f"unsafe_{v.target}" for v in verdicts if v.unsafe and not (v.target == "prompt" and declined)]
    return (reasons or [""])[0]


def classifier_facts(safety: Safety) -> dict[str, Any]:
    """What a manifest says of the judge: who it was, and from which probability on it dropped a text."""
    if safety.classifier == NONE:
        return {"classifier": NONE}
    classifier = _classifier(safety.classifier)
    about = {"classifier": classifier.name, "version": classifier.version, "policy": classifier.policy}
    return about | {"thresholds": {target: _thresholds(safety).of(target) for target in safety.targets}}


def _thresholds(safety: Safety) -> Thresholds:
    if safety.threshold:
        return Thresholds(safety.threshold, safety.threshold)
    return _classifier(safety.classifier).thresholds


@cache
def _classifier(spec: str) -> SafetyClassifier:
    from helptune.data.safety import find

    return find(spec)
