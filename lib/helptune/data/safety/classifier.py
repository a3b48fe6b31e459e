"""One interface for every safety classifier: conversations in, a probability for each out, and a measured threshold.

A score alone decides nothing. `calibrate` finds the probability above which a classifier may call a text unsafe while
it flags at most a given share of the safe texts of a development split, and every `Verdict` keeps who judged, in which
version, and at which threshold. So a dataset can be audited, and judged again by somebody else's classifier.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from helptune.data.conversation import Conversation
from helptune.data.safety.labelled import Labelled, by_target
from helptune.errors import DataError, SettingError

TARGETS = ("prompt", "response")
"""Which text of a conversation is judged: what the user asked, or what the assistant answered."""


@dataclass(frozen=True)
class SafetyScore:
    """What a classifier says of one conversation's prompt or response.

    `categories` maps a policy to its own probability, where the classifier has policies of its own. `refusal`: the
    response declines (always False for a prompt). `abstain`: the classifier cannot judge all of the text;
    `p_unsafe` is then that of the part it can judge, 0 of none. `model_hash` says which weights spoke.
    """

    p_unsafe: float
    categories: Mapping[str, float] = field(default_factory=dict, hash=False)
    refusal: bool = False
    abstain: bool = False
    model_hash: str = ""


@dataclass(frozen=True)
class Thresholds:
    """A text is called unsafe when `p_unsafe` is at or above the threshold of its target.

    `max_fpr` is the share of safe development texts that calibration allowed above it; 1.0 where nothing was
    calibrated, and the thresholds are somebody's choice.
    """

    prompt: float = 0.5
    response: float = 0.5
    max_fpr: float = 1.0

    def of(self, target: str) -> float:
        return self.prompt if target == "prompt" else self.response


UNCALIBRATED = Thresholds()


@runtime_checkable
class SafetyClassifier(Protocol):
    """Anything that scores conversations. `policy` says in words, or by a link, what it was made to call unsafe."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def policy(self) -> str: ...
    @property
    def thresholds(self) -> Thresholds: ...

    def score(self, conversations: Sequence[Conversation], target: str = "prompt") -> list[SafetyScore]:
        """One score a conversation, in order. Of several turns the most unsafe one counts."""
        ...


@dataclass(frozen=True)
class Verdict:
    """A score, and what made it a decision. `unsafe` is None where the classifier abstained and saw nothing unsafe."""

    id: str
    target: str
    p_unsafe: float
    unsafe: bool | None
    refusal: bool
    classifier: str
    version: str
    threshold: float


def judge(
    classifier: SafetyClassifier,
    conversations: Sequence[Conversation],
    target: str = "prompt",
    thresholds: Thresholds | None = None,
) -> Iterator[Verdict]:
    """The verdict on each conversation, at the classifier's own thresholds unless others are given."""
    threshold = (thresholds or classifier.thresholds).of(target)
    for conversation, score in zip(conversations, classifier.score(conversations, target), strict=True):
        over = score.p_unsafe >= threshold  # a turn that cannot be judged does not clear one that can
        unsafe = None if score.abstain and not over else over
        yield Verdict(
            conversation.id, target, score.p_unsafe, unsafe, score.refusal,
            classifier.name, classifier.version, threshold,
        )  # fmt: skip


def calibrate(classifier: SafetyClassifier, dev: Sequence[Labelled], max_fpr: float = 0.01) -> Thresholds:
    """The lowest thresholds at which at most `max_fpr` of the safe records of `dev` are called unsafe.

    A target without records keeps 0.5. Raises SettingError for a share outside [0, 1), DataError when there are records
    of a target and none of them is safe.
    """
    if not 0 <= max_fpr < 1:
        raise SettingError(f"max_fpr={max_fpr}: a share of the safe texts, at least 0 and below 1, such as 0.01")
    found: dict[str, float] = {}
    for target, records in by_target(dev).items():
        scores = classifier.score([record.conversation() for record in records], target)
        judged = [(s.p_unsafe, r.unsafe) for s, r in zip(scores, records, strict=True) if not s.abstain]
        safe = np.array([p for p, unsafe in judged if not unsafe])
        if not len(safe):
            raise DataError(
                f"calibration needs safe records of target {target!r} that the classifier judges; found none"
            )
        found[target] = threshold_at(safe, max_fpr)
    return Thresholds(**found, max_fpr=max_fpr)


def threshold_at(safe: np.ndarray, max_fpr: float) -> float:
    """The lowest threshold that at most `max_fpr` of these scores of safe texts reach.

    It can exceed 1, at which nothing is ever called unsafe.
    """
    allowed = int(max_fpr * len(safe) + 1e-9)
    return float(np.nextafter(np.sort(safe)[::-1][allowed], 2.0))


def turns(conversation: Conversation, target: str) -> list[str]:
    """The texts to be judged: what the user wrote, with a system message; or what the assistant wrote."""
    wanted = ("assistant",) if target == "response" else ("system", "user")
    return [message.content for message in conversation.messages if message.role in wanted]


def check_target(target: str) -> None:
    if target not in TARGETS:
        raise SettingError(f"target {target!r} is not one of {', '.join(TARGETS)}")
