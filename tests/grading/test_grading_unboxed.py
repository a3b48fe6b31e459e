"""Without bwrap: less is around a submission, and these hold all the same; every result says how it was graded."""

import os
import shutil
import time

import pytest
from grading_class import HERE, LIMITS, NOTEBOOK, TWICE, notebook_with, submit

from helptune.exercises.grade import batch, sandbox
from helptune.exercises.grade.batch import grade_all
from helptune.exercises.grade.sandbox import Ended, Limits, Sandbox, trouble_with_bwrap

SHORT = Limits(cell_seconds=20, memory=300 * 2**20, disk=2**20)


@pytest.fixture
def worker():
    with Sandbox(SHORT, boxed=False) as running:
        yield running


@pytest.fixture
def worker_after_secret(monkeypatch):
    monkeypatch.setenv("A_SECRET", "4815162342")
    with Sandbox(SHORT, boxed=False) as running:
        yield running


def raised(worker, source):
    reply = worker.ask({"run": source, "name": "cell"})
    return reply.get("raised", {}).get("kind", "nothing")


def test_it_starts_no_process_and_reaches_no_network(worker):
    assert raised(worker, "import os\nos.fork()") == "PermissionError"
    assert raised(worker, "import socket\nsocket.socket()") == "PermissionError"
    assert raised(worker, "import os\nos.kill(os.getppid(), 9)") == "PermissionError"


def test_it_opens_no_files_but_pythons(worker, tmp_path):
    if "files" not in worker.protections:
        pytest.skip("this kernel has no Landlock")
    secret = tmp_path / "secret"
    secret.write_text("4815162342")
    assert raised(worker, f"open({str(secret)!r}).read()") == "PermissionError"
    assert raised(worker, f"open({str(tmp_path / 'new')!r}, 'w')") == "PermissionError"
    assert raised(worker, f"open({str(HERE / 'grading_class.py')!r})") == "PermissionError"
    assert raised(worker, f"open('/proc/{os.getpid()}/mem', 'rb')") == "PermissionError"
    assert raised(worker, "open('scratch', 'w').write('its own')") == "nothing"
    assert raised(worker, "import json, numpy") == "nothing"


def test_it_sees_nothing_of_our_environment(worker_after_secret):
    worker = worker_after_secret
    code = "import os\nassert not [name for name in os.environ if 'SECRET' in name or name == 'PWD']"
    assert raised(worker, code) == "nothing"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("while True: pass", "too_slow"),
        ("held = []\nwhile True: held.append(bytearray(b'x' * 10_000_000))", "too_much_memory"),
        ("import os\nos._exit(0)", "ended"),
        ("import os\nfor n in range(3, 64):\n  try: os.write(n, b'x' * 99)\n  except OSError: pass", "garbled"),
        ("import os\nos.closerange(0, 3)\nwhile True: pass", "too_slow"),
    ],
    ids=["loop", "memory", "exit", "noise", "deaf"],
)  # fmt: skip
def test_it_is_ended_and_the_reason_is_known(source, hint):
    limits = Limits(cell_seconds=4, memory=300 * 2**20)
    with Sandbox(limits, boxed=False) as running, pytest.raises(Ended) as ended:
        running.ask({"run": source, "name": "cell"})
    assert ended.value.hint == hint


def test_one_that_is_closed_leaves_no_process():
    import psutil

    running = Sandbox(SHORT, boxed=False)
    running.ask(
        {"run": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()", "name": "c"}
    )
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 5
    assert not psutil.pid_exists(running._process.pid)


def test_the_instructor_is_warned_and_every_result_is_marked(tmp_path, monkeypatch, caplog):
    """As on a machine without bwrap: its PATH has none."""
    monkeypatch.setenv("PATH", "/nowhere")
    trouble_with_bwrap.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    key = HERE / "keys" / NOTEBOOK / f"{NOTEBOOK}.py"
    shutil.copytree(key.parent, tmp_path / "solutions" / NOTEBOOK)
    submit(tmp_path / "submitted", "ann", notebook_with(key, twice=TWICE))
    done = grade_all(tmp_path / "submitted", tmp_path / "out", tmp_path / "solutions", jobs=1, limits=LIMITS)
    trouble_with_bwrap.cache_clear()
    assert "WARNING: bwrap is not installed" in caplog.text
    assert [what for what, _ in done.results[0]["flags"]] == ["unsandboxed"]
    assert done.results[0]["questions"][1]["points"] == 1
    assert "unsandboxed" in (tmp_path / "out" / batch.MARKS).read_text()
