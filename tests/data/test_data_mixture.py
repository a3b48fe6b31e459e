"""A build loses nothing, repeats itself bit by bit, survives a kill, and lets no evaluation prompt through."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mixtures import UNJUDGED, contents, different_texts, messages_file, recipe_of

from helptune.data import difficulty
from helptune.data.conversation import load_curated, read_conversations
from helptune.data.decontaminate import hash_set, write_set
from helptune.data.mixture import build as engine
from helptune.data.mixture.build import build
from helptune.data.mixture.index import gather
from helptune.data.mixture.inspect import Wanted, samples, text
from helptune.data.mixture.recipe import Balance, Decontamination, Recipe, SourceSpec
from helptune.data.mixture.writing import read_manifest
from helptune.errors import DataError, RunError, SettingError
from helptune.experiment.synthetic import write_sources
from helptune.lock import working_alone


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """1,200 synthetic records in each of four schemas: more than one chunk a source."""
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder, 4_800)
    return folder


@pytest.fixture(scope="module")
def built(home, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "out"
    build(recipe_of(home), home, out)
    return out


def test_every_record_is_kept_or_has_a_reason(built):
    manifest = read_manifest(built)
    read = sum(manifest["funnel"]["read"].values())
    lines = {name: (built / name).read_text().splitlines() for name in manifest["files"]}
    assert read == 4_800 == sum(map(len, lines.values()))
    reasons = Counter(json.loads(line)["reason"] for line in lines["dropped.jsonl"])
    reasons += Counter(json.loads(line)["code"] for line in lines["rejected.jsonl"])
    assert reasons == Counter({s["reason"]: 0 for s in manifest["funnel"]["steps"]}) + sum(
        (Counter({s["reason"]: s["count"]}) for s in manifest["funnel"]["steps"]), Counter()
    )
    assert manifest["stages"][-1]["left"] == len(lines["train.jsonl"])


def test_what_is_handed_over_is_what_everything_else_reads(built):
    kept = list(read_conversations(built / "train.jsonl"))
    assert {c.source for c in kept} == {"oasst2", "helpsteer2", "stack-exchange-preferences", "hh-rlhf"}
    assert all(
        c.meta["author_url"] and c.license == "CC-BY-SA-4.0" for c in kept if c.source == "stack-exchange-preferences"
    )


def test_the_faults_of_the_sources_are_found(built):
    found = {step["reason"] for step in read_manifest(built)["funnel"]["steps"]}
    assert {"malformed", "deleted", "pii", "language", "exact_duplicate", "near_duplicate"} <= found


def test_a_malformed_record_is_reported_with_file_line_and_reason(home, built):
    rejected = [json.loads(line) for line in (built / "rejected.jsonl").read_text().splitlines()]
    broken = [r for r in rejected if r["code"] == "malformed" and r["source"] == "helpsteer2"]
    lines = (home / "helpsteer2" / "train.jsonl").read_text().splitlines()
    assert broken
    for record in broken:
        assert record["file"] == "helpsteer2/train.jsonl"
        assert "not valid JSON" in record["reason"]
        with pytest.raises(json.JSONDecodeError):
            json.loads(lines[record["line"] - 1])


def test_two_builds_of_one_recipe_are_byte_identical(home, built, tmp_path):
    """Wherever they are, and however many processes work on them."""
    build(recipe_of(home), home, tmp_path / "again", workers=1)
    assert contents(tmp_path / "again") == contents(built)


def test_a_killed_build_goes_on_to_the_same_bytes(home, built, tmp_path):
    out, work = tmp_path / "out", tmp_path / ".out.building"
    code = f"""
from pathlib import Path
from helptune.data.mixture.build import build
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from mixtures import recipe_of
if __name__ == "__main__":
    build(recipe_of(Path({str(home)!r})), Path({str(home)!r}), Path({str(out)!r}))
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(work.rglob("*.done.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in work.rglob("*.done.json")}
    assert done
    assert not out.exists()
    wait_until_free(work)
    build(recipe_of(home), home, out)
    assert contents(out) == contents(built)
    assert not work.exists()


def wait_until_free(work):
    """The workers of a killed build end by themselves; so does its lock, which they share."""
    for _ in range(200):
        try:
            with working_alone(work):
                return
        except Exception:
            time.sleep(0.05)
    raise AssertionError("the workers of a killed build go on")


def test_a_finished_build_is_not_repeated_and_another_is_refused(home, built):
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    build(recipe_of(home), home, built)
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before
    with pytest.raises(SettingError, match="not empty"):
        build(recipe_of(home, seed=18), home, built)


@pytest.mark.parametrize("change", [lambda path: path.write_text(""), lambda path: path.unlink()])
def test_a_finished_dataset_that_was_changed_is_not_called_finished(tmp_path, change):
    different_texts(tmp_path / "a.jsonl", 10)
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
    build(recipe, tmp_path, tmp_path / "out", workers=1)
    change(tmp_path / "out" / "train.jsonl")
    with pytest.raises(DataError, match=r"train\.jsonl: is not what was built; remove .*out, and the same command"):
        build(recipe, tmp_path, tmp_path / "out", workers=1)


def test_other_coefficients_of_difficulty_make_another_dataset_and_read_again(tmp_path, monkeypatch):
    different_texts(tmp_path / "a.jsonl", 10)
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
    shelves = []
    monkeypatch.setattr(engine, "gather", lambda found: shelves.append(found["messages"].name) or gather(found))
    first = build(recipe, tmp_path, tmp_path / "first", workers=1)
    (tmp_path / "difficulty.json").write_text(difficulty.SHIPPED.read_text() + " ")
    monkeypatch.setattr(difficulty, "SHIPPED", tmp_path / "difficulty.json")
    second = build(recipe, tmp_path, tmp_path / "second", workers=1)
    assert first["version"] != second["version"]
    assert shelves[0] != shelves[1]


def test_a_build_that_loses_a_record_fails(tmp_path, monkeypatch):
    different_texts(tmp_path / "a.jsonl", 10)

    def forgetful(shelves):
        index = gather(shelves)
        index.ids.pop()
        return index

    monkeypatch.setattr(engine, "gather", forgetful)
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
    with pytest.raises(RunError, match="10 records were read, and 9 are accounted for"):
        build(recipe, tmp_path, tmp_path / "out", workers=1)


def test_a_limit_on_malformed_records_stops_a_build_and_names_the_first(tmp_path):
    different_texts(tmp_path / "a.jsonl", 20)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"messages": [}\n')
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), max_malformed=0.01, safety=UNJUDGED)
    with pytest.raises(DataError, match=r"1 of 21 rows are malformed.*a.jsonl:21: not valid JSON"):
        build(recipe, tmp_path, tmp_path / "out")
    manifest = build(replace(recipe, max_malformed=0.1), tmp_path, tmp_path / "out")
    assert manifest["funnel"]["kept"] == {"messages": 20}


def test_an_evaluation_prompt_fails_the_build(tmp_path):
    different_texts(tmp_path / "a.jsonl", 20)
    stolen = load_curated("train")[3].messages[0].content
    write_set(tmp_path / "exam.json", hash_set([stolen], "exam", "mine", "MIT"))
    gate = Decontamination(("exam.json",))
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), decontamination=gate, safety=UNJUDGED)
    with pytest.raises(DataError, match=r"1 conversations match prompts of an evaluation set: a-3 \(exam prompt 0"):
        build(recipe, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    dropping = replace(recipe, decontamination=replace(gate, on_match="drop"))
    manifest = build(dropping, tmp_path, tmp_path / "out")
    assert manifest["funnel"]["kept"] == {"messages": 19}
    (sample,) = samples(tmp_path / "out", Wanted(reason="evaluation_prompt"))
    assert sample.conversation["id"] == "a-3"


def test_of_repeats_the_first_source_keeps_its_own(tmp_path):
    for name in ("a", "b"):
        different_texts(tmp_path / f"{name}.jsonl", 10)
    sources = tuple(SourceSpec("messages", id=name, path=f"{name}.jsonl") for name in "ab")
    manifest = build(Recipe("x", sources, safety=UNJUDGED), tmp_path, tmp_path / "out")
    assert manifest["funnel"]["kept"] == {"a": 10, "b": 0}
    assert manifest["funnel"]["steps"] == [
        {"source": "b", "stage": "duplicates", "reason": "exact_duplicate", "count": 10}
    ]


def test_weights_caps_and_cells_are_kept(tmp_path):
    texts = [(c.messages[0].content, c.messages[1].content) for c in load_curated("train")]
    messages_file(tmp_path / "a.jsonl", texts[:90], category="facts", difficulty="easy")
    messages_file(tmp_path / "b.jsonl", texts[90:150])
    sources = tuple(SourceSpec("messages", id=n, path=f"{n}.jsonl", weight=w) for n, w in (("a", 1), ("b", 3)))
    recipe = Recipe("x", sources, safety=UNJUDGED, heldout=10)
    manifest = build(recipe, tmp_path, tmp_path / "weighed")
    assert manifest["funnel"]["kept"] == {"a": 20, "b": 60}
    assert manifest["files"]["heldout.jsonl"]["rows"] == 10
    capped = replace(recipe, balance=Balance(per_cell=5), source=tuple(replace(s, weight=0) for s in sources))
    manifest = build(capped, tmp_path, tmp_path / "capped")
    assert manifest["funnel"]["kept"]["a"] == 5


def test_a_verdict_of_another_build_is_not_passed_on(tmp_path):
    messages_file(
        tmp_path / "a.jsonl", [("Why is the sky blue?", "Air scatters blue light most.")] * 1, meta={"p_unsafe": 1}
    )
    build(Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED), tmp_path, tmp_path / "out")
    (kept,) = read_conversations(tmp_path / "out" / "train.jsonl")
    assert "p_unsafe" not in kept.meta


def test_a_changed_weight_does_not_repeat_the_filters(home, tmp_path, monkeypatch):
    """What was sifted stays on the shelf until a dataset is whole."""
    recipe = recipe_of(home)
    impossible = replace(recipe, size=10**6, source=tuple(replace(s, weight=1) for s in recipe.source))
    with pytest.raises(SettingError, match="cannot be had"):
        build(impossible, home, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.done.json")}
    assert len(before) == 8
    with pytest.raises(SettingError, match="cannot be had"):
        build(replace(impossible, size=10**5), home, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.done.json")} == before


def test_a_source_without_a_record_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(DataError, match="'messages': has no records"):
        build(Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED), tmp_path, tmp_path / "out")


def test_samples_are_those_asked_for(built):
    for sample in samples(built, Wanted(source="hh-rlhf", reason="pii"), count=3):
        assert sample.conversation["source"] == "hh-rlhf"
        assert sample.detail.startswith("turn")
    assert samples(built, Wanted(), seed=1) == samples(built, Wanted(), seed=1) != samples(built, Wanted(), seed=2)
    with pytest.raises(DataError, match=r"reasons for which records are missing: .*pii"):
        samples(built, Wanted(reason="nonsense"))
    with pytest.raises(DataError, match=r"sources, in the records' own words: helpsteer2, hh-rlhf, oasst2, stack"):
        samples(built, Wanted(source="hh"))


def test_a_sample_moves_no_cursor(tmp_path):
    messages_file(tmp_path / "a.jsonl", [("What does this do? \x1b[2Jgone", "It clears the screen of a terminal.")])
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
    build(recipe, tmp_path, tmp_path / "out")
    (sample,) = samples(tmp_path / "out", Wanted())
    assert "\x1b" not in text(sample)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a dataset of"):
        samples(tmp_path, Wanted())
