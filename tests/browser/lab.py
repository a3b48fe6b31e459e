"""JupyterLab in a real browser, for tests that click in it. $HELPTUNE_SCREENSHOTS names a folder for pictures of it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
CHROMIUM = os.environ.get("HELPTUNE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
MARKS = [
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


def write_notebook(folder, code):
    """`folder`/lab/run.ipynb with one cell."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata={"kernelspec": kernel})
    (folder / "lab").mkdir()
    nbformat.write(notebook, folder / "lab" / "run.ipynb")


def copy_notebook(folder, path, until=None):
    """A notebook of the course as `folder`/lab/run.ipynb, with none of its outputs: what is seen was made here.

    With `until`, it ends after the first cell of code that holds this text.
    """
    notebook = nbformat.read(path, as_version=4)
    if until:
        found = [
            number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code" and until in cell.source
        ]
        notebook.cells = notebook.cells[: found[0] + 1]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (folder / "lab").mkdir()
    nbformat.write(notebook, folder / "lab" / "run.ipynb")


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
        "HELPTUNE_PROGRESS": str(home / "progress.json"),
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


@contextmanager
def opened(folder):
    """The page of the notebook that `write_notebook` wrote, its kernel ready."""
    with jupyterlab(folder / "lab", folder / "home") as address, playwright.sync_playwright() as tool:
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


def wait_for_the_last_cell(page):
    """Until the last code cell has run. Fails with what a cell before it raised."""
    cells = "window.jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.type === 'code')"
    failed = f"{cells}.some(cell => cell.model.outputs.toJSON().some(output => output.output_type === 'error'))"
    done = f"{cells}.every(cell => cell.model.executionCount > 0 && cell.model.executionState !== 'running')"
    page.wait_for_function(f"() => {failed} || {done}", timeout=3 * PATIENCE)
    outputs = f"{cells}.flatMap(cell => cell.model.outputs.toJSON())"
    assert page.evaluate(f"() => {outputs}.filter(output => output.output_type === 'error')") == []


def picture(page, name):
    folder = os.environ.get("HELPTUNE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png")
