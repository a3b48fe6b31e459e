"""The command line, as a user meets it: help with examples, quick to start, options that become the configuration."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from helptune import cli
from helptune.data.conversation import Conversation, Message, write_conversations
from helptune.errors import Interrupted
from helptune.evaluate.answers import Answer, write_answers
from helptune.evaluate.votes import Vote, write_votes
from helptune.experiment.config import RunConfig

VERBS = [
    "doctor",
    "finetune",
    "watch",
    "stop",
    "chat",
    "score",
    "report",
    "bench train",
    "bench generate",
    "bench mixed",
    "bench cost",
    "bench data",
    "plan",
    "capacity",
    "precision",
    "gradients",
    "adapters",
    "combine",
    "tasks",
    "export",
    "merge",
    "import",
    "data build",
    "data inspect",
    "data hash",
    "data agreement",
    "data difficulty",
    "data safety",
    "data screen",
    "evaluate judge",
    "evaluate export",
    "evaluate power",
    "evaluate harness",
    "compare",
    "exercises build",
    "exercises check",
    "grade",
]
GROUPS_THAT_ARE_VERBS = ["evaluate"]


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def leaves(command, name=""):
    """Names of all verbs below a command group."""
    if not hasattr(command, "commands"):
        return [name]
    return [leaf for n, c in command.commands.items() for leaf in leaves(c, f"{name} {n}".strip())]


def test_these_are_all_the_verbs():
    assert sorted(leaves(typer.main.get_command(cli.app))) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS + GROUPS_THAT_ARE_VERBS)
def test_the_help_of_every_verb_shows_an_example(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(cli.app, [*verb.split(), "--help"])
    assert shown.exit_code == 0
    assert f"Example: helptune {verb}" in shown.output


def test_a_group_that_is_a_verb_itself_has_other_verbs_below_it():
    for group in GROUPS_THAT_ARE_VERBS:
        assert [verb for verb in VERBS if verb.startswith(f"{group} ")]


@pytest.mark.parametrize("code", ["import helptune", "import helptune.cli", "from helptune.cli import main; main()"])
def test_help_does_not_wait_for_jax(code):
    code = (
        f"import atexit, sys; sys.argv = ['helptune', '--help']; atexit.register(lambda: print([*sys.modules])); {code}"
    )
    finished = in_a_new_process(code)
    assert finished.returncode == 0, finished.stderr
    loaded = finished.stdout.splitlines()[-1]
    assert "'helptune'" in loaded
    assert "'jax'" not in loaded
    assert "'numpy'" not in loaded


def test_the_installed_command_is_this_entry_point():
    finished = subprocess.run([f"{sys.prefix}/bin/helptune", "--help"], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0
    assert all(verb.split()[0] in finished.stdout for verb in VERBS)


def test_an_interruption_ends_with_the_exit_code_of_ctrl_c(helptune, tmp_path, monkeypatch):
    from helptune.experiment import finetune

    def stop(config, run):
        raise Interrupted("stopped after step 2; run the same command again to go on")

    monkeypatch.setattr(finetune, "finetune", stop)
    assert helptune("finetune", "--run", tmp_path) == (
        130, "", "\nstopped after step 2; run the same command again to go on\n",
    )  # fmt: skip


def test_the_options_become_the_configuration(helptune, tmp_path, monkeypatch):
    """And the summary of the run is what is printed."""
    from helptune.experiment import finetune

    asked = []
    monkeypatch.setattr(finetune, "finetune", lambda config, run: asked.append((config, run)) or {})
    monkeypatch.setattr("helptune.experiment.report.terminal_summary", lambda run: "done")
    code, out, _ = helptune(
        "finetune", "--run", tmp_path, "--sites", "q,v", "--rank", 4, "--seed", 7, "--accumulate", 2
    )
    ((config, run),) = asked
    assert (code, out, run) == (0, "done\n", tmp_path)
    assert (config.lora.sites, config.lora.rank, config.train.seed, config.train.accumulate) == (("q", "v"), 4, 7, 2)
    helptune("finetune")
    assert asked[-1] == (RunConfig(), Path("runs/first"))


def test_the_defaults_shown_are_those_of_the_small_preset():
    """They are written into the help as text, because reading the preset would load JAX."""
    from helptune.experiment.presets import PRESETS, override

    shown = {
        parameter.name: parameter.show_default
        for parameter in typer.main.get_command(cli.app).commands["finetune"].params
        if isinstance(parameter.show_default, str) and " " not in parameter.show_default
    }
    assert PRESETS[shown.pop("preset")] == RunConfig()
    known = {name for part in (RunConfig(), RunConfig().lora, RunConfig().train) for name in vars(part)}
    assert {"rank", "seq_len", "epochs", "learning_rate", "precision", "model"} <= set(shown)
    for name, text in shown.items():
        assert name in known | vars(RunConfig().train.optimizer).keys()
        kind = {"sites": lambda t: tuple(t.split(","))}.get(name, _value)
        assert override(RunConfig(), **{name: kind(text)}) == RunConfig()


def _value(text):
    try:
        return float(text)
    except ValueError:
        return text


def test_options_override_a_preset_and_a_configuration_of_a_run(helptune, tmp_path, monkeypatch):
    from helptune.experiment import finetune
    from helptune.experiment.config import to_json
    from helptune.experiment.presets import PRESETS, override

    asked = []
    monkeypatch.setattr(finetune, "finetune", lambda config, run: asked.append(config) or {})
    monkeypatch.setattr("helptune.experiment.report.terminal_summary", lambda run: "done")
    large = ["finetune", "--preset", "gemma-7b-it", "--checkpoint", "models/7b", "--mesh", "1,8,1", "--base", "int4"]
    helptune(*large, "--remat", "dots", "--data", "mixture.jsonl")
    absolute = {"checkpoint": str(Path("models/7b").resolve()), "train_file": str(Path("mixture.jsonl").resolve())}
    changed = {"mesh": (1, 8, 1), "precision": "int4", "remat": "dots", **absolute}
    assert asked[-1] == override(PRESETS["gemma-7b-it"], **changed)
    (tmp_path / "config.json").write_text(to_json(asked[-1]))
    helptune("finetune", "--config", tmp_path / "config.json", "--seed", 3)
    assert asked[-1] == override(PRESETS["gemma-7b-it"], **changed, seed=3)


@pytest.mark.parametrize(("short", "full"), [("bf16", "bfloat16"), ("f32", "float32"), ("int8", "int8")])
def test_a_precision_may_be_shortened(short, full, helptune, monkeypatch):
    """In an option that overrides a preset as well."""
    monkeypatch.setattr("helptune.experiment.bench.bench_generate", lambda *asked: asked)
    monkeypatch.setattr("helptune.experiment.finetune.finetune", lambda config, run: print(config.precision))
    monkeypatch.setattr("helptune.experiment.report.terminal_summary", lambda run: "")
    assert json.loads(helptune("bench", "generate", "--base", short)[1])[-1] == full
    assert helptune("finetune", "--base", short)[1].split() == [full]


def test_stop_asks_a_run_that_is_worked_on_and_refuses_another(helptune, tmp_path):
    from helptune.lock import working_alone
    from helptune.train.stop import stop_requested

    code, _, error = helptune("stop", "--run", tmp_path)
    assert (code, stop_requested(tmp_path)) == (1, False)
    assert "no process on this machine is working on it, or it is still loading its weights" in error
    with working_alone(tmp_path):
        code, out, _ = helptune("stop", "--run", tmp_path)
    assert (code, stop_requested(tmp_path)) == (0, True)
    assert "the command that started it goes on" in out


def test_watch_shows_a_run_and_fails_with_one_that_failed(helptune, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "steps": 3}\n{"step": 1, "loss": 2.5}\n')
    code, out, _ = helptune("watch", "--run", tmp_path, "--once")
    assert code == 1
    assert "failed: the process is gone, after step 1 of 3" in out
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    code, out, _ = helptune("watch", "--run", tmp_path)
    assert code == 0
    assert "stopped: at step 1 of 3; the same command goes on" in out
    assert helptune("watch", "--run", tmp_path / "none")[0] == 1


def test_export_says_what_the_file_holds_and_what_does_not_count(helptune, tmp_path):
    one = Conversation("a", "test", "Apache-2.0", (Message("user", "Why?"), Message("assistant", "So.")))
    folder, out = tmp_path / "run" / "eval", tmp_path / "c.json"
    write_conversations(folder / "heldout.jsonl", [one])
    for model in ("base", "tuned"):
        write_answers(folder / f"{model}.jsonl", [Answer("a", "Because.", True, 1)])
    write_votes(folder / "votes.jsonl", [Vote(item, "tuned", "base", "first", "ann", "human") for item in "ab"])
    code, said, told = helptune("evaluate", "export", "--run", tmp_path / "run", "--out", out)
    assert (code, said) == (0, f"{out}: 1 prompts with the answers of base and tuned, 1 votes on them\n")
    assert told.startswith(f"not counted: {folder / 'votes.jsonl'}:2: field 'item': unknown item 'b'")
    assert json.loads(out.read_text())["examples"][0]["output_text_b"] == "Because."


def test_the_module_is_the_command():
    finished = subprocess.run([sys.executable, "-m", "helptune", "--help"], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0
    assert "finetune" in finished.stdout
