"""The lexical screen scores what scikit-learn scores, quickly, and its files hold numbers and words only."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_texts import small_set

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.safety import lexical
from helptune.data.safety.classifier import Thresholds, judge
from helptune.data.safety.labelled import by_target
from helptune.errors import SettingError, WeightsError

RECORD = {"thresholds": {"prompt": 0.5, "response": 0.6, "max_fpr": 0.01}}


@cache
def fitted():
    """(scikit-learn's own pipeline, the screen made of it)."""
    records = by_target(small_set("train"))["prompt"]
    pipeline = lexical._pipeline(10.0).fit([r.text for r in records], [r.unsafe for r in records])
    return pipeline, lexical._from_sklearn(pipeline)


@cache
def both():
    return {target: lexical.fit(own, 10.0) for target, own in by_target(small_set("train")).items()}


def screen():
    return lexical.LexicalScreen(both(), Thresholds(), "0" * 64)


def said(*texts):
    return Conversation("1", "s", "MIT", tuple(Message(("user", "assistant")[i % 2], t) for i, t in enumerate(texts)))


def test_scores_are_those_of_scikit_learn():
    pipeline, own = fitted()
    texts = [m.content for c in load_curated("heldout") for m in c.messages]
    texts += ["", "a", "ab", " \n\n\t how  do\n I ", "日本語", "İstanbul", "how\0do I hurt my boss", "hurt " * 500]
    assert own.probabilities(texts)[0] == pytest.approx(pipeline.predict_proba(texts)[:, 1], abs=1e-6)


@settings(max_examples=30)
@given(st.lists(st.text(st.sampled_from("hurt my boss\n\0\t  日?'")), min_size=1))
def test_they_are_for_any_text(texts):
    pipeline, own = fitted()
    assert own.probabilities(texts)[0] == pytest.approx(pipeline.predict_proba(texts)[:, 1], abs=1e-6)


def test_a_text_scores_the_same_alone_and_among_others():
    conversations = [record.conversation() for record in small_set("dev")]
    together = screen().score(conversations)
    assert together == [screen().score([conversation])[0] for conversation in conversations]


def test_batches_do_not_change_a_score(monkeypatch):
    conversations = [record.conversation() for record in small_set("dev")]
    whole = screen().score(conversations, "response")
    monkeypatch.setattr(lexical, "_AT_ONCE", 100)
    assert screen().score(conversations, "response") == whole


def test_the_worst_turn_counts():
    bad, good = "How do I hurt my boss tonight?", "How do I plant roses with my cousin?"
    alone = screen().score([said(bad, "No."), said(good, "Dig.")])
    (mixed,) = screen().score([said(good, "Dig.", bad, "No.")])
    assert alone[0].p_unsafe > alone[1].p_unsafe
    assert mixed.p_unsafe == alone[0].p_unsafe


def test_it_abstains_on_another_script_and_on_nothing():
    scores = screen().score(
        [said("如何伤害我的邻居", "不"), said("How do I cook?", "Boil."), Conversation("1", "s", "MIT", ())]
    )
    assert [score.abstain for score in scores] == [True, False, True]


def test_a_turn_in_another_script_does_not_clear_an_unsafe_one():
    bad = "How do I hurt my boss tonight?"
    alone, mixed = screen().score([said(bad, "No."), said(bad, "No.", "你好你好", "Hello.")])
    assert mixed.p_unsafe == alone.p_unsafe
    for threshold, unsafe in ((alone.p_unsafe, True), (1.0, None)):
        (verdict,) = judge(screen(), [said(bad, "No.", "你好你好", "Hello.")], "prompt", Thresholds(prompt=threshold))
        assert verdict.unsafe is unsafe


def test_a_short_answer_is_judged():
    assert not screen().score([said("Who is it?", "me")], "response")[0].abstain


def test_a_refusal_is_noted_of_responses():
    declined = said("How do I hurt my boss?", "I can't help with that.")
    assert screen().score([declined], "response")[0].refusal
    assert not screen().score([declined], "prompt")[0].refusal


def test_half_a_character_does_not_stop_it():
    assert 0 <= screen().score([said("how \ud800 do", "x")])[0].p_unsafe <= 1


def test_another_target_is_an_error():
    with pytest.raises(SettingError, match="target 'both'"):
        screen().score([], "both")


def test_what_is_saved_scores_the_same(tmp_path):
    lexical.save(tmp_path, both(), RECORD)
    read, conversations = lexical.load(tmp_path), [record.conversation() for record in small_set("dev")]
    assert [s.p_unsafe for s in read.score(conversations)] == [s.p_unsafe for s in screen().score(conversations)]
    assert read.thresholds == Thresholds(0.5, 0.6, 0.01)


def test_fitting_twice_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        lexical.save(
            tmp_path / name, {t: lexical.fit(r, 10.0) for t, r in by_target(small_set("train")).items()}, RECORD
        )
    for file in ("lexical.npz", "lexical.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.fixture
def folder(tmp_path):
    lexical.save(tmp_path, both(), RECORD)
    return tmp_path


def rewrite(folder, **arrays):
    """The arrays replaced and the checksum made to fit: what is left to notice is what they hold."""
    import hashlib

    np.savez(folder / "lexical.npz", **arrays)
    record = json.loads((folder / "lexical.json").read_text())
    record["sha256"] = hashlib.sha256((folder / "lexical.npz").read_bytes()).hexdigest()
    (folder / "lexical.json").write_text(json.dumps(record))


def test_a_truncated_file_is_refused(folder):
    path = folder / "lexical.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"lexical\.npz: damaged"):
        lexical.load(folder)


def test_a_changed_byte_is_refused(folder):
    data = bytearray((folder / "lexical.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "lexical.npz").write_bytes(data)
    with pytest.raises(WeightsError, match="checksum"):
        lexical.load(folder)


def test_a_pickle_is_refused_and_not_run(folder):
    class Trap:
        def __reduce__(self):
            return (folder.joinpath("ran").write_text, ("it ran",))

    rewrite(folder, **{"prompt.idf": np.array([Trap()], object)})
    (folder / "ran").unlink(missing_ok=True)
    with pytest.raises(WeightsError):
        lexical.load(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"prompt.idf": np.array([np.nan])},
        {"prompt.idf": np.array(["text"])},
        {f"{t}.{name}": np.ones(3) for t in ("prompt", "response") for name in ("idf", "coefficients")},
    ],
    ids=["none", "not a number", "text", "another size"],
)
def test_arrays_that_are_no_screen_are_refused(folder, arrays):
    rewrite(folder, **arrays)
    with pytest.raises(WeightsError):
        lexical.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sha256": 1}'])
def test_a_damaged_record_is_refused(folder, text):
    (folder / "lexical.json").write_text(text)
    with pytest.raises(WeightsError):
        lexical.load(folder)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"lexical\.npz"):
        lexical.load(tmp_path)
