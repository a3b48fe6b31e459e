"""The agreement pass: raters who agree open the gate, and what they disagree on is dropped, with its reason."""

import json

import pytest
from mixtures import UNJUDGED, different_texts

from helptune.data.agreement.gate import Gate
from helptune.data.mixture.build import build
from helptune.data.mixture.inspect import Wanted, samples
from helptune.data.mixture.recipe import Agreement, Recipe, SourceSpec
from helptune.errors import DataError


def rating_lines(path, ratings):
    lines = [{"item": i, "rater": f"r{k}", "rating": r} for i, rs in ratings.items() for k, r in enumerate(rs)]
    path.write_text("".join(json.dumps(line | {"attribute": "helpfulness"}) + "\n" for line in lines))


def test_raters_who_agree_open_the_gate_and_what_they_disagree_on_is_dropped(tmp_path):
    different_texts(tmp_path / "a.jsonl", 40)
    agreed = {f"a-{i}": [i % 5] * 3 for i in range(36)}
    rating_lines(tmp_path / "r.jsonl", agreed | {f"a-{i}": [0, 4, 2] for i in range(36, 39)})
    rule = Agreement("r.jsonl", gate=Gate(max_spread=1))
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), agreement=rule, safety=UNJUDGED)
    manifest = build(recipe, tmp_path, tmp_path / "out")
    assert manifest["funnel"]["kept"] == {"messages": 37}
    assert manifest["funnel"]["steps"][-1]["reason"] == "raters_disagree"
    assert manifest["agreement"]["after"]["value"] == 1.0 > manifest["agreement"]["before"]["value"]
    assert "raises agreement by construction" in (tmp_path / "out" / "README.md").read_text()


def test_who_was_rated_once_did_not_disagree(tmp_path):
    different_texts(tmp_path / "a.jsonl", 30)
    ratings = {f"a-{i}": [i % 5] * 2 for i in range(25)} | {"a-27": [3], "elsewhere": [4, 4]}
    rating_lines(tmp_path / "r.jsonl", ratings)
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), agreement=Agreement("r.jsonl"), safety=UNJUDGED)
    manifest = build(recipe, tmp_path, tmp_path / "out", workers=1)
    (sample,) = samples(tmp_path / "out", Wanted(reason="too_few_ratings"))
    assert (sample.conversation["id"], sample.detail) == ("a-27", "fewer than 2 ratings of helpfulness")
    assert [step["reason"] for step in manifest["funnel"]["steps"]] == ["too_few_ratings"]
    assert (manifest["agreement"]["items"], manifest["agreement"]["matched"]) == (27, 26)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "96% of the 27 rated items retained; 26 of them are conversations that passed the filters" in card


def test_ratings_of_other_conversations_are_refused(tmp_path):
    different_texts(tmp_path / "a.jsonl", 30)
    rating_lines(tmp_path / "r.jsonl", {f"zzz-{i}": [i % 5] * 2 for i in range(25)})
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), agreement=Agreement("r.jsonl"), safety=UNJUDGED)
    with pytest.raises(DataError, match=r"no item of r\.jsonl, such as 'zzz-0', is the id of .* such as 'a-0'"):
        build(recipe, tmp_path, tmp_path / "out", workers=1)


def test_raters_who_do_not_agree_stop_the_build(tmp_path):
    different_texts(tmp_path / "a.jsonl", 40)
    rating_lines(tmp_path / "r.jsonl", {f"a-{i}": [i % 5, (2 * i + 1) % 5, (3 * i) % 5] for i in range(40)})
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), agreement=Agreement("r.jsonl"), safety=UNJUDGED)
    with pytest.raises(DataError, match=r"agreement on helpfulness: agreement gate not passed: .*is not above 0\.7"):
        build(recipe, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
