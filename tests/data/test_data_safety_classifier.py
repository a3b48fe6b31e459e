"""A threshold is measured, and a verdict remembers who judged, in which version, and at which threshold."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safety_texts import small_set

from helptune.data.conversation import Conversation, Message
from helptune.data.safety import find
from helptune.data.safety.classifier import (
    SafetyClassifier,
    SafetyScore,
    Thresholds,
    calibrate,
    judge,
    threshold_at,
    turns,
)
from helptune.data.safety.refusal import is_refusal
from helptune.errors import DataError, SettingError

THRESHOLDS = Thresholds(0.2, 0.3)


@dataclass(frozen=True)
class ByLength:
    """The longer, the worse; a text of less than `least` characters is not judged."""

    least: int = 0
    name: str = "by-length"
    version: str = "7"
    policy: str = "none"
    thresholds: Thresholds = THRESHOLDS

    def score(self, conversations, target="prompt"):
        lengths = [max(map(len, turns(c, target))) for c in conversations]
        return [SafetyScore(min(1.0, n / 100) * (n >= self.least), abstain=n < self.least) for n in lengths]


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 0.9))
def test_a_threshold_lets_through_what_it_promises(safe, max_fpr):
    threshold = threshold_at(np.array(safe), max_fpr)
    assert sum(p >= threshold for p in safe) <= max_fpr * len(safe) + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, unique=True), st.floats(0, 0.9))
def test_no_lower_threshold_would_do(safe, max_fpr):
    lower = np.nextafter(threshold_at(np.array(safe), max_fpr), -1.0)
    assert sum(p >= lower for p in safe) > max_fpr * len(safe) - 1e-6


def test_calibration_is_target_by_target_and_counts_safe_texts_only():
    dev = small_set("dev")
    found = calibrate(ByLength(), dev, max_fpr=0.25)
    for target in ("prompt", "response"):
        own = [r for r in dev if r.target == target and not r.unsafe]
        flagged = [len(r.text) / 100 >= found.of(target) for r in own]
        assert 0 < sum(flagged) <= 0.25 * len(own)


def test_a_text_that_is_not_judged_does_not_calibrate():
    dev = small_set("dev")
    with pytest.raises(DataError, match="needs safe records"):
        calibrate(ByLength(least=1_000), dev)


def test_a_share_is_a_share():
    with pytest.raises(SettingError, match="max_fpr=1"):
        calibrate(ByLength(), small_set("dev"), max_fpr=1.0)


def test_a_verdict_remembers_what_made_it():
    conversations = [record.conversation() for record in small_set("dev")[:4]]
    verdicts = list(judge(ByLength(least=25), conversations))
    assert {(v.classifier, v.version, v.threshold) for v in verdicts} == {("by-length", "7", 0.2)}
    assert [v.unsafe for v in verdicts] == [None if len(c.messages[0].content) < 25 else True for c in conversations]


def test_other_thresholds_decide_where_they_are_given():
    conversations = [record.conversation() for record in small_set("dev")[:4]]
    assert not any(v.unsafe for v in judge(ByLength(), conversations, thresholds=Thresholds(prompt=1.0)))


def test_prompts_are_what_was_asked_and_responses_what_was_answered():
    said = (("system", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"), ("assistant", "e"))
    conversation = Conversation("1", "s", "MIT", tuple(Message(*m) for m in said))
    assert turns(conversation, "prompt") == ["a", "b", "d"]
    assert turns(conversation, "response") == ["c", "e"]


def test_anything_with_the_interface_is_a_classifier():
    assert isinstance(ByLength(), SafetyClassifier)
    assert not isinstance(object(), SafetyClassifier)


@pytest.mark.parametrize(
    "spec", ["", "Lexical", "shieldgemma", "shieldgemma:", "ftp://x/y", "file:///etc/passwd", "python:"]
)
def test_an_unknown_classifier_is_answered_with_the_known_ones(spec):
    with pytest.raises(SettingError, match=r"not one of lexical, probe, shieldgemma:FOLDER"):
        find(spec)


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that. If you are angry, a walk helps.",
        "I'm sorry, but I cannot assist with breaking into an account.",
        "I won't write this message, since it would scare her.",
        "No, I'm not going to walk you through that.",
        "That isn’t something I’ll help with.",
        "I have to decline.",
    ],
)
def test_refusals_are_seen(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "You can't help with the rent and the car at once, so start with the rent.",
        "If the bread won't rise, the yeast may be old.",
        "I can help with that: first, switch it off.",
        "Say: 'I cannot come on Friday.'",
        "",
    ],
)
def test_what_only_sounds_like_one_is_not(text):
    assert not is_refusal(text)
