"""What a machine is told about its devices. The GPUs and TPUs here are made up: facts as such machines report them."""

import jax
import pytest

from helptune.experiment.devices import Device, attention, counted, local_devices, preallocation, this_machine

A100 = Device("cuda:0", "gpu", "NVIDIA A100-SXM4-80GB", 63_825_051_648, "8.0")
H100 = Device("cuda:0", "gpu", "NVIDIA H100 80GB HBM3", 63_707_234_304, "9.0")
AMD = Device("rocm:0", "gpu", "AMD Instinct MI300X", 150_000_000_000)
TPU = Device("TPU_0", "tpu", "TPU v5 lite", 16_909_336_064)
CPU = Device("cpu:0", "cpu", "cpu", 8 * 2**30)


def test_this_machine_offers_what_its_system_has_available():
    (device, *_) = found = local_devices()
    assert len(found) == jax.local_device_count()
    assert (device.platform, device.capability) == ("cpu", "")
    machine = this_machine()
    assert (machine.platform, machine.count) == ("cpu", jax.device_count())
    assert machine.memory > 2**30


def test_devices_of_a_kind_are_counted():
    assert counted([H100.kind] * 8) == "8 x NVIDIA H100 80GB HBM3"
    assert counted([CPU.kind, H100.kind]) == "1 x cpu, 1 x NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("platform", "variables", "told"),
    [
        ("cpu", {}, "none: memory is taken as it is needed"),
        ("tpu", {}, "the whole device belongs to one process"),
        ("gpu", {}, "75% of the device at the first operation; XLA_CLIENT_MEM_FRACTION=0.95 gives a large model more"),
        ("gpu", {"XLA_CLIENT_MEM_FRACTION": "0.95"}, "95% of the device at the first operation (XLA_CLIENT_MEM_FR"),
        ("gpu", {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".5"}, "50% of the device at the first operation (XLA_PYTHON_CLI"),
        ("gpu", {"XLA_CLIENT_MEM_FRACTION": "most"}, "XLA_CLIENT_MEM_FRACTION='most' is no number: JAX will not start"),
        ("gpu", {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, "none (XLA_PYTHON_CLIENT_PREALLOCATE): memory is taken as"),
        ("gpu", {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}, "75% of the device at the first operation"),
        ("gpu", {"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}, "none: every array is taken from and given back to the"),
    ],
)
def test_how_memory_is_taken_follows_the_environment(platform, variables, told):
    assert preallocation(platform, variables).startswith(told)


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (CPU, ""),
        (TPU, ""),
        (AMD, "is for NVIDIA GPUs"),
        (A100, "takes Gemma's heads of 256 from compute capability 9.0 (Hopper) on, this is 8.0"),
        (H100, "would need a mask for packed rows"),
    ],
)
def test_the_same_exact_attention_runs_everywhere_and_says_why(device, why):
    assert attention(device).startswith("XLA, exact")
    assert why in attention(device)
    assert ("cuDNN" in attention(device)) == bool(why)
