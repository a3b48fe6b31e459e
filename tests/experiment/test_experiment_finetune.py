"""The main job in miniature: a tiny base, a dozen conversations, every stage; interrupted and continued."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from helptune.adapt.artifact import load_adapter
from helptune.adapt.lora import LoraConfig
from helptune.data.conversation import CATEGORIES
from helptune.errors import ContextError, DataError, Interrupted, RunError, SettingError
from helptune.evaluate import generations
from helptune.evaluate.answers import read_answers
from helptune.experiment import finetune as station
from helptune.experiment import models
from helptune.experiment.config import RunConfig, read_config
from helptune.experiment.finetune import finetune, require_memory, with_fingerprints
from helptune.experiment.gradients import category_gradients, gradients_of_run
from helptune.experiment.split import few_shot_candidates, read_data
from helptune.gemma import generate
from helptune.gemma.checkpoints import embedded_sha256
from helptune.gemma.config import gemma_7b
from helptune.train import fit as training
from helptune.train.config import TrainConfig
from helptune.train.stop import request_stop, stop_requested
from helptune.train.topology import Topology

HELDOUT = ["facts-1", "facts-2", "write-1"]
STAGES = ["base_loss", "base_answers", "few_shot_answers", "tuned_loss", "tuned_answers", "gradients"]


def record(name, category, question, answer):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    labels = {"category": category, "difficulty": "easy"}
    return {"id": name, "source": "test", "license": "Apache-2.0", "messages": messages, **labels}


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    train = [record(f"t{i}", CATEGORIES[i], f"What is {i} + {i}?", f"It is {2 * i}.") for i in range(12)]
    heldout = [record(name, name.split("-")[0], f"Tell me about {name}.", "It is short.") for name in HELDOUT]
    return RunConfig(
        precision="float32",
        train_file=write_lines(folder / "train.jsonl", train),
        heldout_file=write_lines(folder / "heldout.jsonl", heldout),
        max_new_tokens=4,
        lora=LoraConfig(rank=2, alpha=4.0, dropout=0.1),
        train=TrainConfig(seq_len=64, batch_rows=1, epochs=1, eval_every=2),
    )


@pytest.fixture(autouse=True)
def _tiny_world(monkeypatch, word_base):
    monkeypatch.setattr(models, "load_base", lambda dtype: word_base)


@pytest.fixture(scope="module")
def whole(config, word_base, tmp_path_factory):
    """(directory, summary) of a run that was never interrupted, report included."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_base", lambda dtype: word_base)
        return run, finetune(config, run)


@pytest.fixture
def steps(monkeypatch):
    """The optimizer steps that are taken during a test."""
    taken, real = [], training.train_step

    def counted(base, state, *args, **kwargs):
        taken.append(int(state.step) + 1)
        return real(base, state, *args, **kwargs)

    monkeypatch.setattr(training, "train_step", counted)
    return taken


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(summary):
    return {k: v for k, v in summary.items() if k not in ("seconds", "peak_rss_gib")}


def test_a_run_leaves_every_file_it_promises(whole):
    run, summary = whole
    files = ["config.json", "environment.json", "metrics.jsonl", "report.html", "adapter/adapter.safetensors"]
    files += [f"eval/{name}" for name in ("base.jsonl", "few_shot.jsonl", "tuned.jsonl", "stages.json")]
    assert [name for name in files if not (run / name).is_file()] == []
    assert json.loads((run / "eval" / "summary.json").read_text()) == json.loads(json.dumps(summary))


def test_the_summary_holds_what_the_report_needs(whole, config, word_base):
    run, summary = whole
    for model in ("base", "tuned"):
        loss = summary["heldout_loss"][model]
        assert loss["overall"] > 0
        assert list(loss["by_category"]) == ["facts", "write"]
        assert min(loss["by_category"].values()) <= loss["overall"] <= max(loss["by_category"].values())
    assert summary["conversations"] == {"train": 11, "held_back": 1, "held_out": 3}
    assert (summary["model"], summary["mesh"], summary["peak_device_gib"]) == ("tiny-3", [1, 1, 1], 0.0)
    assert read_config(run / "config.json").base_sha256 == embedded_sha256()
    assert summary["parameters"]["base"] == word_base.config.parameters
    adapters, card = load_adapter(run / "adapter", word_base.config, embedded_sha256())
    assert summary["parameters"]["trainable"] == sum(x.size for pair in adapters.values() for x in pair.values())
    assert summary["adapter_bytes"] == (run / "adapter" / "adapter.safetensors").stat().st_size
    assert (summary["training"]["best_step"], summary["training"]["best_loss"]) == (card.step, card.eval_loss)
    assert set(summary["seconds"]) == {*STAGES, "train"}
    assert card.method == config.lora


def test_the_summary_compares_the_gradients_of_the_categories(whole, config):
    run, summary = whole
    found, names = summary["task_gradients"], list(CATEGORIES[:9]) + list(CATEGORIES[10:12])
    assert found["tasks"] == names  # the tenth conversation, alone in its category, is held back
    assert [row[i] for i, row in enumerate(found["cosines"])] == [1.0] * len(names)
    assert min(found["tokens"]) > 0
    again = gradients_of_run(run, None, rows=1)
    assert again["tokens"] == found["tokens"]
    np.testing.assert_allclose(again["cosines"], found["cosines"], atol=2e-3)
    with pytest.raises(SettingError, match="--rows 0: must be at least 1"):
        gradients_of_run(run, None, rows=0)


def test_a_single_category_has_nothing_to_be_compared_with(config, word_base):
    assert category_gradients(word_base, {}, config.lora, config.train, [], ["facts", "facts"]) is None


def test_the_kept_adapter_is_the_one_with_the_least_held_back_loss(whole):
    run, summary = whole
    measured = [m for m in metrics(run) if "eval_loss" in m]
    best = min(measured, key=lambda m: m["eval_loss"])
    assert (summary["training"]["best_step"], summary["training"]["best_loss"]) == (best["step"], best["eval_loss"])


def test_every_model_answers_every_held_out_conversation(whole):
    run, _ = whole
    for name in ("base", "few_shot", "tuned"):
        found = read_answers(run / "eval" / f"{name}.jsonl")
        assert sorted(a.id for a in found) == sorted(HELDOUT)
        assert max(a.tokens for a in found) <= 4


def test_the_same_command_again_trains_and_answers_nothing(whole, config, steps, monkeypatch):
    run, summary = whole
    monkeypatch.setattr(generate, "stream", None)
    monkeypatch.setattr(station, "heldout_loss", None)
    assert without_times(finetune(config, run)) == without_times(json.loads(json.dumps(summary)))
    assert steps == []


def test_the_same_command_again_changes_no_evidence(whole, config):
    """Times, versions and machine stay those of the run, whoever repeats the command, wherever."""
    run, _ = whole
    (run / "environment.json").write_text('{"processor": "another"}')
    before = {path: path.read_bytes() for path in run.rglob("*.json*") if "checkpoints" not in path.parts}
    finetune(config, run)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("lost", ["adapter/adapter.safetensors", "metrics.jsonl"])
def test_what_cannot_be_made_again_says_what_to_do(whole, config, tmp_path, lost):
    run, summary = tmp_path / "run", whole[1]
    shutil.copytree(whole[0], run)
    (run / lost).unlink()
    with pytest.raises(RunError, match=rf"{lost}: missing .*delete .*checkpoints and run the same command again"):
        finetune(config, run)
    shutil.rmtree(run / "checkpoints")
    assert without_times(finetune(config, run)) == without_times(json.loads(json.dumps(summary)))


def test_a_damaged_list_of_stages_costs_only_time(whole, config, tmp_path):
    run, summary = tmp_path / "run", whole[1]
    shutil.copytree(whole[0], run)
    (run / "eval" / "stages.json").write_text("{")
    (run / "eval" / "summary.json").unlink()
    assert without_times(finetune(config, run)) == without_times(json.loads(json.dumps(summary)))


def test_testing_on_the_training_data_is_refused(config):
    with pytest.raises(DataError, match="conversation 't0' is also a training conversation"):
        read_data(replace(config, heldout_file=config.train_file))


def test_the_fingerprint_knows_text_order_and_split(config):
    train, heldout = read_data(config)
    found = with_fingerprints(config, train, heldout, "weights")
    assert with_fingerprints(found, train, heldout, "weights") == found
    for other in ((train[:-1], [train[-1], *heldout]), (train[::-1], heldout)):
        with pytest.raises(RunError, match="the conversations are not those of this configuration"):
            with_fingerprints(found, *other, "weights")
    with pytest.raises(RunError, match="the weights of the base are not those of this configuration"):
        with_fingerprints(found, train, heldout, "other weights")


def test_lost_answers_are_made_again_by_the_same_command(whole, config, steps):
    run, _ = whole
    path = run / "eval" / "tuned.jsonl"
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    finetune(config, run)
    assert path.read_bytes() == before
    assert steps == []


def test_an_interrupted_run_ends_as_if_it_had_not_been(whole, config, steps, tmp_path, monkeypatch):
    """Ctrl-C after the second step, as the terminal sends it; then the same command."""
    write, real = [], training.log

    def log(path, line):
        real(path, line)
        write.append(line)
        if line["step"] == 2 and "loss" in line:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training, "log", log)
    with pytest.raises(Interrupted, match=r"stopped after step 2 of \d+; run the same command again"):
        finetune(config, tmp_path / "run")
    monkeypatch.setattr(training, "log", real)
    monkeypatch.setattr(station, "write_report", lambda run: None)
    assert not (tmp_path / "run" / "eval" / "summary.json").exists()

    run, summary = whole
    continued = finetune(config, tmp_path / "run")
    assert without_times(continued) == without_times(summary)
    assert steps == list(range(1, summary["training"]["steps"] + 1))
    assert read_answers(tmp_path / "run" / "eval" / "tuned.jsonl") == read_answers(run / "eval" / "tuned.jsonl")


def test_every_measurement_comes_with_sample_answers(whole):
    run, _ = whole
    found = {m["step"]: m["samples"] for m in metrics(run) if "samples" in m}
    assert list(found) == [m["step"] for m in metrics(run) if "eval_loss" in m]
    assert [[(s["id"], s["prompt"]) for s in samples] for samples in found.values()] == [
        [("t9", "What is 9 + 9?")] for _ in found
    ]


def test_a_request_to_stop_is_heeded_between_answers_too(config, tmp_path, monkeypatch):
    """What is answered stays."""
    run, write = tmp_path / "run", generations.write_answers
    run.mkdir()

    def write_and_ask(path, *made):
        write(path, *made)
        request_stop(run)

    monkeypatch.setattr(generations, "write_answers", write_and_ask)
    with pytest.raises(Interrupted, match="stopped; run the same command again to go on"):
        finetune(config, run)
    assert not stop_requested(run)
    assert len(read_answers(run / "eval" / "base.jsonl")) == len(HELDOUT)
    assert not (run / "metrics.jsonl").exists()


def test_a_run_does_not_heed_a_request_from_before_it_started(config, whole, tmp_path):
    unmeasured = shutil.ignore_patterns("summary.json", "stages.json")
    run = shutil.copytree(whole[0], tmp_path / "run", ignore=unmeasured)
    request_stop(run)
    assert without_times(finetune(config, run)) == without_times(whole[1])
    assert not stop_requested(run)


def test_a_run_that_does_not_fit_is_refused_with_what_would(monkeypatch):
    """By the closed form, with nothing loaded, for GPUs that are made up. What JAX leaves of them can be raised."""
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)
    model, gpu = gemma_7b(), Topology("made up", "gpu", 1, 80 * 2**30, None)
    require_memory(model, RunConfig(), (1, 1, 1), gpu)
    with pytest.raises(SettingError, match=r"too little memory for gemma-7b: \d+\.\d GiB a device needed.*--base int4"):
        require_memory(model, RunConfig(), (1, 1, 1), replace(gpu, memory=10 * 2**30))
    with pytest.raises(SettingError, match=r"takes 75% of the device .* XLA_CLIENT_MEM_FRACTION=0\.95"):
        require_memory(model, RunConfig(), (1, 1, 1), replace(gpu, memory=10 * 2**30))


def test_a_directory_of_another_configuration_is_left_alone(whole, config):
    run, _ = whole
    before = (run / "config.json").read_bytes()
    with pytest.raises(RunError, match=r"lora\.rank: 2 -> 3"):
        finetune(replace(config, lora=replace(config.lora, rank=3)), run)
    assert (run / "config.json").read_bytes() == before


def test_a_conversation_that_does_not_fit_is_found_before_anything_is_written(config, tmp_path):
    """Following the advice, a larger --seq-len, must not meet a directory that holds the smaller one."""
    narrow = replace(config, train=replace(config.train, seq_len=8))
    with pytest.raises(ContextError, match=r"conversation 't0' needs \d+ tokens, seq_len is 8: raise --seq-len"):
        finetune(narrow, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("train", "heldout"), [(9, 1), (10, 0)])
def test_too_few_conversations_are_refused(train, heldout, tmp_path):
    files = [
        write_lines(tmp_path / f"{n}.jsonl", [record(f"r{i}", "facts", "a?", "b") for i in range(n)])
        for n in (train, heldout)
    ]
    with pytest.raises(DataError, match=f"{train} training and {heldout} held-out conversations; at least 10 and 1"):
        read_data(RunConfig(train_file=files[0], heldout_file=files[1]))


def test_other_data_sets_offer_all_their_conversations_as_solved_examples(config):
    train, _ = read_data(config)
    assert few_shot_candidates(train) == train
