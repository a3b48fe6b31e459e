"""helptune data: build, inspect, hash and agreement, as a user types them."""

import json

import pytest
from typer.testing import CliRunner

from helptune.cli import app
from helptune.data import difficulty
from helptune.data.conversation import load_curated

RUN = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    lines = [
        {"id": f"a-{i}", "license": "MIT", "messages": [{"role": m.role, "content": m.content} for m in c.messages]}
        for i, c in enumerate(load_curated("train")[:6])
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))
    (folder / "r.toml").write_text(
        'name = "small"\n[[source]]\nname = "messages"\npath = "a.jsonl"\n[safety]\nclassifier = "none"\n'
    )
    (folder / "prompts.jsonl").write_text(json.dumps({"prompt": lines[2]["messages"][0]["content"]}) + "\n")
    return folder


@pytest.fixture(scope="module")
def built(home):
    result = RUN.invoke(app, ["data", "build", str(home / "r.toml"), "--out", str(home / "out"), "--workers", "1"])
    assert result.exit_code == 0, result.output
    return home / "out", result.output


def test_build_shows_the_funnel_and_the_version(built):
    folder, said = built
    assert "small: records" in said
    assert "repeated_id" in said
    assert json.loads((folder / "manifest.json").read_text())["version"] in said


def test_building_again_says_the_same_as_json(home, built):
    result = RUN.invoke(app, ["data", "build", str(home / "r.toml"), "--out", str(built[0]), "--json"])
    assert json.loads(result.stdout)["funnel"]["kept"] == {"messages": 6}


def test_inspect_shows_samples_of_what_was_kept_and_of_what_was_dropped(built):
    kept = RUN.invoke(app, ["data", "inspect", str(built[0]), "--count", "2"])
    assert kept.exit_code == 0
    assert kept.stdout.count("  user: ") == 2
    dropped = RUN.invoke(app, ["data", "inspect", str(built[0]), "--reason", "repeated_id"])
    assert "[repeated_id] the id a-0 came before" in dropped.stdout


def test_a_hashed_set_holds_no_prompt_and_stops_a_build(home):
    exam = home / "exam.json"
    result = RUN.invoke(app, ["data", "hash", str(home / "prompts.jsonl"), "--out", str(exam), "--name", "exam"])
    assert "1 prompts; name it in a recipe" in result.stdout
    assert load_curated("train")[2].messages[0].content not in exam.read_text()
    recipe = home / "gated.toml"
    recipe.write_text((home / "r.toml").read_text() + '[decontamination]\nsets = ["exam.json"]\n')
    stopped = RUN.invoke(app, ["data", "build", str(recipe), "--out", str(home / "gated"), "--workers", "1"])
    assert "match prompts of an evaluation set: a-2" in str(stopped.exception)


def test_agreement_is_told_as_json(home):
    rows = [
        {"item": str(i), "rater": r, "rating": (i + (r == "q" and i == 0)) % 5, "attribute": "helpfulness"}
        for i in range(25)
        for r in "pq"
    ]
    (home / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = RUN.invoke(app, ["data", "agreement", str(home / "ratings.jsonl"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)


def test_a_new_fit_of_difficulty_goes_where_it_is_told_to_and_nowhere_else(tmp_path, monkeypatch):
    before = difficulty.SHIPPED.read_bytes()
    monkeypatch.setattr("helptune.experiment.base_loss.answer_losses", lambda _: difficulty.shipped_losses())
    result = RUN.invoke(app, ["data", "difficulty", "--refit", str(tmp_path / "d.json"), "--json"])
    assert result.exit_code == 0, result.output
    assert "features and loss" in json.loads(result.stdout)
    assert json.loads((tmp_path / "d.json").read_text()).keys() == json.loads(before).keys()
    assert difficulty.SHIPPED.read_bytes() == before
