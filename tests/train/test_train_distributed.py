"""Laws of a run on several hosts: it is the run of one process, and when a host dies the others say so and end.

The hosts are processes here that talk over loopback, each with two of the run's four devices.
"""

import socket
import time
from contextlib import ExitStack

import jax
import mesh_runs
import pytest
from train_runs import eval_losses, metrics

from helptune.adapt.artifact import WEIGHTS
from helptune.errors import SettingError
from helptune.train.distributed import place

FULL = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the processes of these tests keep what they have compiled: all of them run the same program."""
    folder = str(tmp_path_factory.mktemp("cache"))
    return {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@pytest.fixture(scope="module")
def start_two(cache):
    """start_two(run, ...) starts both processes of a run; none is left when the tests end."""
    with ExitStack() as stack:

        def start(run, *arguments):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            both = []
            for number in range(2):
                place = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(number)}
                both.append(mesh_runs.start("one_of_many", run, *arguments, devices=2, **place, **cache))
                stack.callback(both[-1].kill)
            return both

        yield start


@pytest.fixture(scope="module")
def together(tmp_path_factory, start_two):
    """(folder, what each of two processes printed) of a run in which nothing happened."""
    run = tmp_path_factory.mktemp("together") / "run"
    return run, [mesh_runs.finish(process) for process in start_two(run)]


def wait_for_step(run, step, *processes):
    log = run / "metrics.jsonl"
    while not (log.exists() and f'"step": {step}, "loss"' in log.read_text()):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def test_two_processes_train_what_one_with_all_devices_does(tmp_path, together, cache):
    mesh_runs.finish(mesh_runs.start("one_of_many", tmp_path / "run", devices=4, **cache))
    for ours, theirs in zip(metrics(together[0]), metrics(tmp_path / "run"), strict=True):
        close = 2e-2 if "gradients" in ours else 1e-5  # these are written with three digits
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        assert jax.tree.leaves(ours) == pytest.approx(jax.tree.leaves(theirs), rel=close)


def test_all_processes_know_the_result_and_only_the_first_writes(together):
    run, results = together
    assert [result.pop("process") for result in results] == [0, 1]
    assert results[0] == results[1]
    assert [line["step"] for line in metrics(run) if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_when_a_host_dies_the_other_says_so_and_ends_and_once_both_are_back_the_run_ends_with_the_same_bits(
    tmp_path, together, start_two
):
    run = tmp_path / "run"
    for victim, step, checkpoint in ((0, 3, 2), (1, 5, 4)):
        both = start_two(run)
        wait_for_step(run, step, *both)
        both[victim].kill()
        _, errors = both[1 - victim].communicate(timeout=100)
        assert both[1 - victim].returncode == 1
        assert "error: a host of this run is gone after step " in errors
        assert f"start all processes again to go on from the checkpoint of step {checkpoint}" in errors
    for process in start_two(run):
        mesh_runs.finish(process)
    assert metrics(run) == metrics(together[0])
    assert (run / "adapter" / WEIGHTS).read_bytes() == (together[0] / "adapter" / WEIGHTS).read_bytes()


def test_ctrl_c_on_one_host_stops_all_after_the_same_step(tmp_path, start_two):
    for process in start_two(tmp_path / "run", 3):
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 130
        assert "stopped after step 3 of 6; run the same command again" in errors
    assert list(eval_losses(tmp_path / "run")) == [0, 2]
    assert (tmp_path / "run/adapter" / WEIGHTS).exists()


def test_without_the_variables_a_run_has_one_process():
    assert place({}) is None
    assert place({"JOB_COMPLETION_INDEX": "3"}) is None  # every indexed job of Kubernetes has one


def test_the_place_in_a_run_is_read_from_the_environment():
    assert place(FULL) == ("10.0.0.1:1234", 4, 3)
    indexed = {name: text for name, text in FULL.items() if name != "JAX_PROCESS_ID"} | {"JOB_COMPLETION_INDEX": "1"}
    assert place(indexed) == ("10.0.0.1:1234", 4, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": ""}, "JAX_COORDINATOR_ADDRESS not set"),
        ({"JAX_NUM_PROCESSES": ""}, "JAX_NUM_PROCESSES not set"),
        ({"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID not set"),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "must be host:port"),
        ({"JAX_NUM_PROCESSES": "four"}, "JAX_NUM_PROCESSES='four': must be a whole number"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID=4: with JAX_NUM_PROCESSES=4 the processes are 0 to 3"),
    ],
)
def test_an_environment_that_does_not_fit_is_an_error_that_names_the_variable(change, message):
    with pytest.raises(SettingError, match=message):
        place(FULL | change)


def test_a_process_without_a_number_is_told_both_names_it_could_have():
    with pytest.raises(SettingError, match=r"JAX_PROCESS_ID \(or JOB_COMPLETION_INDEX\) not set"):
        place({name: text for name, text in FULL.items() if name != "JAX_PROCESS_ID"})
