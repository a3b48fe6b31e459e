"""What the doctor says of machines that are not here: the GPUs are made up, the sentences are those a user reads."""

import re

import pytest
from rich.console import Console

from helptune.experiment.devices import Device, attention, preallocation
from helptune.experiment.doctor import examine, fitting, show
from helptune.train.topology import Topology

GIB = 2**30
H100 = 60 * GIB  # what JAX takes of 80 GB by default


def rows(memory, count):
    found = fitting(Topology("made up", "gpu", count, memory, None))
    return {(row["preset"], row["devices"]): row["fits"] for row in found}


def test_one_large_gpu_holds_both_presets():
    assert rows(H100, 1) == {("gemma-3-270m", 1): True, ("gemma-7b-it", 1): True}


def test_eight_small_gpus_hold_together_what_one_does_not():
    found = rows(16 * GIB, 8)
    assert (found["gemma-7b-it", 1], found["gemma-7b-it", 8]) == (False, True)


def test_a_batch_that_cannot_be_cut_over_all_devices_is_left_out():
    """Four rows and eight devices."""
    assert ("gemma-3-270m", 8) not in rows(H100, 8)


@pytest.fixture(scope="module")
def here():
    return examine()


def told(found):
    console = Console(width=400)
    with console.capture() as captured:
        show(found, console)
    return captured.get()


def test_a_cpu_is_told_how_long_the_main_job_takes_and_what_plan_needs(here):
    text = told(here)
    assert f"about {here['finetune_minutes']} minutes here" in text
    assert "memory is taken as it is needed" in text
    assert "cpu:8: ready" in text
    assert ".[plan-gpu]" in text or "h100:8: ready" in text


def test_eight_gpus_are_told_memory_preallocation_attention_and_what_fits(here):
    device = Device("cuda:0", "gpu", "NVIDIA H100 80GB HBM3", H100, "9.0")
    machine = Topology("made up", "gpu", 8, H100, None)
    text = told(
        here
        | {
            "devices": [vars(device)] * 8,
            "processes": 2,
            "preallocation": preallocation("gpu", {}),
            "attention": attention(device),
            "presets": fitting(machine),
            "finetune_minutes": None,
            "xla_flags": "--xla_gpu_deterministic_ops=true",
        }
    )
    for expected in (
        "8 x NVIDIA H100 80GB HBM3 (60.0 GiB) in each of 2 processes",
        "75% of the device at the first operation; XLA_CLIENT_MEM_FRACTION=0.95",
        "cuDNN's flash attention would need a mask",
        "GiB on each of 8 devices",
        "--xla_gpu_deterministic_ops=true",
        "not measured on such a device",
    ):
        assert expected in text
    assert re.search(r"gemma-7b-it fits \(\d+\.\d GiB on one device\)", text)
