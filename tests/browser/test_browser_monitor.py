"""The monitor where it is used: a notebook in JupyterLab, in a real browser, with a run that really trains.

A tiny model in the published layout, so that a step takes a part of a second. It is one long story, because starting
the server, the browser and the run takes most of the time. $HELPTUNE_SCREENSHOTS names a folder to keep pictures in.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import nbformat
import pytest
from gemma_layouts import write_hugging_face, write_tokenizer

from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.lock import is_worked_on
from helptune.train.stop import request_stop

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install -e '.[browser]'")
CHROMIUM = os.environ.get("HELPTUNE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path; name one with $HELPTUNE_CHROMIUM"),
]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
]
PATIENCE = 120_000  # milliseconds: a busy machine starts a kernel slowly
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
    (tmp_path / "lab").mkdir()
    code = (
        f"import os; os.chdir({str(tmp_path)!r})\nfrom helptune.experiment.monitor import start\nstart({words}, 'run')"
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "lab" / "run.ipynb")
    yield tmp_path / "run"
    if is_worked_on(tmp_path / "run"):  # the test failed half way
        request_stop(tmp_path / "run")


@contextmanager
def jupyterlab(folder, home):
    """Address of a server of our own on this machine, with settings of its own."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
    }
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
        "--IdentityProvider.token=abc", "--expose-app-in-browser", f"--notebook-dir={folder}",
    ]  # fmt: skip
    with (home / "lab.txt").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + PATIENCE / 1000
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=abc")
                break
            except OSError:
                assert server.poll() is None, (home / "lab.txt").read_text()
                assert time.monotonic() < until, (home / "lab.txt").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/run.ipynb?token=abc&reset"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:  # it may wait for ever for a kernel that was restarted behind its back
            server.kill()
            server.wait()


@pytest.fixture
def page(run):
    """The notebook, open in a browser, its kernel ready."""
    home = run.parent / "home"
    with jupyterlab(run.parent / "lab", home) as address, playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(address, timeout=PATIENCE)
        kernel = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        page.wait_for_function(f"() => {kernel}", timeout=PATIENCE)
        yield page
        browser.close()


def run_all_cells(page):
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")


def steps(run):
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return [line["step"] for line in map(json.loads, lines) if "loss" in line]


def wait_until(holds, what):
    until = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def picture(page, name):
    folder = os.environ.get("HELPTUNE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png")


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
