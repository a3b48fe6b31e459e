"""The live view of a terminal: figures, curves in braille, and model text that cannot act on the terminal."""

import io
import json

import pytest
from rich.console import Console

from helptune.errors import RunError
from helptune.experiment.terminal import chart, plain, view, watch
from helptune.experiment.watch import snapshot

HOSTILE = "\x1b[2J\x1b]0;title\x07[bold red]red[/] \u202eback\u202c <script>x</script>"


def log(upto=6, answer="It is.", every=3):
    lines = [{"step": 0, "steps": 9}]
    for step in range(upto + 1):
        if step:
            lines.append({"step": step, "loss": 3 - step / 10, "tokens": 600, "seconds": 2.0, "grad_norm": 1.25})
        if step % every == 0:
            lines.append({"step": step, "eval_loss": 3 - step / 5})
            lines.append({"step": step, "samples": [{"id": "a", "prompt": "Is it?", "answer": answer, "ended": True}]})
    return "".join(json.dumps(line) + "\n" for line in lines)


def drawn(what, width=100, terminal=False):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, color_system=None).print(what)
    return out.getvalue()


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "checkpoints" / "6").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text(log())
    return tmp_path


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_view_fits_the_terminal_and_tells_the_figures(width):
    text = drawn(view(snapshot(log(), working=True), width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "training: step 6 of 9" in text
    words = " ".join(text.split())
    if width >= 80:
        for figure in (
            "training loss 2.400",
            "held-back loss 1.800",
            "of the base 3.000",
            "1.800 at step 6",
            "300 tok",
        ):
            assert figure in words


@pytest.mark.parametrize("width", [20, 64])
def test_the_chart_draws_every_measurement_and_the_level_of_the_base(width):
    seen = snapshot(log(), working=True)
    rows = drawn(chart(seen, width)).splitlines()
    assert rows[0].strip().startswith("3.00")
    assert all(len(row.rstrip()) <= width + 7 for row in rows[:-1])
    dashes = [cell for cell in rows[0][7:] if cell > "\u2800"]
    assert len(dashes) > width / 3  # the base's level is the highest value here, along the whole picture
    assert sum(cell > "\u2800" for row in rows[:-1] for cell in row) > len(dashes)


def test_a_chart_of_nothing_or_of_one_value_is_drawn():
    assert "no losses yet" in drawn(chart(snapshot("", working=True), 30))
    drawn(chart(snapshot('{"step": 0, "eval_loss": 3.0}\n', working=True), 30))


@pytest.mark.parametrize("show", [plain, lambda seen: view(seen, 100)], ids=["plain", "view"])
def test_model_text_is_neither_markup_nor_an_escape_sequence(show):
    text = drawn(show(snapshot(log(answer=HOSTILE), working=True)), terminal=True)
    assert "[bold red]red[/]" in text
    assert "\x1b[2J" not in text
    assert "\x1b]0" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("show", [plain, lambda seen: view(seen, 100)], ids=["plain", "view"])
def test_the_reason_of_an_end_is_no_escape_sequence_either(show):
    text = log() + json.dumps({"step": 6, "stopped": HOSTILE}) + "\n"
    shown = drawn(show(snapshot(text, working=False, complete=True)), terminal=True)
    assert "(\ufffd[2J\ufffd]0;title" in shown
    assert not any(part in shown for part in ("\x1b]0", "\x1b[2J", "\u202e"))


def test_a_long_answer_is_shortened():
    text = drawn(view(snapshot(log(answer="word " * 5_000), working=True), 80), 80)
    assert len(text.splitlines()) < 40


def test_without_a_terminal_it_prints_a_stopped_run_once_and_ends(run):
    out = io.StringIO()
    seen = watch(run, Console(file=out, width=200), every=0.01)
    assert seen.state == "stopped"
    assert out.getvalue().count("stopped: at step 6 of 9") == 1


def test_without_a_terminal_each_measurement_is_printed_once(run, monkeypatch):
    """The run makes a step between two looks, with a measurement at every third; then it is gone."""
    moments = iter([*range(9), 8])
    state = {}

    def read(run):
        state["step"] = next(moments)
        last = state["step"] == 8 and state.get("seen") == 8
        state["seen"] = state["step"]
        return snapshot(log(state["step"]), working=not last, checkpoint=8)

    monkeypatch.setattr("helptune.experiment.terminal.read_run", read)
    out = io.StringIO()
    watch(run, Console(file=out, width=200), every=0)
    shown = [line.split(";")[0].split(",")[0] for line in out.getvalue().splitlines() if line[0] != " "]
    assert shown == [
        "training: step 0 of 9",
        "training: step 3 of 9",
        "training: step 6 of 9",
        "stopped: at step 8 of 9",
    ]


def test_on_a_terminal_it_ends_with_the_run(run):
    out = io.StringIO()
    assert watch(run, Console(file=out, width=100, force_terminal=True), every=0.01).state == "stopped"
    assert "stopped" in out.getvalue()


def test_ctrl_c_leaves_the_run_alone(run, monkeypatch):
    monkeypatch.setattr("helptune.experiment.terminal.read_run", lambda run: snapshot(log(), working=True))
    monkeypatch.setattr("time.sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    out = io.StringIO()
    before = sorted(run.rglob("*"))
    assert watch(run, Console(file=out, width=100)).state == "training"
    assert "left alone" in out.getvalue()
    assert sorted(run.rglob("*")) == before


def test_a_failed_run_shows_the_end_of_its_log(run):
    (run / "checkpoints" / "6").rename(run / "checkpoints" / "3")
    (run / "log.txt").write_text("error: disk full\x1b[2J\n")
    out = io.StringIO()
    assert watch(run, Console(file=out, width=100), once=True).state == "failed"
    assert "error: disk full\ufffd[2J" in out.getvalue()


def test_a_run_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"none: there is no such run; name its directory with --run"):
        watch(tmp_path / "none", Console())
