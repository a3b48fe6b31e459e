"""The monitor of a notebook, without a notebook: widgets keep their values here. With a browser: tests/browser."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from helptune.errors import RunError
from helptune.experiment import board
from helptune.experiment import monitor as station
from helptune.experiment.config import RunConfig, read_config
from helptune.experiment.monitor import monitor, start
from helptune.experiment.watch import LOG, snapshot
from helptune.lock import working_alone
from helptune.train.stop import stop_requested

HOSTILE = "<script>x()</script><img src=x onerror=x()>\u202eback \x1b[31m & 'quoted' \"too\""


def log(upto=6, answer="It is."):
    lines = [{"step": 0, "steps": 9}]
    for step in range(upto + 1):
        if step:
            numbers = {"tokens": 600, "seconds": 2.0, "grad_norm": 1.25, "learning_rate": 1e-3, "memory_gib": 1.5}
            lines.append({"step": step, "loss": 3 - step / 10, **numbers})
        if step % 3 == 0:
            lines.append({"step": step, "eval_loss": 3 - step / 5})
            lines.append({"step": step, "samples": [{"id": "a", "prompt": answer, "answer": answer, "ended": True}]})
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints" / "6").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "metrics.jsonl").write_text(log())
    return folder


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    for shown in station._shown.values():
        shown.end()
    for process in station._processes.values():
        process.kill()
        process.wait()
    station._shown.clear()
    station._processes.clear()


@pytest.fixture
def command(monkeypatch):
    """start() runs this code in place of `helptune finetune`; what it was asked for is in the list."""
    asked, real = [], subprocess.Popen

    def put(code):
        def popen(words, **how):
            asked.append(words)
            return real([sys.executable, "-c", code], **how)

        monkeypatch.setattr(station.subprocess, "Popen", popen)
        return asked

    return put


def text_of(shown):
    return "".join((shown._head.value, shown._figures.value, shown._pictures.value, shown._samples.value))


def wait_until(holds):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_shows_state_figures_pictures_and_answers(run):
    with working_alone(run):
        shown = monitor(run)
        text = text_of(shown)
        assert not shown._button.disabled
    for part in (
        "training",
        "step 6 of 9",
        "2.400",
        "1.800",
        "base 3.000, −40.0%",
        "step 6: kept",
        "1 of 1",
        "1.00e-03",
    ):
        assert part in text
    assert text.count("<svg") == 5


def test_every_picture_says_in_words_what_it_shows(run):
    text = text_of(monitor(run))
    assert text.count('role="img"') == text.count("<svg")
    assert text.count('role="img" aria-label="') == 5
    assert "Level of the base 3.000. Lowest held-back loss 1.800 at step 6." in text


def test_curves_move_when_the_log_grows_and_nothing_is_drawn_again_when_it_does_not(run, monkeypatch):
    with working_alone(run):
        (run / "metrics.jsonl").write_text(log(5))
        shown = monitor(run)
        before, draw, drawn = shown._pictures.value, board.pictures, []
        monkeypatch.setattr(board, "pictures", lambda seen: drawn.append(seen) or draw(seen))
        shown.look()
        assert drawn == []
        (run / "metrics.jsonl").write_text(log(6))
        wait_until(lambda: "step 6 of 9" in shown._head.value)
        wait_until(lambda: shown._pictures.value != before)
        assert len(drawn) == 1


def test_what_models_wrote_is_escaped(run):
    (run / "metrics.jsonl").write_text(log(answer=HOSTILE))
    samples = monitor(run)._samples.value
    assert "<script" not in samples
    assert "<img" not in samples
    assert "&lt;script&gt;x()&lt;/script&gt;&lt;img src=x onerror=x()&gt;" in samples
    assert not {"\x1b", "\u202e"} & set(samples)


def test_a_very_long_answer_is_cut(run):
    (run / "metrics.jsonl").write_text(log(answer="word " * 100_000))
    assert len(monitor(run)._samples.value) < 10_000


def test_the_button_asks_the_run_to_stop_and_says_so(run):
    with working_alone(run):
        shown = monitor(run)
        shown._button.click()
        assert stop_requested(run)
        assert "stopping after this step" in shown._head.value
        assert shown._button.disabled
    shown.look()
    assert "at step 6 of 9; run start(...) again to go on" in shown._head.value
    assert shown._button.disabled


def test_showing_a_run_again_leaves_one_thread_that_looks(run):
    def looking():
        return [thread for thread in threading.enumerate() if thread.name == f"watching {run}"]

    shown = [monitor(run) for _ in range(4)]
    wait_until(lambda: len(looking()) == 1)
    assert looking() == [shown[-1]._thread]
    assert looking()[0].daemon


def test_a_still_picture_and_a_text_stand_in_for_the_widget_where_it_does_not_live(run, monkeypatch):
    shown = []
    monkeypatch.setattr(station, "display", lambda bundle, raw: shown.append(bundle))
    monitor(run)._ipython_display_()
    still, widget = shown
    assert still["text/plain"] == "run: stopped: at step 6 of 9; run start(...) again to go on"
    assert still["text/html"].count("<svg") == 5
    assert "helptune-live" not in still["text/html"].split("</style>")[1]
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert "helptune-live" in monitor(run)._head.value.split("</style>")[1]


def test_start_runs_the_command_with_these_options_in_a_process_of_its_own(tmp_path, command):
    asked = command("print('loading', flush=True); import time; time.sleep(60)")
    shown = start(["--max-steps", 3], tmp_path / "run")
    assert asked[0][-6:] == ["helptune", "finetune", "--max-steps", "3", "--run", str(tmp_path / "run")]
    assert "waiting" in shown._head.value
    wait_until(lambda: (tmp_path / "run" / LOG).read_text() == "loading\n")
    start(["--max-steps", 3], tmp_path / "run")
    assert len(asked) == 1  # it is at work: the second cell shows it


def test_start_takes_a_configuration_too(tmp_path, command):
    asked = command("pass")
    config = RunConfig(max_new_tokens=7)
    start(config, tmp_path / "run").wait(60)
    assert read_config(tmp_path / "run" / asked[0][asked[0].index("--config") + 1].rsplit("/")[-1]) == config


def test_a_process_that_is_still_loading_is_ended_by_the_button(tmp_path, command):
    command("import time; time.sleep(60)")
    shown = start([], tmp_path / "run")
    shown._button.click()
    assert station._processes[tmp_path / "run"].wait(60) == -signal.SIGTERM
    assert shown.wait(60).state == "stopped"
    assert "before training; run start(...) again to go on" in shown._head.value


def test_a_failure_is_shown_with_the_last_lines_of_the_log(tmp_path, command):
    command("import sys; print('much', flush=True); sys.exit('error: <b>too little memory</b>')")
    shown = start([], tmp_path / "run")
    with pytest.raises(RunError, match="too little memory"):
        shown.wait(60)
    assert "error: &lt;b&gt;too little memory&lt;/b&gt;" in shown._figures.value
    assert "failed" in shown._head.value


def test_a_run_that_another_process_goes_on_with_is_no_longer_judged_by_the_first_one(run, command):
    command("import sys; sys.exit(1)")
    shown = start([], run)
    with pytest.raises(RunError):
        shown.wait(60)
    with working_alone(run):
        assert shown.look().state == "training"
    assert shown.look().state == "stopped"


def test_a_process_that_ends_between_two_looks_at_it_is_still_judged(run, command, monkeypatch):
    """Alive when it was asked for, ended a moment later: that is no other process that goes on with the run."""
    command("import sys; sys.exit(1)")

    def alive_and_then_ended(run):
        alive = run in station._processes
        station._processes[run].wait(60)
        return alive

    monkeypatch.setattr(station, "monitor", lambda run: None)
    start([], run)
    monkeypatch.setattr(station, "_is_alive", alive_and_then_ended)
    station._read(run)
    monkeypatch.undo()
    assert station._read(run)[0].state == "failed"


def test_a_process_that_another_thread_forgets_meanwhile_is_no_error(run, command, monkeypatch):
    """At each look at the table the other thread may just have taken the process from it."""

    class Emptied(dict):
        def __contains__(self, run):
            found = super().__contains__(run)
            self.pop(run, None)
            return found

    command("pass")
    start([], run).wait(60)
    station._shown[run].end()
    monkeypatch.setattr(station, "_processes", Emptied(station._processes))
    with working_alone(run):
        assert station._read(run)[0].state == "training"
    assert station._read(run)[0].state == "stopped"


def test_what_cannot_be_shown_is_said_and_the_view_goes_on_looking(run, monkeypatch):
    read, broken = station.read_run, threading.Event()

    def read_or_fail(*asked):
        if broken.is_set():
            raise OSError("<b>no such device</b>")
        return read(*asked)

    monkeypatch.setattr(station, "read_run", read_or_fail)
    shown = monitor(run)
    broken.set()
    wait_until(lambda: "cannot be shown now" in shown._head.value)
    assert "&lt;b&gt;no such device" in shown._head.value
    broken.clear()
    wait_until(lambda: "step 6 of 9" in shown._head.value)


def test_the_pieces_can_be_made_of_nothing():
    text = board.still(snapshot("", working=True))
    assert "before training" in text
    assert text.count("<svg") == 5
