"""The probe: a logistic regression on the hidden states of the embedded Gemma 3 270M, which stays as it is.

Unlike the lexical screen it reads words in their sentence, and a response after its prompt. Layer, pooling and penalty
are chosen on the development split by `train`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.conversation import Conversation
from helptune.data.safety.classifier import TARGETS, SafetyScore, Thresholds, check_target, turns
from helptune.data.safety.hidden import LENGTHS, Reading, cut_off, pooled
from helptune.data.safety.labelled import POLICY, Labelled
from helptune.data.safety.refusal import is_refusal
from helptune.data.safety.weights import SHIPPED, read_thresholds, read_weights, write_weights
from helptune.errors import WeightsError
from helptune.gemma.base import Base
from helptune.gemma.checkpoints import embedded_sha256, load_base, load_embedded_tokenizer
from helptune.gemma.tokenizer import BOS, Tokenizer
from helptune.shapes import Float

NAME = "probe"
POOLINGS = ("mean", "last", "both")
_WINDOW, _CONTEXT = 384, 160
"""Tokens of a text read at once (of a longer one the worst window counts), and of the prompt before a response."""


@dataclass(frozen=True)
class Wording:
    """What stands before the text, between a prompt and its response, and after."""

    before: str
    between: str
    after: str


WORDINGS = {"prompt": Wording("", "", ""), "response": Wording("User: ", "\nAssistant: ", "")}


@dataclass(frozen=True)
class Place:
    """Where a text is read: after so many layers, in this wording, pooled so. `penalty` is scikit-learn's C."""

    layers: int
    wording: Wording
    pooling: str
    penalty: float


@dataclass(frozen=True)
class Head:
    """The fitted regression of one target; the features' standardization is folded into it."""

    place: Place
    coefficients: Float[np.ndarray, "F"]
    intercept: float

    def probabilities(self, features: Float[np.ndarray, "B 2*D"]) -> Float[np.ndarray, "B"]:
        x = select(features, self.place.pooling).astype(np.float64)
        return 1 / (1 + np.exp(-(x @ self.coefficients.astype(np.float64) + self.intercept)))


def select(features: Float[np.ndarray, "B 2*D"], pooling: str) -> Float[np.ndarray, "B F"]:
    D = features.shape[1] // 2
    return {"mean": features[:, :D], "last": features[:, D:], "both": features}[pooling]


def readings(tokenizer: Tokenizer, wording: Wording, prompt: str, response: str | None) -> Iterator[Reading]:
    """The text's windows, each in the wording; a prompt before its response is cut to its end, where it asks."""
    encode = tokenizer.encode
    head = [BOS, *encode(wording.before)]
    if response is not None:
        head += [*encode(prompt)[-_CONTEXT:], *encode(wording.between)]
    text, tail = encode(prompt if response is None else response), encode(wording.after)
    for first in range(0, len(text), _WINDOW):
        window = text[first : first + _WINDOW]
        yield Reading((*head, *window, *tail), len(head), len(head) + len(window))


def spoken(conversation: Conversation, target: str) -> Iterator[tuple[str, str | None]]:
    """(prompt, None) of each of the user's turns, with a system message; or (prompt, response) of each answer."""
    said = ""
    for message in conversation.messages:
        if message.role == "assistant":
            if target == "response":
                yield said, message.content
            said = ""
        else:
            said = f"{said}\n\n{message.content}".strip()
            if target == "prompt" and message.role == "user":
                yield said, None


@dataclass(frozen=True)
class Probe:
    """A `SafetyClassifier` of a base and two heads, one for prompts and one for responses."""

    base: Base
    tokenizer: Tokenizer
    heads: Mapping[str, Head]
    thresholds: Thresholds
    model_hash: str
    name: str = NAME
    policy: str = POLICY

    @property
    def version(self) -> str:
        return self.model_hash[:12]

    @cached_property
    def _cut(self) -> dict[int, Base]:
        return {head.place.layers: cut_off(self.base, head.place.layers) for head in self.heads.values()}

    def score(self, conversations: Sequence[Conversation], target: str = "prompt") -> list[SafetyScore]:
        """Each turn is judged after what came right before it; the most unsafe one counts."""
        check_target(target)
        head = self.heads[target]
        rows: list[Reading] = []
        ends = []
        for conversation in conversations:
            for prompt, response in spoken(conversation, target):
                rows += readings(self.tokenizer, head.place.wording, prompt, response)
            ends.append(len(rows))
        p = head.probabilities(pooled(self._cut[head.place.layers], rows)) if rows else np.empty(0)
        scores = []
        for conversation, start, end in zip(conversations, [0, *ends], ends, strict=False):
            refusal = target == "response" and any(map(is_refusal, turns(conversation, target)))
            p_unsafe = float(max(p[start:end], default=0.0))
            scores.append(SafetyScore(p_unsafe, {}, refusal, start == end, self.model_hash))
        return scores


def fit_head(place: Place, features: Float[np.ndarray, "B 2*D"], records: Sequence[Labelled]) -> Head:
    """Standardize, then a logistic regression with an L2 penalty, both classes weighing the same."""
    from sklearn.linear_model import LogisticRegression

    x = select(features, place.pooling).astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    regression = LogisticRegression(C=place.penalty, class_weight="balanced", max_iter=5_000, tol=1e-6)
    regression.fit((x - mean) / scale, [record.unsafe for record in records])
    coefficients = regression.coef_[0] / scale
    intercept = float(regression.intercept_[0] - mean @ coefficients)
    return Head(place, coefficients.astype(np.float32), intercept)


def save(folder: Path, heads: Mapping[str, Head], base_sha256: str, record: Mapping[str, Any]) -> None:
    """`record` holds the thresholds and whatever else the reader of the JSON should know."""
    arrays = {target: head.coefficients for target, head in heads.items()}
    told = {target: asdict(head.place) | {"intercept": head.intercept} for target, head in heads.items()}
    write_weights(folder, NAME, arrays, {**record, "base_sha256": base_sha256, "heads": told})


def load(folder: Path, base: Base, tokenizer: Tokenizer, base_sha256: str) -> Probe:
    """The probe in a folder, on the base it was fitted on. Raises WeightsError for damaged files or another base."""
    arrays, record = read_weights(folder, NAME)
    path = folder / f"{NAME}.json"
    if record.get("base_sha256") != base_sha256:
        raise WeightsError(
            f"{path}: fitted on the base {str(record.get('base_sha256'))[:12]}, not on {base_sha256[:12]}: hidden "
            "states of another model mean other things; train the probe on this one"
        )
    try:
        heads = {}
        for target, told in record["heads"].items():
            place = Place(int(told["layers"]), Wording(**told["wording"]), told["pooling"], float(told["penalty"]))
            heads[target] = Head(place, arrays[target], float(told["intercept"]))
            width = base.config.width * (2 if place.pooling == "both" else 1)
            if place.pooling not in POOLINGS or not 0 < place.layers <= base.config.layers:
                raise ValueError(f"reads {place.pooling} after {place.layers} layers")
            if arrays[target].shape != (width,):
                raise ValueError(f"{target} has {arrays[target].shape} coefficients, expected ({width},)")
            if len(next(readings(tokenizer, place.wording, "a" * 9_999, "b" * 9_999)).ids) > LENGTHS[-1]:
                raise ValueError(f"the wording of {target} leaves no room for a text")
        if set(heads) != set(TARGETS):
            raise ValueError(f"heads {sorted(heads)}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: not a probe ({error}); train the classifier again") from error
    return Probe(base, tokenizer, heads, read_thresholds(record, path), record["sha256"])


def load_embedded(folder: Path = SHIPPED) -> Probe:
    """The shipped probe on the embedded model, read in bfloat16: twice as fast as the float32 it was fitted in."""
    return load(folder, load_base("bfloat16"), load_embedded_tokenizer(), embedded_sha256())
