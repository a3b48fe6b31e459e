"""A folder is whole or not there: whatever happens while it is written, its name never holds a part of it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helptune.errors import SettingError
from helptune.files import write_folder


def fill(folder):
    (folder / "a").write_text("1")
    (folder / "b").mkdir()
    (folder / "b" / "c").write_text("2")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_filled_with_the_permissions_of_any_other_file(tmp_path):
    (tmp_path / "plain").write_text("")

    def fill_privately(folder):
        assert not (tmp_path / "deep" / "out").exists()
        fill(folder)
        (folder / "a").chmod(0o600)

    write_folder(tmp_path / "deep" / "out", fill_privately)
    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep" / "out") == ["a", "b"]
    expected = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "deep" / "out" / "a").stat().st_mode == expected


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    write_folder(tmp_path / "out", fill)
    assert names(tmp_path / "out") == ["a", "b"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_there_is_never_touched(tmp_path, kind):
    out = tmp_path / "out"
    {"folder": lambda: fill_new(out), "file": lambda: out.write_text("mine"), "link": lambda: out.symlink_to("x")}[
        kind
    ]()
    with pytest.raises(SettingError, match="out: exists and is no"):
        write_folder(out, lambda folder: pytest.fail("work was begun"))
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", [".", "..", "/", "no/.."])
def test_a_folder_without_a_name_of_its_own_is_refused(name, tmp_path, monkeypatch):
    """Even an empty one: it could not be put in place."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="names no new folder; name one, such as"):
        write_folder(Path(name), lambda folder: pytest.fail("work was begun"))
    assert names(tmp_path) == []


def fill_new(folder):
    folder.mkdir()
    fill(folder)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_an_interruption_leaves_nothing(tmp_path, error):
    def fail(folder):
        fill(folder)
        raise error

    with pytest.raises(type(error)):
        write_folder(tmp_path / "out", fail)
    assert names(tmp_path) == []


SCRIPT = """
import sys
import time
from pathlib import Path

from helptune.files import write_folder

def fill(folder):
    (folder / "half").write_text("written")
    time.sleep(600)  # until it is killed

write_folder(Path(sys.argv[1]), fill)
"""


def test_a_killed_process_leaves_a_hidden_part_that_the_next_one_removes(tmp_path):
    out = tmp_path / "out"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)], env=env)
    part = tmp_path / f".out.{process.pid}.part"
    try:
        while not (part / "half").exists():
            assert process.poll() is None
            time.sleep(0.05)
        write_folder(tmp_path / "other", fill)
        assert part.exists()
        with_a_living_neighbour = names(tmp_path)
    finally:
        process.kill()
        process.wait()
    assert with_a_living_neighbour == [part.name, "other"]
    assert not out.exists()
    write_folder(out, fill)
    assert names(tmp_path) == ["other", "out"]
    assert names(out) == ["a", "b"]


def test_the_part_of_a_living_process_is_left_alone(tmp_path):
    living = tmp_path / f".out.{os.getppid()}.part"
    living.mkdir()
    write_folder(tmp_path / "out", fill)
    assert names(tmp_path) == [living.name, "out"]
