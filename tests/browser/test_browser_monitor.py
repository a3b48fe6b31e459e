"""The monitor where it is used: a notebook in JupyterLab, in a real browser, with a run that really trains.

A tiny model in the published layout, so that a step takes a part of a second. It is one long story, because starting
the server, the browser and the run takes most of the time.
"""

import json
import time
from dataclasses import replace

import jax
import pytest
from gemma_layouts import write_hugging_face, write_tokenizer
from lab import MARKS, PATIENCE, opened, picture, run_all_cells, write_notebook

from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.lock import is_worked_on
from helptune.train.stop import request_stop

pytestmark = MARKS

HOSTILE = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>\u202edrawkcab \x1b[2J"
OPTIONS = {
    "--model": "config.json", "--max-steps": 300, "--epochs": 1_000, "--eval-every": 4, "--patience": 1_000,
    "--seq-len": 64, "--batch-rows": 512, "--rank": 4, "--max-new-tokens": 4, "--base": "float32",
}  # fmt: skip
STATE = ".jupyter-widgets .state."
BUTTON = "button.jupyter-button:has-text('Stop'):enabled"
CURVE = ".jupyter-widgets .pictures [role=img]"


def conversation(name, category, question, answer):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": name, "source": "test", "license": "Apache-2.0", "messages": messages, "category": category}


@pytest.fixture
def run(tmp_path):
    """The directory of a run, beside the checkpoint, the data and the notebook that starts it."""
    kinds = ("facts", "write", "explain")
    train = [conversation(f"t{i}", kinds[i // 10], f"What is {i} and {i}?", f"It is {2 * i}.") for i in range(30)]
    train[9]["messages"][0]["content"] += HOSTILE[:-5]  # held back: its prompt is shown
    heldout = [conversation("h0", "facts", "What is one plus one?", "It is two.")]
    config = replace(tiny(1, vocab=512), width=64, context=2_048)
    write_hugging_face(tmp_path / "gemma", init_base(config, jax.random.key(0), "bfloat16"))
    write_tokenizer(tmp_path / "gemma", (m["content"] for r in train for m in r["messages"]), 512)
    for name, records in (("train", train), ("heldout", heldout)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    files = {"--checkpoint": "gemma", "--data": "train.jsonl", "--heldout": "heldout.jsonl"}
    words = [str(word) for pair in (OPTIONS | files).items() for word in pair]
    code = (
        f"import os; os.chdir({str(tmp_path)!r})\nfrom helptune.experiment.monitor import start\nstart({words}, 'run')"
    )
    write_notebook(tmp_path, code)
    yield tmp_path / "run"
    if is_worked_on(tmp_path / "run"):  # the test failed half way
        request_stop(tmp_path / "run")


@pytest.fixture
def page(run):
    with opened(run.parent) as page:
        yield page


def steps(run):
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return [line["step"] for line in map(json.loads, lines) if "loss" in line]


def wait_until(holds, what):
    until = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def test_a_run_is_seen_stopped_and_goes_on_in_jupyterlab(run, page):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    run_all_cells(page)
    page.wait_for_selector(STATE + "training")
    assert not page.locator(".helptune-still").is_visible()  # it is for where the widget does not live
    before = page.locator(CURVE).first.inner_html()
    page.wait_for_function(f"old => document.querySelector('{CURVE}').innerHTML !== old", arg=before)
    wait_until(lambda: len(steps(run)) >= 6, "the run makes no steps")
    picture(page, "training")

    # By keyboard, as whoever uses no mouse: the step under way is the last one, or the one that began meanwhile.
    stop = page.locator(BUTTON)
    stop.focus()
    known = len(steps(run))
    page.keyboard.press("Space")
    page.wait_for_selector(STATE + "stopped")
    stopped = steps(run)[-1]
    assert known <= stopped <= known + 2
    assert (run / "checkpoints" / str(stopped)).is_dir()
    assert not (run / "stop").exists()
    assert not is_worked_on(run)
    assert (
        f"at step {stopped} of 300; run start(...) again to go on"
        in page.locator(".jupyter-widgets [role=status]").inner_text()
    )
    picture(page, "stopped")

    # What models wrote is text, whatever it says; here is a line as the run would log it.
    sample = {"id": "t9", "prompt": HOSTILE, "answer": HOSTILE + "long " * 10_000, "ended": False}
    with (run / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"step": stopped, "samples": [sample]}) + "\n")
    page.wait_for_function(
        "() => document.querySelector('.jupyter-widgets .answer.now')?.innerText.includes('long long')"
    )
    shown = page.locator(".jupyter-widgets .answer.now .text").inner_text()
    assert shown.startswith("<script>window.pwned = 1</script><img src=x")
    assert "\u202e" not in shown
    assert len(shown) < 3_000
    assert page.locator(".helptune-monitor script, .helptune-monitor img").count() == 0
    assert page.evaluate("() => window.pwned === undefined")
    picture(page, "hostile")

    run_all_cells(page)
    wait_until(lambda: len(steps(run)) > stopped + 2, "the run does not go on")
    page.wait_for_selector(STATE + "training")
    page.locator(BUTTON).click()
    page.wait_for_selector(STATE + "stopped")
    assert steps(run) == list(range(1, len(steps(run)) + 1))
    assert dialogs == []

    # A saved notebook, opened where no kernel knows the widget.
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.reload(timeout=PATIENCE)
    page.wait_for_selector(".helptune-still .state")
    assert page.locator(".helptune-still svg").first.is_visible()
    picture(page, "still")
