"""Loading onto a mesh: the parts equal the whole, nothing is read twice, and a process reads only its own parts.

The meshes need 8 devices, and the last law two processes; both run beside the tests, once for all of them.
"""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from gemma_layouts import kaggle_tree, write_hugging_face, write_orbax
from gemma_load_process import CASES, CONFIG, MESHES
from jax.sharding import AbstractMesh

from helptune.errors import SettingError
from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.config import tiny
from helptune.gemma.sharding import MESH_AXES

NORMS = (CONFIG.layers * 2 + 1) * CONFIG.width


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, base = tmp_path_factory.mktemp("checkpoints"), init_base(CONFIG, jax.random.key(0))
    write_hugging_face(folder / "hf", base)
    write_orbax(folder / "orbax", kaggle_tree(base))
    return folder


def run(folder, processes):
    """(layout, precision, mesh) -> the result of each process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parent / "gemma_load_process.py"
    commands = [[sys.executable, script, folder, str(i), str(processes), str(port)] for i in range(processes)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    results = zip(*(json.loads(output.splitlines()[-1]) for output in outputs), strict=True)
    return {(r[0]["layout"], r[0]["precision"], tuple(r[0]["mesh"])): r for r in results}


@pytest.fixture(scope="module")
def one_process(folder):
    return run(folder, 1)


@pytest.fixture(scope="module")
def two_processes(folder):
    return run(folder, 2)


@pytest.mark.parametrize("processes", ["one_process", "two_processes"])
def test_every_part_on_every_mesh_is_that_part_of_the_whole(processes, request):
    """In float32, quantized while loading, and from both layouts."""
    found = [r for results in request.getfixturevalue(processes).values() for r in results if "error" not in r]
    assert [r for r in found if r["wrong"]] == []
    assert {(r["layout"], r["precision"]) for r in found} == set(CASES)


def test_no_value_is_read_twice_by_a_process(one_process):
    """Also where many devices hold the same part."""
    for case, (result,) in one_process.items():
        assert result["read"] == (0 if "error" in result else CONFIG.parameters), case


@pytest.mark.parametrize("layout", ["hf", "orbax"])
def test_a_process_reads_only_what_its_devices_hold(layout, two_processes):
    """Under full sharding that is half of every matrix, and the norms."""
    for result in two_processes[layout, "float32", (1, 8, 1)]:
        assert result["read"] == (CONFIG.parameters - NORMS) // 2 + NORMS


def test_a_mesh_that_cuts_a_group_of_the_quantization_is_refused_before_reading(one_process):
    refused = {case: r["error"] for case, (r,) in one_process.items() if "error" in r}
    assert set(refused) == {("hf", precision, mesh) for precision in ("int8", "int4") for mesh in MESHES[1:3]}
    assert "width=128 in groups of 32 cannot be cut in fsdp=8" in refused["hf", "int4", (1, 8, 1)]


def test_a_mesh_that_does_not_divide_the_model_is_refused(folder):
    mesh = AbstractMesh((1, 1, 8), MESH_AXES)
    with pytest.raises(SettingError, match="does not divide tiny-1: heads=4"):
        load_checkpoint(folder / "hf", tiny(1), mesh=mesh)
