"""The command line, as a user meets it: help with examples, quick to start, errors without tracebacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from helptune import cli, talk
from helptune.adapt.artifact import AdapterCard, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.errors import ContextError, Interrupted
from helptune.experiment.config import RunConfig
from helptune.experiment.runs import open_run
from helptune.gemma import checkpoints

VERBS = [
    "doctor",
    "finetune",
    "chat",
    "score",
    "report",
    "bench train",
    "bench generate",
    "plan",
    "capacity",
    "precision",
]


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
    "bad precision": lambda folder: (
        ["finetune", "--run", folder / "run", "--base", "float16"],
        "precision 'float16' of the base is not one of",
    ),
    "bad mesh": lambda folder: (["finetune", "--run", folder / "run", "--mesh", "eight"], "--mesh 'eight': give three"),
    "more devices than there are": lambda folder: (
        ["finetune", "--run", folder / "run", "--mesh", "1,64,1"],
        "mesh 1,64,1 has 64 devices",
    ),
    "unknown preset": lambda folder: (["finetune", "--preset", "gemma-9b"], "preset 'gemma-9b' is not one of"),
    "unknown model": lambda folder: (
        ["finetune", "--model", "gemma-9b", "--checkpoint", folder],
        "model 'gemma-9b' is not",
    ),
    "no checkpoint": lambda folder: (
        ["finetune", "--preset", "gemma-7b-it"],
        "'gemma-7b-it' is not embedded: name the fol",
    ),
    "a model without weights": lambda folder: (
        ["chat", "--model", "gemma-7b-it", "--prompt", "hi"],
        "'gemma-7b-it' is not embedded: name the fol",
    ),
    "no such checkpoint": lambda folder: (
        ["chat", "--prompt", "hi", "--model", "gemma-7b-it", "--checkpoint", folder / "7b"],
        "7b: no such folder",
    ),
    "missing data file": lambda folder: (
        ["finetune", "--run", folder / "run", "--data", "no.jsonl"],
        "no.jsonl: cannot",
    ),
    "malformed data file": malformed_data,
    "other configuration": other_configuration,
    "no such configuration": lambda folder: (["finetune", "--config", folder / "c.json"], "c.json: not a valid config"),
    "two places to start from": lambda folder: (
        ["finetune", "--preset", "gemma-7b-it", "--config", folder / "config.json"],
        "--config and --preset are two places to start from",
    ),
    "chat precision": lambda folder: (
        ["chat", "--prompt", "hi", "--dtype", "int3"],
        "precision 'int3' of the base is not",
    ),
    "missing adapter": lambda folder: (
        ["chat", "--adapter", folder / "no", "--prompt", "hi"],
        "no: not an adapter folder",
    ),
    "foreign adapter": foreign_adapter,
    "no room for an answer": lambda folder: (["chat", "--prompt", "hi", "--max-new-tokens", 0], "max_new_tokens=0"),
    "no token to choose from": lambda folder: (["chat", "--prompt", "hi", "--top-p", 0], "top_p=0.0: must lie in (0"),
    "prompt too long": lambda folder: (["chat", "--prompt", "a " * 3000], "exceed the context of 2048"),
    "nothing to measure": lambda folder: (["bench", "train", "--steps", 0], "steps=0: all must be at least 1"),
    "no answer to measure": lambda folder: (["bench", "generate", "--batch", 0], "batch=0"),
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
        kind = {"sites": lambda t: tuple(t.split(",")), "remat": lambda t: t == "remat"}.get(name, _value)
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
    helptune(*large, "--no-remat", "--data", "mixture.jsonl")
    absolute = {"checkpoint": str(Path("models/7b").resolve()), "train_file": str(Path("mixture.jsonl").resolve())}
    changed = {"mesh": (1, 8, 1), "precision": "int4", "remat": False, **absolute}
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


def test_a_chat_remembers_until_an_empty_line(helptune, typed, monkeypatch):
    """Every answer goes back into the conversation; only --raw starts anew."""
    typed("Hello", "And?", "")
    heard = []

    def say(loaded, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        return f"answer {len(heard)}"

    monkeypatch.setattr(talk, "say", say)
    assert helptune("chat")[0] == 0
    assert heard == [["Hello"], ["Hello", "answer 1", "And?"]]


def test_ctrl_c_stops_an_answer_and_not_the_chat(helptune, typed, monkeypatch):
    """The question that was not answered is not part of the conversation."""
    typed("Hello", "Again", "")
    heard = []

    def say(loaded, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        if turns[-1]["content"] == "Hello":
            raise KeyboardInterrupt
        return "answer"

    monkeypatch.setattr(talk, "say", say)
    code, out, _ = helptune("chat")
    assert code == 0
    assert "stopped" in out
    assert heard == [["Hello"], ["Again"]]


def test_a_conversation_that_no_longer_fits_starts_anew(helptune, typed, monkeypatch):
    typed("Hello", "Long", "Again", "")
    heard = []

    def say(loaded, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        if "Long" in heard[-1]:
            raise ContextError("exceed the context")
        return "answer"

    monkeypatch.setattr(talk, "say", say)
    code, _, err = helptune("chat")
    assert code == 0
    assert err == "error: exceed the context\nwhat was said before is forgotten; ask again\n"
    assert heard == [["Hello"], ["Hello", "answer", "Long"], ["Again"]]


def test_a_bad_line_costs_only_itself(helptune, typed):
    typed("half a \udce9", "Hello", "")
    code, out, err = helptune("chat", "--json", "--max-new-tokens", 2)
    assert code == 0
    assert err.startswith("error: ")
    assert [set(json.loads(line)) for line in out.splitlines()] == [{"text", "ended", "tokens", "seconds"}]


def test_model_text_cannot_steer_the_terminal(helptune, monkeypatch):
    """ESC ] 0 ; would rename the window. As JSON the same text is escaped, and complete."""
    monkeypatch.setattr(talk, "stream_text", lambda *_: iter(["a\x1b]0;title\x07", "\tb\n"]))
    assert helptune("chat", "--prompt", "hi")[1] == "a\ufffd]0;title\ufffd\tb\n\n"


def test_a_greedy_answer_is_the_same_in_json_and_as_text(helptune):
    arguments = ["chat", "--prompt", "Hello", "--greedy", "--max-new-tokens", 3]
    code, out, _ = helptune(*arguments, "--json")
    answer = json.loads(out.splitlines()[-1])
    assert code == 0
    assert set(answer) == {"text", "ended", "tokens", "seconds"}
    assert helptune(*arguments)[1] == answer["text"] + "\n"
