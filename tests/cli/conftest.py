"""The command line in this process, on a tiny base."""

import sys

import pytest

from helptune import cli
from helptune.gemma import checkpoints


@pytest.fixture
def helptune(monkeypatch, capsys, word_base):
    """Run the entry point in this process on a tiny base: arguments -> (exit code, stdout, stderr)."""
    intact = checkpoints._is_intact
    monkeypatch.setattr(checkpoints, "_is_intact", lambda path: path.suffix == ".safetensors" or intact(path))
    monkeypatch.setattr(checkpoints, "_from_flat", lambda path, config: word_base)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["helptune", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run
