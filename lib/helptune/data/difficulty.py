"""How hard is a request? An estimate for conversations that nobody labelled, to balance a mixture by.

Counts that a reader could make (words, constraints, numbers, turns, the form of the answer), the category where it is
known, and, where somebody has computed it, how surprised the base model is by the answer, go into a multinomial
logistic regression fitted on the curated conversations. Their labels are their writer's judgement, so this repeats a
judgement and measures nothing deeper; `compare` says how well it does so. The coefficients are in difficulty.json.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import log1p
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from helptune.data.conversation import CATEGORIES, DIFFICULTIES, Conversation, load_curated
from helptune.data.words import words
from helptune.errors import DataError
from helptune.files import write_text

SHIPPED = Path(__file__).with_name("difficulty.json")
LOSS = "loss"
"""Nats per token of the last answer under the base model, after "User: ...\\nAssistant:" in plain text."""
INVERSE_PENALTY = 0.3
"""C of scikit-learn: of .03, .1, .3 and 1 the best by ten-fold cross-validation on the training set."""

_CONSTRAINT = re.compile(
    r"\b(?:must|should|only|exactly|at most|at least|no more than|less than|under|between|without|except|instead|avoid"
    r"|don't|do not|not|never|each|every|both|also|then|if|but|use|keep)\b",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^[ \t]*(?:[-*]|\d+[.)])\s", re.MULTILINE)
_CODE = re.compile(r"```|\bdef \w+\(|\w\(\w*\)")


def features(conversation: Conversation, loss: float | None = None) -> dict[str, float]:
    """Counts are log(1 + n): the tenth word more matters less than the first. An unknown category has no entry."""
    asked = "\n".join(m.content for m in conversation.messages if m.role == "user")
    answer = conversation.reference
    w, a = words(asked), words(answer)
    found = {
        "prompt words": log1p(len(w)),
        "prompt sentences": log1p(len(re.findall(r"[.!?](?:\s|$)|\n", asked))),
        "prompt clauses": log1p(len(re.findall(r"[,;:]", asked))),
        "prompt questions": log1p(asked.count("?")),
        "prompt numbers": log1p(len(re.findall(r"\d+", asked))),
        "prompt constraints": log1p(len(_CONSTRAINT.findall(asked))),
        "prompt word length": sum(map(len, w)) / max(1, len(w)),
        "prompt distinct words": len(set(w)) / max(1, len(w)),
        "turns": float(sum(m.role == "user" for m in conversation.messages)),
        "code": float(bool(_CODE.search(asked) or "```" in answer)),
        "answer words": log1p(len(a)),
        "answer lines": log1p(answer.count("\n")),
        "answer items": log1p(len(_ITEM.findall(answer))),
        "answer numbers": log1p(len(re.findall(r"\d+", answer))),
        "answer word length": sum(map(len, a)) / max(1, len(a)),
    }
    if conversation.category:
        found |= {f"category {name}": float(name == conversation.category) for name in CATEGORIES}
    return found if loss is None else found | {LOSS: loss}


@dataclass(frozen=True)
class Difficulty:
    """A fitted model: what it reads, standardized by `mean` and `scale`, times a coefficient for each difficulty."""

    names: tuple[str, ...]
    mean: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    coefficients: Float[np.ndarray, "3 F"]
    intercepts: Float[np.ndarray, "3"]

    def probabilities(self, found: Mapping[str, float]) -> Float[np.ndarray, "3"]:
        """Of DIFFICULTIES. A feature that is not known counts as the average one."""
        x = np.array([found.get(name, mean) for name, mean in zip(self.names, self.mean, strict=True)])
        scores = self.coefficients @ ((x - self.mean) / self.scale) + self.intercepts
        odds = np.exp(scores - scores.max())
        return odds / odds.sum()


def estimate(conversation: Conversation, loss: float | None = None) -> str:
    """The most probable of DIFFICULTIES by the shipped coefficients; those with the loss where it is given."""
    return _most_probable(load(with_loss=loss is not None), conversation, loss)


def fit(
    conversations: Sequence[Conversation], losses: Mapping[str, float] | None = None, only: Sequence[str] = ()
) -> Difficulty:
    """A model of the conversations' own labels; `losses` by id; `only` these features, instead of all.

    Raises DataError for a conversation without a label, or without a loss where there are losses.
    """
    from sklearn.linear_model import LogisticRegression

    rows = [features(c, _loss(c, losses)) for c in conversations]
    names = tuple(only) or tuple(dict.fromkeys(name for row in rows for name in row))
    x = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=2_000, tol=1e-8)
    fitted.fit((x - mean) / scale, _labels(conversations))
    return Difficulty(names, mean, scale, fitted.coef_, fitted.intercept_)


@dataclass(frozen=True)
class Agreement:
    """With the labels: share of equal ones, and Cohen's kappa with quadratic weights (0 is chance, 1 is equality)."""

    rows: int
    accuracy: float
    kappa: float


def agreement(
    model: Difficulty, conversations: Sequence[Conversation], losses: Mapping[str, float] | None = None
) -> Agreement:
    from sklearn.metrics import cohen_kappa_score

    labels = _labels(conversations)
    guesses = np.array([DIFFICULTIES.index(_most_probable(model, c, _loss(c, losses))) for c in conversations])
    kappa = cohen_kappa_score(labels, guesses, labels=[0, 1, 2], weights="quadratic")
    return Agreement(len(labels), float((labels == guesses).mean()), float(kappa))


def compare(
    train: Sequence[Conversation], heldout: Sequence[Conversation], losses: Mapping[str, float] | None = None
) -> dict[str, Agreement]:
    """Agreement on `heldout` of models fitted on `train`, the plainest first."""
    full = fit(train)
    unknown = [replace(c, category="") for c in heldout]
    found = {
        "prompt words alone": agreement(fit(train, only=["prompt words"]), heldout),
        "features, category unknown": agreement(full, unknown),
        "features": agreement(full, heldout),
    }
    if losses is not None:
        with_loss = fit(train, losses)
        found["features and loss, category unknown"] = agreement(with_loss, unknown, losses)
        found["features and loss"] = agreement(with_loss, heldout, losses)
    return found


def refit(losses: Mapping[str, float], path: Path) -> dict[str, Agreement]:
    """Fit on the curated training set and write the coefficients; what `compare` says on the held-out set.

    `load` reads what is written to SHIPPED. `losses` are those of all curated conversations, by id. They are written
    too, so that the fit can be repeated.
    """
    train, heldout = load_curated("train"), load_curated("heldout")
    record = {
        "fitted_on": f"helptune-curated, split train, {len(train)} conversations; labels are the writer's judgement",
        "method": f"multinomial logistic regression on standardized features, L2 penalty with C={INVERSE_PENALTY}",
        "without_loss": _to_json(fit(train)),
        "with_loss": _to_json(fit(train, losses)),
        "losses": {c.id: losses[c.id] for c in (*train, *heldout) if _loss(c, losses) is not None},
    }
    write_text(path, json.dumps(record, indent=1) + "\n")
    load.cache_clear()
    return compare(train, heldout, losses)


@cache
def load(*, with_loss: bool = False) -> Difficulty:
    """The shipped model."""
    record = json.loads(SHIPPED.read_text(encoding="utf-8"))["with_loss" if with_loss else "without_loss"]
    table = record["features"]
    coefficients = np.array([[table[name][level] for name in table] for level in DIFFICULTIES])
    mean, scale = (np.array([row[key] for row in table.values()]) for key in ("mean", "scale"))
    return Difficulty(
        tuple(table), mean, scale, coefficients, np.array([record["intercepts"][d] for d in DIFFICULTIES])
    )


def shipped_losses() -> dict[str, float]:
    return json.loads(SHIPPED.read_text(encoding="utf-8"))["losses"]


def _to_json(model: Difficulty) -> dict:
    """A row a feature. Five decimals: what is left out moves no probability by a thousandth."""
    table = {}
    for i, name in enumerate(model.names):
        row = {"mean": model.mean[i], "scale": model.scale[i]}
        row |= dict(zip(DIFFICULTIES, model.coefficients[:, i], strict=True))
        table[name] = {key: round(float(value), 5) for key, value in row.items()}
    intercepts = {d: round(float(v), 5) for d, v in zip(DIFFICULTIES, model.intercepts, strict=True)}
    return {"intercepts": intercepts, "features": table}


def _most_probable(model: Difficulty, conversation: Conversation, loss: float | None) -> str:
    return DIFFICULTIES[int(model.probabilities(features(conversation, loss)).argmax())]


def _labels(conversations: Sequence[Conversation]) -> np.ndarray:
    for c in conversations:
        if not c.difficulty:
            raise DataError(f"conversation {c.id!r} has no difficulty to learn from; label it or leave it out")
    return np.array([DIFFICULTIES.index(c.difficulty) for c in conversations])


def _loss(conversation: Conversation, losses: Mapping[str, float] | None) -> float | None:
    if losses is not None and conversation.id not in losses:
        raise DataError(f"conversation {conversation.id!r} has no loss; compute it, or fit without losses")
    return None if losses is None else losses[conversation.id]


def show(found: Mapping[str, Agreement], console: Any) -> None:
    from rich.table import Table

    table = Table("estimate from", "rows", "accuracy", "kappa, quadratic weights")
    for name, agreement in found.items():
        table.add_row(name, str(agreement.rows), f"{agreement.accuracy:.3f}", f"{agreement.kappa:.3f}")
    console.print(table)
