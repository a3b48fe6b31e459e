"""The command line, as a user meets it: help with examples, quick to start, errors without tracebacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from helptune import cli
from helptune.adapt.artifact import AdapterCard, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.errors import Interrupted
from helptune.experiment.config import RunConfig
from helptune.experiment.runs import open_run
from helptune.gemma import checkpoints

VERBS = ["doctor", "finetune", "chat", "score", "report", "bench train"]


@pytest.fixture
def helptune(monkeypatch, capsys, word_base):
    """Run the entry point in this process on a tiny base: arguments -> (exit code, stdout, stderr)."""
    intact = checkpoints._is_intact
    monkeypatch.setattr(checkpoints, "_is_intact", lambda path: path.suffix == ".safetensors" or intact(path))
    monkeypatch.setattr(checkpoints, "_from_flat", lambda path, config: word_base)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["helptune", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def typed(monkeypatch):
    """typed(*lines): what the user enters, line by line."""

    def enter(*lines):
        waiting = iter(lines)
        monkeypatch.setattr("builtins.input", lambda prompt: next(waiting))

    return enter


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def leaves(command, name=""):
    """Names of all verbs below a command group."""
    if not hasattr(command, "commands"):
        return [name]
    return [leaf for n, c in command.commands.items() for leaf in leaves(c, f"{name} {n}".strip())]


def test_these_are_all_the_verbs():
    assert sorted(leaves(typer.main.get_command(cli.app))) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(cli.app, [*verb.split(), "--help"])
    assert shown.exit_code == 0
    assert f"Example: helptune {verb}" in shown.output


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


def malformed_data(folder):
    (folder / "bad.jsonl").write_text('{"id": "a", "text": "hi"}\n')
    return [
        "finetune",
        "--run",
        folder / "run",
        "--data",
        folder / "bad.jsonl",
    ], "bad.jsonl:1: field 'text' is not one of"


def other_configuration(folder):
    open_run(folder / "run", RunConfig())
    return ["finetune", "--run", folder / "run", "--rank", 5], "lora.rank: 16 -> 5"


def foreign_adapter(folder):
    save_adapter(folder, {}, AdapterCard("tiny-3", "0" * 64, LoraConfig()))
    return ["chat", "--adapter", folder, "--prompt", "hi"], "trained for base weights (sha256) '0000"


def scored(text):
    def arguments(folder):
        (folder / "texts.json").write_text(text)
        return ["score", "--file", folder / "texts.json"], "texts.json: "

    return arguments


# What a user does wrong -> folder -> the arguments, and what the message must say.
MISTAKES = {
    "bad sites": lambda folder: (
        ["finetune", "--run", folder / "run", "--sites", "q,x"],
        "lora sites ['q', 'x']: choose",
    ),
    "bad rank": lambda folder: (["finetune", "--run", folder / "run", "--rank", 0], "lora rank=0"),
    "bad dtype": lambda folder: (["finetune", "--run", folder / "run", "--dtype", "float16"], "dtype 'float16' is not"),
    "missing data file": lambda folder: (
        ["finetune", "--run", folder / "run", "--data", "no.jsonl"],
        "no.jsonl: cannot",
    ),
    "malformed data file": malformed_data,
    "other configuration": other_configuration,
    "no such configuration": lambda folder: (["finetune", "--config", folder / "c.json"], "c.json: not a valid config"),
    "chat dtype": lambda folder: (["chat", "--prompt", "hi", "--dtype", "int8"], "dtype 'int8' is not one of"),
    "missing adapter": lambda folder: (
        ["chat", "--adapter", folder / "no", "--prompt", "hi"],
        "no: not an adapter folder",
    ),
    "foreign adapter": foreign_adapter,
    "no room for an answer": lambda folder: (["chat", "--prompt", "hi", "--max-new-tokens", 0], "max_new_tokens=0"),
    "no token to choose from": lambda folder: (["chat", "--prompt", "hi", "--top-p", 0], "top_p=0.0: must lie in (0"),
    "prompt too long": lambda folder: (["chat", "--prompt", "a " * 3000], "exceed the context of 2048"),
    "nothing to measure": lambda folder: (["bench", "train", "--steps", 0], "steps=0: all must be at least 1"),
    "missing texts": lambda folder: (["score", "--file", folder / "no.json"], "no.json: not a readable JSON file"),
    "texts are not JSON": scored("hello"),
    "texts are no list": scored('{"text": "hello"}'),
    "a text is empty": scored('["hello", ""]'),
    "report of nothing": lambda folder: (["report", "--run", folder / "no"], "summary.json: missing or damaged"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_one(kind, helptune, tmp_path):
    arguments, told = MISTAKES[kind](tmp_path)
    code, out, err = helptune(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_no_mistake_of_finetune_occupies_the_run_directory(helptune, tmp_path):
    for arguments, _ in (MISTAKES["bad sites"](tmp_path), malformed_data(tmp_path)):
        helptune(*arguments)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_explained_with_exit_code_two(helptune):
    code, _, err = helptune("finetune", "--learning_rate", "1")
    assert code == 2
    assert "--learning-rate" in err


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


def test_a_chat_remembers_until_an_empty_line(helptune, typed, monkeypatch):
    """Every answer goes back into the conversation; only --raw starts anew."""
    typed("Hello", "And?", "")
    heard = []

    def say(self, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        return f"answer {len(heard)}"

    monkeypatch.setattr(cli._Model, "say", say)
    assert helptune("chat")[0] == 0
    assert heard == [["Hello"], ["Hello", "answer 1", "And?"]]


def test_ctrl_c_stops_an_answer_and_not_the_chat(helptune, typed, monkeypatch):
    """The question that was not answered is not part of the conversation."""
    typed("Hello", "Again", "")
    heard = []

    def say(self, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        if turns[-1]["content"] == "Hello":
            raise KeyboardInterrupt
        return "answer"

    monkeypatch.setattr(cli._Model, "say", say)
    code, out, _ = helptune("chat")
    assert code == 0
    assert "stopped" in out
    assert heard == [["Hello"], ["Again"]]


def test_a_bad_line_costs_only_itself(helptune, typed):
    typed("half a \udce9", "Hello", "")
    code, out, err = helptune("chat", "--json", "--max-new-tokens", 2)
    assert code == 0
    assert err.startswith("error: ")
    assert [set(json.loads(line)) for line in out.splitlines()] == [{"text", "ended", "tokens", "seconds"}]


def test_model_text_cannot_steer_the_terminal(helptune, monkeypatch):
    """ESC ] 0 ; would rename the window. As JSON the same text is escaped, and complete."""
    from helptune.gemma import generate

    monkeypatch.setattr(generate, "stream_text", lambda *_: iter(["a\x1b]0;title\x07", "\tb\n"]))
    assert helptune("chat", "--prompt", "hi")[1] == "a\ufffd]0;title\ufffd\tb\n\n"


def test_a_greedy_answer_is_the_same_in_json_and_as_text(helptune):
    arguments = ["chat", "--prompt", "Hello", "--greedy", "--max-new-tokens", 3]
    code, out, _ = helptune(*arguments, "--json")
    answer = json.loads(out.splitlines()[-1])
    assert code == 0
    assert set(answer) == {"text", "ended", "tokens", "seconds"}
    assert helptune(*arguments)[1] == answer["text"] + "\n"
