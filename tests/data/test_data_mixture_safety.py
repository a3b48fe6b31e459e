"""What the safety pass of a build drops, and that nothing a record says switches it off."""

import json
import sys
from collections import Counter

import pytest

from helptune.data.conversation import Conversation, Message, read_conversations
from helptune.data.filters import FILTERS
from helptune.data.mixture import judge as judging
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Recipe, Safety, SourceSpec
from helptune.data.safety.classifier import SafetyScore, Thresholds, turns
from helptune.data.safety.refusal import is_refusal

NO = "I can't help with that."
CURATED = {"source": "helptune-curated", "category": "refuse"}


class Words:
    """0.9 for a turn with BAD in it and 0.6 for one with ODD; it cannot read ABROAD. It is told of no refusal."""

    name, version, policy, thresholds = "words", "1", "none", Thresholds()

    def score(self, conversations, target="prompt"):
        scores = []
        for texts in (turns(c, target) for c in conversations):
            known = [0.9 if "BAD" in t else 0.6 if "ODD" in t else 0.1 for t in texts if "ABROAD" not in t]
            scores.append(SafetyScore(max(known, default=0.0), abstain=len(known) < len(texts)))
        return scores


@pytest.fixture
def make(tmp_path, monkeypatch):
    """(safety rules, id -> (turns, other fields)) -> id -> reason to drop it, or ""."""
    module = type(sys)("words_of_a_test")
    module.Words = Words
    monkeypatch.setitem(sys.modules, "words_of_a_test", module)
    judging._classifier.cache_clear()

    def run(cases, source=None, **rules):
        lines = []
        for id, (texts, fields) in cases.items():
            messages = [
                {"role": ("user", "assistant")[i % 2], "content": f"{t} {id}" if i == 0 else t}
                for i, t in enumerate(texts)
            ]
            lines.append({"id": id, "source": "s", "license": "MIT", "messages": messages} | fields)
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        source = source or SourceSpec("messages", path="a.jsonl")
        safety = Safety("python:words_of_a_test:Words", **rules)
        build(Recipe("x", (source,), safety=safety, skip=tuple(FILTERS)), tmp_path, tmp_path / "out", workers=1)
        dropped = map(json.loads, (tmp_path / "out" / "dropped.jsonl").read_text().splitlines())
        kept = {c.id: "" for c in read_conversations(tmp_path / "out" / "train.jsonl")}
        return kept | {line["conversation"]["id"]: line["reason"] for line in dropped}

    return run


CASES = {
    "harmless": (("How do I plant roses?", "Dig a hole."), {}, ""),
    "unsafe-prompt": (("BAD thing?", "Sure, like this."), {}, "unsafe_prompt"),
    "declined": (("BAD request?", NO), {}, ""),
    "declined-twice": (("BAD plan?", NO, "Please, the BAD plan.", f"No, I won't. {NO}"), {}, ""),
    "says-it-declines": (("BAD idea?", "Sure, in this way."), CURATED, "unsafe_prompt"),
    "declined-something-else": (
        ("Write my essay.", "I can't write it for you.", "BAD deed?", "Sure, here is what to bring."),
        {},
        "unsafe_prompt",
    ),
    "declined-and-then-done": (("BAD act?", NO, "Please!", "Well, take a crowbar."), {}, "unsafe_prompt"),
    "unsafe-answer": (("How do I rest?", "Do a BAD thing."), {}, "unsafe_response"),
    "unsafe-refusal": (("BAD wish?", f"{NO} Do the other BAD thing."), {}, "unsafe_response"),
    "prompt-abroad": (("ABROAD question", "An answer."), {}, "prompt_not_judged"),
    "answer-abroad": (("A question?", "ABROAD answer"), {}, "response_not_judged"),
    "unsafe-before-abroad": (("BAD job?", "Sure, go.", "ABROAD", "Hello."), {}, "unsafe_prompt"),
    "declined-abroad": (("ABROAD wish", NO), {}, "prompt_not_judged"),
}


def test_each_conversation_is_dropped_for_its_first_reason(make):
    found = make({id: (texts, fields) for id, (texts, fields, _) in CASES.items()})
    assert found == {id: reason for id, (_, _, reason) in CASES.items()}


def test_where_answers_are_not_judged_a_declined_prompt_is_kept_all_the_same(make):
    cases = {id: (texts, fields) for id, (texts, fields, _) in CASES.items()}
    found = make(cases, targets=("prompt",))
    answers = {"unsafe-answer", "unsafe-refusal", "answer-abroad"}
    assert found == {id: "" if id in answers else reason for id, (_, _, reason) in CASES.items()}


def test_a_source_that_is_called_curated_is_not_the_curated_one(make):
    claims = {"claims": (("BAD idea?", "Sure, in this way."), CURATED)}
    claims["harmless"] = CASES["harmless"][:2]
    found = make(claims, source=SourceSpec("messages", id="curated", path="a.jsonl"))
    assert found["claims"] == "unsafe_prompt"


def test_the_curated_sources_refusals_are_those_that_its_writers_call_so(make, tmp_path, monkeypatch):
    """Some of them decline in words that no list of phrases has."""
    monkeypatch.setattr(
        Words, "score", lambda _, cs, target="prompt": [SafetyScore(0.9 * (target == "prompt"))] * len(cs)
    )
    make({}, source=SourceSpec("curated", options={"instalments": [2]}))
    kept = list(read_conversations(tmp_path / "out" / "train.jsonl"))
    assert all(c.category == "refuse" or is_refusal(c.reference) for c in kept)
    assert not all(is_refusal(c.reference) for c in kept)
    reasons = Counter(json.loads(line)["reason"] for line in (tmp_path / "out" / "dropped.jsonl").open())
    assert reasons["unsafe_prompt"] > 100


def test_a_classifiers_own_word_on_a_single_answer_counts():
    def verdict(target, unsafe, refusal):
        return judging.Verdict("c", target, 0.9, unsafe, refusal, "words", "1", 0.5)

    own = [verdict("prompt", True, False), verdict("response", False, True)]
    asked, coy = Message("user", "BAD?"), Message("assistant", "Let us talk of roses instead.")
    assert judging.declines(Conversation("c", "s", "l", (asked, coy)), own)
    assert not judging.declines(Conversation("c", "s", "l", (asked, coy) * 2), own)


@pytest.mark.parametrize(("threshold", "reason"), [(0.0, "unsafe_prompt"), (0.7, ""), (0.55, "unsafe_prompt")])
def test_the_threshold_is_the_recipes_and_without_one_the_classifiers(make, threshold, reason):
    cases = {"odd": (("An ODD thing?", "Like this."), {}), "harmless": CASES["harmless"][:2]}
    assert make(cases, threshold=threshold) == {"odd": reason, "harmless": ""}
