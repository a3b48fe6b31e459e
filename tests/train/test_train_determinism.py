"""Laws of determinism: two processes that run the same command give the same bits, on a device and on many."""

import os
import subprocess
import sys

import mesh_runs
import pytest
from train_runs import metrics

from helptune.adapt.artifact import WEIGHTS
from helptune.errors import SettingError
from helptune.train.determinism import FLAGS, make_deterministic

WANTED = [f"{name}={value}" for name, value in FLAGS.items()]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    for folder, process in [(folder, mesh_runs.start("twice_the_same", folder)) for folder in folders]:
        mesh_runs.finish(process)
        assert (folder / "one").exists()
    return folders


@pytest.mark.parametrize("devices", ["one", "mesh"])
def test_two_processes_give_the_same_bits(two_runs, devices):
    first, second = (folder / devices for folder in two_runs)
    assert metrics(first) == metrics(second)
    assert (first / "adapter" / WEIGHTS).read_bytes() == (second / "adapter" / WEIGHTS).read_bytes()


def test_the_option_adds_its_flags_and_keeps_those_that_are_there():
    """In a process of its own: here JAX has started."""
    script = (
        "import os; from helptune.train.determinism import make_deterministic;"
        "make_deterministic(); make_deterministic(); import jax; jax.devices(); make_deterministic();"
        "print(os.environ['XLA_FLAGS'])"
    )
    env = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["--xla_backend_optimization_level=0", *WANTED]


def test_flags_that_came_too_late_are_an_error(monkeypatch, tiny_base):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with pytest.raises(SettingError, match="JAX has started without --xla_gpu_deterministic_ops=true"):
        make_deterministic()
    assert "XLA_FLAGS" not in os.environ


def test_flags_that_say_otherwise_are_an_error(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
    with pytest.raises(SettingError, match=r"has --xla_gpu_deterministic_ops=false: .* needs"):
        make_deterministic()
