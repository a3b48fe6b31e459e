"""Gemma 7B-IT as a user fine-tunes it, end to end, on a checkpoint of the true layout at a small width.

One command: the preset, a Hugging Face folder of two shards with its own tokenizer, a mixture. It runs on one device in
this process, and on eight virtual devices in another one.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from gemma_layouts import write_hugging_face, write_tokenizer

from helptune import cli
from helptune.adapt.artifact import load_adapter
from helptune.experiment.config import read_config
from helptune.experiment.models import Source
from helptune.gemma.base import init_base
from helptune.gemma.config import tiny

VOCAB = 512
CONFIG = replace(tiny(1, vocab=VOCAB), width=64, context=8_192)

SMALLER = {
    "--model": "config.json", "--max-steps": 4, "--eval-every": 2, "--warmup-steps": 1, "--seq-len": 64,
    "--batch-rows": 16, "--accumulate": 2, "--rank": 4, "--max-new-tokens": 4,
}  # fmt: skip
"""What is not as in the preset, so that it takes seconds."""


def conversation(name, question, answer):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": name, "source": "test", "license": "Apache-2.0", "messages": messages}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a checkpoint and the two data files."""
    folder = tmp_path_factory.mktemp("world")
    write_hugging_face(folder / "gemma", init_base(CONFIG, jax.random.key(0), "bfloat16"))
    train = [conversation(f"t{i}", f"What is {i} and {i}?", f"It is {2 * i}, I think.") for i in range(120)]
    heldout = [conversation(f"h{i}", f"What is {i} plus one?", f"It is {i + 1}.") for i in range(3)]
    for name, records in (("mixture", train), ("heldout", heldout)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    write_tokenizer(folder / "gemma", (m["content"] for r in train for m in r["messages"]), VOCAB)
    return folder


def command(world, run, **changed):
    """The documented command with what makes it small; `changed` replaces options by name, True is a bare flag."""
    options = {
        "--preset": "gemma-7b-it", "--checkpoint": world / "gemma", "--data": world / "mixture.jsonl",
        "--heldout": world / "heldout.jsonl", "--run": run, **SMALLER,
    }  # fmt: skip
    options |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    words = [word for name, value in options.items() for word in ((name,) if value is True else (name, value))]
    return ["helptune", "finetune", *map(str, words)]


@pytest.fixture
def helptune(monkeypatch, capsys):
    """Run the entry point in this process: command -> (exit code, what it said on stderr)."""

    def run(arguments):
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, capsys.readouterr().err

    return run


EIGHT_DEVICES = """
import contextlib, io, json, signal, sys
from helptune import cli
from helptune.train import fit

def run(arguments, stop_after=None):
    real = fit.log
    def log(path, line):
        real(path, line)
        if line["step"] == stop_after and "loss" in line:
            signal.raise_signal(signal.SIGINT)
    sys.argv, fit.log, said = arguments, log, io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as stop:
        return {"code": stop.code or 0, "said": said.getvalue()}
    finally:
        fit.log = real

for line in sys.stdin:
    print("RESULT", json.dumps(run(*json.loads(line))), flush=True)
"""


@pytest.fixture(scope="module")
def eight(world):
    """What a machine with eight devices did: an uninterrupted run, one interrupted and continued, one left after two
    steps, and a mesh that does not divide the model.
    """
    tasks = {
        "whole": [command(world, world / "whole")],
        "interrupted": [command(world, world / "continued"), 2],
        "continued": [command(world, world / "continued")],
        "left": [command(world, world / "left"), 2],
        "indivisible": [command(world, world / "none", mesh="1,1,8")],
        "wrong number": [command(world, world / "none", mesh="1,4,1")],
    }
    quick_to_compile = "--xla_backend_optimization_level=0"
    finished = subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES],
        input="".join(json.dumps(task) + "\n" for task in tasks.values()),
        env={**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count=8 {quick_to_compile}"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    results = [json.loads(line[7:]) for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    return dict(zip(tasks, results, strict=True))


@pytest.fixture(scope="module")
def one(world):
    """A run on one device, in this process."""
    run = world / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command(world, run))
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return run


def records(run, kind):
    """{step: value} of metrics.jsonl."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[kind] for line in lines if kind in line}


def summary(run):
    return json.loads((run / "eval" / "summary.json").read_text())


def test_the_documented_command_runs_to_its_report(one):
    config, found = read_config(one / "config.json"), summary(one)
    assert (config.lora.alpha, config.lora.dropout, config.train.optimizer.learning_rate) == (32.0, 0.1, 2e-4)
    assert (found["mesh"], found["training"]["steps"]) == ([1, 1, 1], 4)
    assert found["parameters"]["base"] == CONFIG.parameters
    assert np.isfinite(list(records(one, "loss").values())).all()
    report = (one / "report.html").read_text()
    assert f"read from {config.checkpoint}" in report
    assert "gemma-3-270m" not in report


def test_its_adapter_answers_on_the_checkpoint_it_was_trained_on(one, world, helptune):
    """The model is the one that the folder's config.json states."""
    where = ["--checkpoint", str(world / "gemma"), "--adapter", str(one / "adapter")]
    asked = ["--prompt", "What is 3 and 3?", "--max-new-tokens", "3", "--greedy"]
    assert helptune(["helptune", "chat", *where, *asked]) == (0, "")


def test_eight_devices_train_the_same_adapter_as_one(one, eight, world):
    """To the rounding of a bfloat16 base: sums over devices add up in another order."""
    assert eight["whole"] == {"code": 0, "said": eight["whole"]["said"]}, eight["whole"]["said"]
    assert summary(world / "whole")["mesh"] == [1, 8, 1]
    assert "8 x cpu" in (world / "whole" / "environment.json").read_text()
    for kind, bound in (("loss", 2e-3), ("eval_loss", 2e-3)):
        here, there = records(one, kind), records(world / "whole", kind)
        assert list(here) == list(there)
        assert np.allclose(list(here.values()), list(there.values()), rtol=bound)
    assert summary(world / "whole")["heldout_loss"]["base"]["overall"] == pytest.approx(
        summary(one)["heldout_loss"]["base"]["overall"], rel=2e-3
    )


def test_a_run_interrupted_on_eight_devices_ends_as_if_it_had_not_been(eight, world):
    assert (eight["interrupted"]["code"], eight["continued"]["code"]) == (130, 0)
    assert "stopped after step 2 of 4" in eight["interrupted"]["said"]
    for name in ("adapter/adapter.safetensors", "adapter/adapter.json", "eval/tuned.jsonl"):
        assert (world / "continued" / name).read_bytes() == (world / "whole" / name).read_bytes()
    assert records(world / "continued", "loss") == records(world / "whole", "loss")


def test_a_run_left_on_eight_devices_goes_on_on_one(eight, world, helptune):
    assert eight["left"]["code"] == 130
    assert helptune(command(world, world / "left"))[0] == 0
    here, there = records(world / "left", "loss"), records(world / "whole", "loss")
    assert [here[1], here[2]] == [there[1], there[2]]
    assert np.allclose([here[3], here[4]], [there[3], there[4]], rtol=2e-3)


def test_a_mesh_that_does_not_divide_the_model_says_which_would(eight, world):
    found = eight["indivisible"]
    assert found["code"] == 1
    assert "mesh 1,1,8 does not divide gemma (2 layers, width 64): heads=4 cannot be cut" in found["said"]
    assert "With 8 devices these do: 1,8,1" in found["said"]
    assert "mesh 1,4,1 has 4 devices" in eight["wrong number"]["said"]
    assert not (world / "none").exists()


def test_a_missing_shard_ends_before_anything_is_loaded(world, helptune, tmp_path):
    for file in (world / "gemma").iterdir():
        (tmp_path / file.name).symlink_to(file)
    shard = "model-00002-of-00002.safetensors"
    (tmp_path / shard).unlink()
    code, said = helptune(command(world, tmp_path / "run", checkpoint=tmp_path))
    assert code == 1
    assert said.startswith("error: ")
    assert shard in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["gemma-2b", "gemma-3-270m"])
def test_a_checkpoint_of_another_model_is_refused(model, world, helptune, tmp_path):
    code, said = helptune(command(world, tmp_path / "run", model=model))
    assert code == 1
    assert f"config.json describes gemma (2 layers, width 64), not {model}" in said
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_predicted_before_loading_with_what_would_fit(world, helptune, tmp_path, monkeypatch):
    """A machine of four megabytes a device, made up."""
    from helptune.experiment import finetune

    machine = replace(finetune.this_machine(), memory=4 * 2**20)
    monkeypatch.setattr(finetune, "this_machine", lambda: machine)
    monkeypatch.setattr(Source, "base", None)
    code, said = helptune(command(world, tmp_path / "run", seq_len=512, accumulate=1))
    assert code == 1
    assert "too little memory for gemma (2 layers, width 64)" in said
    assert "use --accumulate" in said
    assert not (tmp_path / "run").exists()


def test_an_adapter_of_other_weights_is_refused(one, world, tmp_path):
    from helptune.errors import AdapterError

    other = init_base(CONFIG, jax.random.key(1), "bfloat16")
    write_hugging_face(tmp_path, other)
    source = Source("config.json", str(tmp_path))
    with pytest.raises(AdapterError, match="trained for base weights"):
        load_adapter(one / "adapter", source.config(), source.sha256())
    assert Path(world / "gemma" / "tokenizer.model").exists()
