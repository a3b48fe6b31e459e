"""What a watcher may say about a run, whatever moment it looks at: halves of lines, logs cut back, no numbers."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helptune.experiment.watch import LOG, Snapshot, duration, log_tail, read_run, snapshot, status
from helptune.lock import working_alone

EVERY, TOTAL = 4, 12
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine


def answers(step):
    return [{"id": "a", "prompt": "Why?", "answer": f"Because of {step}.", "ended": step > 0}]


def log(upto, total=TOTAL):
    """The lines of a run after `upto` steps: a step takes 2 s, a measurement 5 s."""
    lines = [{"step": 0, "steps": total}]
    for step in range(upto + 1):
        if step:
            numbers = {"loss": 4 - step / 10, "grad_norm": 1.0, "learning_rate": 1e-3, "tokens": 600, "seconds": 2.0}
            lines.append({"step": step, **numbers, "memory_gib": 1.5})
        if step % EVERY == 0:
            lines.append({"step": step, "samples": answers(step)})
            lines.append({"step": step, "eval_loss": 3 - step / 10, "eval_seconds": 5.0})
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_nothing_yet_is_waiting():
    assert snapshot("", working=True).state == "waiting"
    assert snapshot("", working=False, begun=False).state == "waiting"


@pytest.mark.parametrize(
    ("upto", "facts", "state"),
    [
        (5, {"working": True}, "training"),
        (0, {"working": True}, "training"),
        (TOTAL, {"working": True}, "evaluating"),
        (5, {"working": False, "checkpoint": 5}, "stopped"),
        (5, {"working": False, "checkpoint": 4}, "failed"),
        (0, {"working": False}, "stopped"),
        (TOTAL, {"working": False, "complete": True, "checkpoint": TOTAL}, "finished"),
        (TOTAL, {"working": True, "complete": True, "checkpoint": TOTAL}, "evaluating"),
        (5, {"working": True, "complete": True, "checkpoint": 4}, "training"),
    ],
)
def test_the_state_is_told_by_the_log_the_lock_and_the_newest_checkpoint(upto, facts, state):
    assert snapshot(log(upto), **facts).state == state


def test_a_run_that_ended_its_training_itself_is_evaluating_and_says_why():
    text = log(8) + '{"step": 8, "stopped": "no improvement"}\n'
    seen = snapshot(text, working=True)
    assert (seen.state, seen.reason) == ("evaluating", "no improvement")
    assert "no improvement" in status(seen)


def tasks_log(upto):
    """Two tasks, of which "short" ends after step 2; both are measured at 0 and 2, "long" at 4 too."""
    lines = [{"step": 0, "steps": 4}]
    for step in range(upto + 1):
        names = ["long", "short"] if step <= 2 else ["long"]
        if step:
            losses = {name: 3.0 + (name == "short") - step / 10 for name in names}
            lines.append(
                {"step": step, "task_losses": losses, "task_grad_norms": dict.fromkeys(names, 1.0), "seconds": 2.0}
            )
        if step % 2 == 0:
            lines.append({"step": step, "task_eval_losses": {n: 2.0 + 2 * (n == "short") - step / 10 for n in names}})
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_run_of_several_tasks_is_shown_by_the_means_over_its_tasks():
    """The held-back loss of a task that has ended counts on."""
    seen = snapshot(tasks_log(4), working=True)
    assert seen.curve("loss") == [
        (step, pytest.approx(loss)) for step, loss in ((1, 3.4), (2, 3.3), (3, 2.7), (4, 2.6))
    ]
    assert [(r["step"], r["eval_loss"]) for r in seen.measurements] == [
        (0, pytest.approx(3.0)), (2, pytest.approx(2.8)), (4, pytest.approx((1.6 + 3.8) / 2)),
    ]  # fmt: skip
    assert (seen.base_loss, seen.best) == (3.0, (4, pytest.approx(2.7)))
    assert snapshot(tasks_log(2), working=True).seconds_left == 2 * 2.0
    assert snapshot(tasks_log(2) + tasks_log(4), working=True) == seen  # as a watcher meets a run that went on


@pytest.mark.parametrize(
    ("upto", "facts", "state"),
    [
        (0, {"working": True}, "training"),
        (3, {"working": True}, "training"),
        (4, {"working": True}, "evaluating"),
        (3, {"working": False, "checkpoint": 3}, "stopped"),
        (3, {"working": False, "checkpoint": 2}, "failed"),
    ],
)
def test_the_state_of_a_run_of_several_tasks_is_told_as_of_any_run(upto, facts, state):
    assert snapshot(tasks_log(upto), **facts).state == state


def test_a_run_of_several_tasks_is_finished_once_its_summary_is_there(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text(tasks_log(4))
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    assert read_run(tmp_path).state == "stopped"
    (tmp_path / "tasks.json").write_text("{}")
    assert read_run(tmp_path).state == "finished"


@pytest.mark.parametrize("losses", [None, 3, [], {}, {"a": None}, {"a": "3", "b": [1]}])
def test_losses_of_tasks_that_are_no_numbers_are_left_out_and_their_step_counts(losses):
    seen = snapshot(json.dumps({"step": 1, "task_losses": losses, "task_eval_losses": losses}) + "\n", working=True)
    assert (seen.step, seen.curve("loss"), seen.measurements) == (1, [], ())


def test_an_old_reason_is_no_reason_once_the_run_went_on():
    text = log(8).replace('{"step": 5,', '{"step": 4, "stopped": "asked"}\n{"step": 5,', 1)
    assert snapshot(text, working=True).state == "training"


def test_the_figures_are_those_of_the_log():
    seen = snapshot(log(9), working=True)
    assert (seen.step, seen.total, seen.base_loss) == (9, TOTAL, 3.0)
    assert seen.best == (8, pytest.approx(2.2))
    assert seen.last("loss") == pytest.approx(3.1)
    assert seen.curve("memory_gib") == [(step, 1.5) for step in range(1, 10)]
    assert (seen.base[0], seen.base[1][0].answer, seen.base[1][0].ended) == (0, "Because of 0.", False)
    assert (seen.latest[0], seen.latest[1][0].answer, seen.latest[1][0].ended) == (8, "Because of 8.", True)


def test_the_speed_leaves_out_the_step_that_compiles():
    text = log(9).replace('"seconds": 2.0', '"seconds": 60.0', 1)
    seen = snapshot(text, working=True)
    assert seen.speed == 300
    assert len(seen.curve("speed")) == 8


def test_the_time_left_counts_steps_and_measurements():
    assert snapshot(log(6), working=True).seconds_left == 6 * 2.0 + 2 * 5.0
    assert snapshot(log(1), working=True).seconds_left is None
    assert snapshot(log(6), working=False, checkpoint=6).seconds_left is None


def test_a_loss_that_is_no_number_is_left_out_and_its_step_counts():
    text = log(5) + '{"step": 6, "loss": NaN, "grad_norm": Infinity}\n{"step": 7, "loss": null, "tokens": 3}\n'
    seen = snapshot(text, working=True)
    assert seen.step == 7
    assert [step for step, _ in seen.curve("loss")] == [1, 2, 3, 4, 5]
    assert seen.last("grad_norm") == 1.0


@pytest.mark.parametrize(
    "line", ["", "{", "9", "[]", "null", '{"loss": 1}', '{"step": -1, "loss": 1}', '{"step": true, "loss": 1}',
             '{"step": 1e400}', '{"step": "3"}', '{"step": 3, "gradients": {"q": [1, 2]}}', '{"step": 3, "new": 1}',
             "[" * 100_000],
)  # fmt: skip
def test_lines_that_are_not_understood_change_nothing(line):
    assert snapshot(log(5) + line + "\n", working=True) == snapshot(log(5), working=True)


@pytest.mark.parametrize("samples", [None, 3, [3], [{}], [{"id": 1, "prompt": None, "answer": ["x"], "ended": "yes"}]])
def test_samples_of_any_shape_are_read(samples):
    seen = snapshot(json.dumps({"step": 0, "samples": samples}) + "\n", working=True)
    assert all(isinstance(sample.answer, str) and sample.ended is False for sample in seen.latest[1])


@calm
@given(st.integers(0, len(log(TOTAL))))
def test_a_log_cut_anywhere_shows_what_its_whole_lines_do(cut):
    text = log(TOTAL)
    whole = text[: text.rindex("\n", 0, cut) + 1] if "\n" in text[:cut] else ""
    if text[cut : cut + 1] != "\n":  # a line is whole before its end is written
        assert snapshot(text[:cut], working=True) == snapshot(whole, working=True)


@calm
@given(st.integers(0, TOTAL), st.integers(0, TOTAL))
def test_going_on_from_a_checkpoint_shows_each_step_once(stopped, again):
    """Even if a watcher met the old lines and the new ones together."""
    steps = [step for step, _ in snapshot(log(stopped) + log(again), working=True).curve("loss")]
    assert steps == list(range(1, max(stopped, again) + 1))


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "3", "nan"])
    | st.lists(st.integers())
    | st.dictionaries(st.sampled_from("ab"), st.none() | st.integers() | st.floats())
)
names = st.sampled_from(
    [
        "step",
        "steps",
        "loss",
        "task_losses",
        "task_eval_losses",
        "eval_loss",
        "samples",
        "stopped",
        "seconds",
        "tokens",
        "eval_seconds",
    ]
)


@calm
@given(
    st.lists(st.dictionaries(names, values), max_size=8), st.booleans(), st.booleans(), st.none() | st.integers(0, 9)
)
def test_no_log_is_too_strange_to_look_at(records, working, complete, checkpoint):
    text = "".join(json.dumps(record) + "\n" for record in records)
    seen = snapshot(text, working=working, complete=complete, checkpoint=checkpoint)
    assert isinstance(status(seen), str)
    assert [r["step"] for r in seen.steps] == sorted({r["step"] for r in seen.steps})
    assert seen.best is None or seen.best[1] == min(r["eval_loss"] for r in seen.measurements)
    assert seen.speed is None or seen.speed >= 0
    assert seen.seconds_left is None or seen.seconds_left >= 0 or min(r["seconds"] for r in seen.steps) < 0


def test_a_directory_is_read_with_lock_checkpoints_and_answers(tmp_path):
    assert read_run(tmp_path / "none") == Snapshot("waiting")
    (tmp_path / "eval").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "eval" / "heldout.jsonl").write_text("{}\n" * 72)
    (tmp_path / "eval" / "few_shot.jsonl").write_text("{}\n" * 24)
    with working_alone(tmp_path):
        assert status(read_run(tmp_path)) == "before training: 24 of 72 answers (few-shot)"
        (tmp_path / "metrics.jsonl").write_text(log(5))
        assert read_run(tmp_path).state == "training"
    for name in ("4", "5", "6.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert (read_run(tmp_path).state, read_run(tmp_path).checkpoint) == ("stopped", 5)
    (tmp_path / "eval" / "summary.json").write_text("{}")
    assert read_run(tmp_path).state == "finished"


def test_a_run_that_was_killed_says_from_where_it_goes_on():
    seen = snapshot(log(7), working=False, checkpoint=4)
    assert status(seen) == f"the process is gone, after step 7 of {TOTAL}; the same command goes on from step 4"


def test_the_end_of_the_log_shows_what_a_progress_bar_showed_last(tmp_path):
    assert log_tail(tmp_path) == ""
    (tmp_path / LOG).write_bytes(b"first\n\r 10%\r 20%\r\nerror: disk \xff full\n")
    assert log_tail(tmp_path, lines=2) == " 20%\nerror: disk \ufffd full"


def test_a_log_from_before_the_run_trained_on_tells_nothing_of_its_end(tmp_path):
    (tmp_path / LOG).write_text("error: of an earlier attempt")
    (tmp_path / "metrics.jsonl").write_text(log(5))
    os.utime(tmp_path / LOG, (1_000, 1_000))
    os.utime(tmp_path / "metrics.jsonl", (1_001, 1_001))
    assert log_tail(tmp_path) == ""
    os.utime(tmp_path / LOG, (1_001, 1_001))
    assert log_tail(tmp_path) == "error: of an earlier attempt"


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (150, "2 min"), (3_700, "1 h 2 min")])
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_watching_does_not_wait_for_jax():
    code = "import sys, helptune.experiment.terminal, helptune.train.stop; print('jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "False\n"
