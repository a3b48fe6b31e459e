"""Several adapters on the command line: trained at once, listed, combined, and asked side by side."""

import json
import shutil

import pytest

from helptune.adapt.artifact import load_adapter
from helptune.adapt.collection import cards
from helptune.gemma.checkpoints import embedded_sha256

TRAIN = (
    "tasks", "--task", "howto", "--task", "rewrite", "--max-steps", 2, "--rank", 2, "--alpha", 4, "--eval-every", 1,
    "--batch-rows", 1, "--base", "float32",
)  # fmt: skip


@pytest.fixture
def helptune(helptune, monkeypatch, word_base):
    """Where the embedded model is asked for by name, it is the tiny one too."""
    monkeypatch.setattr("helptune.experiment.models.named", lambda name: word_base.config)
    return helptune


@pytest.fixture
def run(helptune, tmp_path):
    code, _, err = helptune(*TRAIN, "--run", tmp_path / "run")
    assert code == 0, err
    return tmp_path / "run"


def test_tasks_trains_an_adapter_each_and_measures_each_on_every_task(helptune, run):
    summary = json.loads((run / "tasks.json").read_text())
    assert set(summary["losses"]) == {"base", "howto", "rewrite"}
    assert all(set(row) == {"howto", "rewrite"} for row in summary["losses"].values())
    for name in ("howto", "rewrite"):
        assert summary["losses"][name][name] < summary["losses"]["base"][name]
    code, out, _ = helptune("adapters", run / "adapters", "--json")
    assert code == 0
    assert {name: card["method"]["rank"] for name, card in json.loads(out).items()} == {"howto": 2, "rewrite": 2}


def test_the_same_command_again_trains_nothing_and_says_the_same(helptune, run):
    before = (run / "metrics.jsonl").read_bytes()
    code, out, _ = helptune(*TRAIN, "--run", run, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((run / "tasks.json").read_text())
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_task_is_another_run(helptune, run):
    code, _, err = helptune(*TRAIN, "--task", "explain", "--run", run)
    assert code == 1
    assert "already holds a run with another configuration" in err


def test_adapters_lists_them_for_people(helptune, run):
    code, out, _ = helptune("adapters", run / "adapters")
    assert code == 0
    assert "howto" in out
    assert "rewrite" in out


def test_combined_adapters_are_one_of_the_sum_of_their_ranks(helptune, run, tmp_path, word_base):
    parts = (f"{run}/adapters/howto=0.5", f"{run}/adapters/rewrite=-1")
    code, out, err = helptune("combine", *parts, "--out", tmp_path / "both")
    assert code == 0, err
    assert "one adapter of rank 4 from 2, the exact sum" in out
    assert load_adapter(tmp_path / "both", word_base.config, embedded_sha256())[1].method.rank == 4
    code, _, err = helptune("combine", *parts, "--out", tmp_path / "both")
    assert code == 1
    assert "exists and is not empty" in err


def test_a_combination_can_be_cut_to_a_smaller_rank(helptune, run, tmp_path):
    code, out, err = helptune("combine", run / "adapters" / "howto", "--rank", 1, "--out", tmp_path / "thin")
    assert code == 0, err
    assert "of rank 1" in out
    assert "was cut away" in out


def test_a_prompt_to_a_directory_of_adapters_is_answered_by_the_base_and_each(helptune, run):
    ask = (
        "chat",
        "--adapter",
        run / "adapters",
        "--prompt",
        "Hi",
        "--greedy",
        "--max-new-tokens",
        3,
        "--base",
        "float32",
    )
    code, out, err = helptune(*ask, "--json")
    assert code == 0, err
    assert list(json.loads(out)) == ["base", "howto", "rewrite"]
    code, out, _ = helptune(*ask)
    assert [name for name in ("base", "howto", "rewrite") if f"\n{name}> " in f"\n{out}"] == [
        "base",
        "howto",
        "rewrite",
    ]


def test_scoring_with_a_directory_of_several_asks_for_one_of_them(helptune, run, tmp_path):
    (tmp_path / "texts.json").write_text('["a text"]')
    score = ("score", "--file", tmp_path / "texts.json", "--base", "float32", "--json", "--adapter")
    code, _, err = helptune(*score, run / "adapters")
    assert code == 1
    assert "holds howto, rewrite: name the folder of one of them" in err
    one = helptune(*score, run / "adapters" / "howto")
    shutil.rmtree(run / "adapters" / "rewrite")
    assert helptune(*score, run / "adapters") == one


def test_a_run_of_tasks_is_not_taken_for_another_kind(helptune, run, tmp_path):
    code, _, err = helptune("finetune", "--config", run / "config.json", "--run", tmp_path / "x")
    assert code == 1
    assert "one of `helptune tasks`" in err


def test_a_folder_with_an_equals_sign_is_a_folder(helptune, run, tmp_path):
    (run / "adapters" / "howto").rename(tmp_path / "lr=0.001")
    code, out, err = helptune("combine", tmp_path / "lr=0.001", "--out", tmp_path / "same")
    assert code == 0, err
    assert "one adapter of rank 2 from 1" in out


def test_a_card_from_elsewhere_cannot_write_to_the_terminal(helptune, run):
    path = run / "adapters" / "howto" / "adapter.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"base": "\x1b]0;mine\x07[/x]"}))
    code, out, _ = helptune("adapters", run / "adapters")
    assert code == 0
    assert "\x1b]0" not in out


def test_a_chat_switches_between_adapters(helptune, run, monkeypatch):
    lines = iter(["/use rewrite", "/use nobody", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    code, _, err = helptune("chat", "--adapter", run / "adapters", "--base", "float32")
    assert code == 0
    assert "/use base, /use howto, /use rewrite" in err
    assert "adapter 'nobody' is not one of base, howto, rewrite" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tasks", "--task", "howto", "--task", "howto=x.jsonl"), "--task 'howto' is given twice"),
        (("tasks", "--task", "poetry"), "is no curated category: give poetry=FILE, or one of"),
        (("tasks", "--task", "base=missing.jsonl"), "adapter name 'base'"),
        (("tasks", "--task", "my task=missing.jsonl"), "adapter name 'my task'"),
        (("tasks", "--task", "mine=missing.jsonl"), "missing.jsonl"),
        (("adapters", "nowhere"), "nowhere: no adapters here"),
        (("combine", "nowhere=half", "--out", "out"), "the weight after = must be a number"),
        (("combine", "nowhere", "--out", "out"), "nowhere: not an adapter folder"),
    ],
)
def test_mistakes_are_named(helptune, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = helptune(*arguments)
    assert code == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_run_of_tasks_keeps_its_adapters_where_the_collection_reads_them(run):
    assert list(cards(run / "adapters")) == ["howto", "rewrite"]
