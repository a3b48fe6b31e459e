"""What can be said of every answer to the helpfulness set: its score with its parts, its likeness to the reference, its
writing. One row a model and item; an answer that is missing has no score and is a problem."""

from collections.abc import Mapping, Sequence

from helptune.data.conversation import Conversation
from helptune.evaluate.answers import Answer
from helptune.evaluate.checks import Check
from helptune.evaluate.helpfulness import PARTS, WEIGHTS, Helpfulness, Rarity, helpfulness
from helptune.evaluate.overlap import overlap
from helptune.evaluate.table import Problem, Row
from helptune.evaluate.writing import writing

PART = "helpful"


def scored(
    conversations: Sequence[Conversation],
    answers: Mapping[str, Answer],
    checks: Mapping[str, Sequence[Check]],
    weights: Mapping[str, float] = WEIGHTS,
) -> dict[str, Helpfulness]:
    """The helpfulness of each answer that is there, by id. How rare a word is comes from the references of all."""
    rarity = Rarity([c.reference for c in conversations])
    return {
        c.id: helpfulness(c, answers[c.id], checks.get(c.id, ()), rarity, weights)
        for c in conversations
        if c.id in answers
    }


def measure_quality(
    conversations: Sequence[Conversation],
    answers: Mapping[str, Mapping[str, Answer]],
    checks: Mapping[str, Sequence[Check]],
    weights: Mapping[str, float] = WEIGHTS,
) -> tuple[list[Row], list[Problem]]:
    """Rows of part "helpful" of each model in `answers` (model -> id -> answer); checks by id.

    Metrics: "helpfulness" and its parts, "bleu", "chrf", "rouge1", "rouge2", "rougeL", and those of `writing`; labels
    category and difficulty. An answer for which there is no conversation is a Problem too.
    """
    rows, problems = list[Row](), list[Problem]()
    known = {c.id for c in conversations}
    for model, own in answers.items():
        problems += [Problem(PART, i, "an answer to no request of this set", model) for i in own if i not in known]
        found = scored(conversations, own, checks, weights)
        for c in conversations:
            labels = {"category": c.category or "all", "difficulty": c.difficulty}
            metrics: dict[str, float | None]
            if c.id in found:
                parts = {name: found[c.id].parts[name] for name in PARTS}
                metrics = {"helpfulness": found[c.id].score, **parts}
                metrics |= overlap(own[c.id].text, c.reference) | writing(own[c.id], c.prompt[-1].content)
            else:
                problems.append(Problem(PART, c.id, "the answer is missing", model))
                metrics = {"helpfulness": None}
            rows.append(Row(PART, c.id, model, metrics, c.id, labels))
    return rows, problems
