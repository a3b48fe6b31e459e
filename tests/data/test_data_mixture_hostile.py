"""What a record, a recipe or a classifier may contain and do, and a build still ends whole or says what to do."""

import errno
import json
import os
import sys
from dataclasses import replace

import mlcroissant
import pytest

from helptune.data.agreement.gate import Gate
from helptune.data.conversation import Conversation, Message, load_curated, read_conversations
from helptune.data.describe import cell, describe, table
from helptune.data.mixture import build as engine
from helptune.data.mixture.build import build
from helptune.data.mixture.chunks import CHARACTERS, batches
from helptune.data.mixture.inspect import Wanted, samples, sources, text
from helptune.data.mixture.recipe import Agreement, Recipe, Safety, SourceSpec
from helptune.data.mixture.sift import Rules, sift
from helptune.data.safety.classifier import SafetyScore, Thresholds
from helptune.errors import DataError, RunError, SettingError

RECIPE = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=Safety("none"))


def records(count=10, **fields):
    return [
        {"id": f"a-{i}", "source": "mine", "license": "MIT", "messages": [m.__dict__ for m in c.messages]} | fields
        for i, c in enumerate(load_curated("train")[:count])
    ]


@pytest.fixture
def make(tmp_path):
    """(lines of a.jsonl, changes of the recipe) -> manifest of the dataset `out`."""

    def run(lines, name="a.jsonl", out="out", **changes):
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in texts))
        return build(replace(RECIPE, **changes), tmp_path, tmp_path / out, workers=1)

    return run


def test_a_chunk_of_which_nothing_is_kept_is_a_chunk(make):
    manifest = make(["{"] * 1_001 + records())
    assert manifest["funnel"]["kept"] == {"messages": 10}
    assert manifest["funnel"]["steps"] == [
        {"source": "messages", "stage": "source", "reason": "malformed", "count": 1_001}
    ]


def test_when_nothing_is_left_the_build_says_why(make, tmp_path):
    with pytest.raises(DataError, match="no conversation is left: malformed 3 of messages"):
        make(["{"] * 3)
    assert not (tmp_path / "out").exists()


def test_a_rating_that_is_no_share_stops_nothing(make):
    odd = ["high", [1], 10**400, True, 7.5, {"a": 1}, -1]
    manifest = make([r | {"ratings": {"helpfulness": x}} for r, x in zip(records(len(odd)), odd, strict=True)])
    assert manifest["funnel"]["kept"] == {"messages": len(odd) - 1}


def test_a_record_nested_too_deep_is_rejected(make):
    deep = 0
    for _ in range(900):
        deep = [deep]
    manifest = make([*records(9), records()[9] | {"meta": {"a": deep}}])
    assert manifest["files"]["rejected.jsonl"]["rows"] == 1


def test_a_filter_that_fails_on_a_record_drops_that_record(make, tmp_path):
    make([records()[0], records()[1] | {"ratings": {"helpfulness": -(10**400)}}])
    (sample,) = samples(tmp_path / "out", Wanted(reason="filter_failed"))
    assert sample.detail.startswith("unhelpful: OverflowError")


def test_hostile_words_around_a_text_make_no_markup_and_no_error(make, tmp_path):
    hostile = "²| <script>alert(1)</script>\n\n# \x1b[2J `x` [a](b)"
    make([r | {"license": hostile, "source": hostile, "meta": {"lang": hostile}} for r in records()])
    card = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)[2]
    assert "<script>" not in card
    assert "\x1b" not in card
    assert "\n# \\" not in card
    assert mlcroissant.Dataset(jsonld=json.loads((tmp_path / "out" / "croissant.json").read_text())).metadata.license
    (sample, *_) = samples(tmp_path / "out", Wanted())
    assert "\x1b" not in text(sample)
    head, *turns = text(sample).split("\n")
    assert head.startswith(sample.conversation["id"])
    assert len(turns) == sum(m["content"].count("\n") + 1 for m in sample.conversation["messages"])


def test_a_cell_is_one_line_of_plain_text():
    assert cell("a|b\n<c>") == r"a\|b \<c\>"
    found = describe([Conversation("a", "x ²", "²", (Message("user", "q"), Message("assistant", "a")))])
    assert "| x ² | 1 |" in table("source", {"train": found})


@pytest.mark.parametrize(
    ("name", "shown"), [("a|`<b>.jsonl", r"a\|\`\<b\>.jsonl"), (os.fsdecode(b"a\xff.jsonl"), "a\ufffd.jsonl")]
)
def test_any_file_name_is_a_file_name(make, tmp_path, name, shown):
    make(records(), name=name, source=(SourceSpec("messages", path=name),))
    assert shown in (tmp_path / "out" / "README.md").read_text()


def test_an_id_in_an_error_is_quoted_as_it_is_and_a_repeated_one_is_dropped(make):
    manifest = make(records() + records())
    assert manifest["funnel"]["steps"][0]["reason"] == "repeated_id"


def test_a_source_may_be_called_ratings_beside_a_file_of_them(make, tmp_path):
    """Its own inputs decide whether it is read again."""
    rated = [
        {"item": f"a-{i}", "rater": r, "rating": i % 3, "attribute": "helpfulness"} for i in range(30) for r in "pq"
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rated))
    source, rule = (SourceSpec("messages", id="ratings", path="a.jsonl"),), Agreement("r.jsonl", gate=Gate())
    manifest = make(records(40), source=source, agreement=rule)
    assert set(manifest["inputs"]) == {"ratings", "agreement/ratings"}
    assert list(manifest["inputs"]["ratings"]) == ["a.jsonl"]


def test_a_source_that_would_hold_the_dataset_is_refused(make):
    with pytest.raises(SettingError, match="lies in what source 'messages' reads"):
        make(records(), source=(SourceSpec("messages", path="."),))


def test_a_foreign_manifest_is_no_dataset(make, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match=r"manifest.json is of something else"):
        make(records())


def test_what_a_kill_after_the_last_pass_leaves_is_removed(make, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Exception, match="the same command goes on"):
        make(records())
    assert (tmp_path / ".out.building").exists()
    monkeypatch.undo()
    make(records())
    assert not (tmp_path / ".out.building").exists()


def test_a_full_disk_says_where_and_loses_nothing(make, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "write_folder", full)
        with pytest.raises(RunError, match=r"the disk is full; make room, and the same command goes on"):
            make(records())
    assert make(records())["funnel"]["kept"] == {"messages": 10}


def test_long_records_make_short_chunks():
    long = Conversation("a", "s", "MIT", (Message("user", "q"), Message("assistant", "a" * (CHARACTERS // 2))))
    assert [len(batch) for batch in batches([long] * 5)] == [2, 2, 1]


class Judge:
    """Somebody else's classifier; `fail` and `version` are what the tests change."""

    name, policy, thresholds = "judge", "none", Thresholds()
    version, fail, seen = "1", "", 0

    def score(self, conversations, target="prompt"):
        if Judge.fail == "raise" and conversations:
            raise ZeroDivisionError("no weights")
        Judge.seen += len(conversations)
        short = conversations[1:] if Judge.fail == "few" else conversations
        p = float("nan") if Judge.fail == "nan" else 0.25
        return [SafetyScore(p) for _ in short]


@pytest.fixture
def judged(make, monkeypatch):
    from helptune.data.mixture import judge

    module = type(sys)("judge_of_a_test")
    module.Judge = Judge
    monkeypatch.setitem(sys.modules, "judge_of_a_test", module)
    for name, value in (("fail", ""), ("version", "1"), ("seen", 0)):
        monkeypatch.setattr(Judge, name, value)
    judge._classifier.cache_clear()
    safety = Safety("python:judge_of_a_test:Judge")
    return lambda **changes: make(records(), **{"safety": safety} | changes)


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("raise", r"failed \(ZeroDivisionError: no weights\); when it is mended, the same command goes on"),
        ("few", "expected a list of 10 scores"),
        ("nan", "'p_unsafe' must be a number from 0 to 1, found nan"),
    ],
)
def test_a_classifier_that_fails_stops_the_build_and_loses_nothing(judged, monkeypatch, fail, message):
    monkeypatch.setattr(Judge, "fail", fail)
    with pytest.raises(DataError, match=message):
        judged()
    monkeypatch.setattr(Judge, "fail", "")
    assert judged()["funnel"]["kept"] == {"messages": 10}


def test_another_version_of_the_classifier_makes_another_dataset(judged, monkeypatch):
    """And does not go on with what the other one said."""
    first = judged()
    monkeypatch.setattr(Judge, "version", "2")
    assert judged(out="second")["version"] != first["version"]


def test_verdicts_on_other_rows_are_not_taken_for_those_of_these(judged, tmp_path, monkeypatch):
    """A ratings file that changes between two attempts changes who is left to be judged: nobody gets in unjudged."""

    def rate(wrong):
        ratings = {f"a-{i}": [0, 4] if i == wrong else [i % 5] * 2 for i in range(40)}
        lines = [{"item": i, "rater": str(k), "rating": r} for i, rs in ratings.items() for k, r in enumerate(rs)]
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(x | {"attribute": "helpfulness"}) + "\n" for x in lines))

    rule = Agreement("r.jsonl", gate=Gate(max_spread=1))
    rate(wrong=3)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "select", lambda *_: (_ for _ in ()).throw(DataError("killed here")))
        with pytest.raises(DataError, match="killed here"):
            judged(agreement=rule)
    rate(wrong=4)
    judged(agreement=rule)
    kept = {c.id: c.meta for c in read_conversations(tmp_path / "out" / "train.jsonl")}
    assert "a-3" in kept
    assert all("p_unsafe" in meta for meta in kept.values())


def test_a_misspelled_classifier_is_said_before_anything_is_read(make, tmp_path):
    with pytest.raises(SettingError, match="'lexicla' is not one of"):
        make(records(), safety=Safety("lexicla"))
    assert not (tmp_path / ".out.building").exists()


def test_samples_of_records_without_a_conversation_are_found_by_source(make, tmp_path):
    make([*records(), "{"])
    assert sources(tmp_path / "out") == ["messages", "mine"]
    assert len(samples(tmp_path / "out", Wanted(source="messages", reason="malformed"))) == 1
    with pytest.raises(DataError, match="nothing fits source 'mine', reason 'malformed'; reasons"):
        samples(tmp_path / "out", Wanted(source="mine", reason="malformed"))


def test_a_reason_of_a_source_is_not_counted_as_a_filter_of_that_name(tmp_path):
    from helptune.data.mixture.chunks import Chunk
    from helptune.data.sources.record import Rejected

    german = "Wie kann ich das am besten machen, ohne dass es zu lange dauert, und was brauche ich dafür an Werkzeug?"
    said = Conversation("g", "s", "MIT", (Message("user", german), Message("assistant", german[::-1] + german)))
    chunk = sift(Chunk(tmp_path, "s", 0), [Rejected("f", 1, "language", "not English"), said], Rules((), "{}", ()))
    assert chunk.summary()["source"] == {"language": 1}
    assert sum(chunk.summary()["filter"].values()) == 1
