"""A run is a directory that belongs to one configuration; it tells the machine it was made on."""

import json
import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version

import jax
import psutil
import pytest

from helptune import lock
from helptune.errors import RunError
from helptune.experiment.config import RunConfig, read_config
from helptune.experiment.environment import PACKAGES, environment
from helptune.experiment.finetune import _Stages
from helptune.experiment.runs import open_run, read_json
from helptune.lock import is_worked_on, working_alone
from helptune.train.peak import peak_rss_gib

CONFIG = RunConfig(max_new_tokens=5)


def snapshot(folder):
    return {p.relative_to(folder): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "first"


def test_a_new_run_holds_its_configuration_and_environment(run):
    open_run(run, CONFIG)
    assert read_config(run / "config.json") == CONFIG
    assert read_json(run / "environment.json") == environment()


def test_an_empty_directory_may_become_a_run(run):
    run.mkdir(parents=True)
    open_run(run, CONFIG)
    assert (run / "config.json").exists()


def test_the_same_configuration_continues_and_keeps_every_file(run):
    open_run(run, CONFIG)
    (run / "metrics.jsonl").write_text("{}\n")
    open_run(run, replace(CONFIG))
    assert (run / "metrics.jsonl").read_text() == "{}\n"
    assert read_config(run / "config.json") == CONFIG


def test_another_configuration_is_refused_by_field_and_nothing_is_touched(run):
    open_run(run, CONFIG)
    before = snapshot(run)
    other = replace(CONFIG, precision="float32", lora=replace(CONFIG.lora, rank=2))
    with pytest.raises(
        RunError, match=r"precision: 'bfloat16' -> 'float32'; lora.rank: 16 -> 2\)\. Choose another --run"
    ):
        open_run(run, other)
    assert snapshot(run) == before


def test_a_run_may_go_on_on_another_mesh(run):
    """A checkpoint written on one resumes on any other."""
    open_run(run, replace(CONFIG, mesh=(1, 8, 1)))
    open_run(run, replace(CONFIG, mesh=(2, 2, 1)))
    assert read_config(run / "config.json").mesh == (2, 2, 1)


def test_a_foreign_directory_is_refused_and_nothing_is_touched(run):
    run.mkdir(parents=True)
    (run / "thesis.txt").write_text("two years of work")
    before = snapshot(run)
    with pytest.raises(RunError, match=r"is not empty and not a run \(no config.json\)"):
        open_run(run, CONFIG)
    assert snapshot(run) == before


def test_a_file_is_no_directory_for_a_run(tmp_path):
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(RunError, match=r"thesis\.txt is not empty and not a run"):
        open_run(tmp_path / "thesis.txt", CONFIG)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/run: cannot be written"):
        open_run(tmp_path / "file" / "run", CONFIG)


def test_a_damaged_configuration_is_never_overwritten(run):
    open_run(run, CONFIG)
    (run / "config.json").write_text('{"precision": ')
    with pytest.raises(RunError, match="not a valid configuration"):
        open_run(run, CONFIG)
    assert (run / "config.json").read_text() == '{"precision": '


def test_two_processes_never_work_on_one_run(run):
    """Like the same command typed in two terminals. When the first one ends, in whatever way, the second may go on."""
    open_run(run, CONFIG)
    hold = "import sys; from pathlib import Path; from helptune.lock import working_alone\n"
    hold += "with working_alone(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    first = subprocess.Popen(
        [sys.executable, "-c", hold, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "in\n"
    assert is_worked_on(run)
    with pytest.raises(RunError, match="another process is working on"), working_alone(run):
        pass
    first.kill()
    first.communicate()
    assert not is_worked_on(run)
    with working_alone(run):
        pass


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_removed_while_one_waits_for_it_is_not_worked_in(tmp_path, monkeypatch, again):
    """Two builds of one dataset: the first is done and removes its working folder; a third may make it again."""
    folder = tmp_path / "out.building"
    folder.mkdir()
    first = ExitStack()
    first.enter_context(working_alone(folder))

    def done(pause):
        if pause and folder.exists():
            folder.rmdir()
            first.close()
            if again:
                folder.mkdir()

    monkeypatch.setattr(lock.time, "sleep", done)
    with pytest.raises(RunError, match="was removed by another process"), working_alone(folder):
        pass


def test_a_folder_that_is_gone_cannot_be_worked_in(tmp_path):
    with pytest.raises(RunError, match="was removed by another process"), working_alone(tmp_path / "gone"):
        pass


def test_the_environment_tells_what_a_reader_needs_to_repeat_the_run():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["system"].startswith(platform.system())
    assert found["processor"]
    assert found["cores"] == os.cpu_count()
    assert found["memory_gib"] == round(psutil.virtual_memory().total / 2**30, 1)
    assert found["devices"] == f"{jax.device_count()} x cpu"
    assert (found["processes"], found["xla_flags"]) == (1, os.environ.get("XLA_FLAGS", ""))
    assert found["packages"] == {name: version(name) for name in PACKAGES}
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= set(found["packages"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("data", [None, "", '{"a": '], ids=["missing", "empty", "cut short"])
def test_a_damaged_result_says_how_to_make_it_again(data, tmp_path):
    if data is not None:
        (tmp_path / "summary.json").write_text(data)
    with pytest.raises(RunError, match=r"summary\.json: missing or damaged .*run `helptune finetune`"):
        read_json(tmp_path / "summary.json")


def test_finished_stages_are_not_run_again(tmp_path):
    """Also not by another process, which knows only the file."""
    path, calls = tmp_path / "eval" / "stages.json", []

    def work():
        calls.append(1)
        return {"overall": 1.5, "by_category": {"facts": 2.0}}

    first = _Stages(path).run("base_loss", work)
    assert _Stages(path).run("base_loss", work) == first
    assert calls == [1]


def test_a_stage_that_fails_is_run_again(tmp_path):
    path = tmp_path / "stages.json"
    _Stages(path).run("one", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        _Stages(path).run("two", lambda: 1 / 0)
    stages = _Stages(path)
    assert stages.results == {"one": 1}
    assert stages.run("two", lambda: 2) == 2


def test_the_seconds_of_a_stage_add_up_over_interruptions(tmp_path):
    path = tmp_path / "stages.json"
    with _Stages(path).timed("train"):
        pass
    first = _Stages(path).seconds["train"]
    with pytest.raises(KeyboardInterrupt), _Stages(path).timed("train"):
        raise KeyboardInterrupt
    assert _Stages(path).seconds["train"] > first > 0


def test_peak_memory_is_between_what_is_held_now_and_what_there_is():
    now, total = psutil.Process().memory_info().rss / 2**30, psutil.virtual_memory().total / 2**30
    assert 0.9 * now <= peak_rss_gib() <= total
