"""What JAX computes on here: how much memory a device offers, how XLA takes it, and which attention runs on it.

The sentences are functions of plain facts, so that what a machine with a GPU is told can be read and tested on one
without. JAX takes three quarters of a GPU at the first operation unless it is told otherwise
(https://docs.jax.dev/en/latest/201/gpu-memory.html).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import psutil

from helptune.train.topology import Topology

_FRACTION, _FRACTION_NAMES = 0.75, ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
_CUDNN_WIDE_HEADS = (9, 0)  # compute capability from which cuDNN's flash attention takes heads wider than 128


@dataclass(frozen=True)
class Device:
    """One device. `memory` is what XLA may use of it, in bytes; CPU devices share what the system has available.

    `capability` is the compute capability of an NVIDIA GPU, such as 9.0, and empty elsewhere.
    """

    name: str
    platform: str
    kind: str
    memory: int
    capability: str = ""


def local_devices() -> list[Device]:
    """The devices of this process."""
    found = jax.local_devices()
    shared = psutil.virtual_memory().available // len(found)
    return [
        Device(
            name=str(device),
            platform=device.platform,
            kind=device.device_kind,
            memory=(device.memory_stats() or {}).get("bytes_limit", shared),
            capability=str(getattr(device, "compute_capability", "")),
        )
        for device in found
    ]


def this_machine() -> Topology:
    """All devices of the run, each with the memory of the smallest one here."""
    devices = local_devices()
    memory = min(device.memory for device in devices)
    return Topology("this machine", devices[0].platform, jax.device_count(), memory, None)


def counted(kinds: Iterable[str]) -> str:
    """`8 x NVIDIA H100 80GB HBM3`."""
    return ", ".join(f"{count} x {kind}" for kind, count in Counter(kinds).items())


def preallocation(platform: str, variables: Mapping[str, str]) -> str:
    """How XLA takes a device's memory under these environment variables, and what to set to change it."""
    if platform != "gpu":
        return (
            "none: memory is taken as it is needed" if platform == "cpu" else "the whole device belongs to one process"
        )
    if variables.get("XLA_PYTHON_CLIENT_ALLOCATOR", "").lower() == "platform":
        return (
            "none: every array is taken from and given back to the driver (XLA_PYTHON_CLIENT_ALLOCATOR), which is slow"
        )
    name = next((name for name in _FRACTION_NAMES if variables.get(name)), "")
    try:
        share = f"{float(variables[name]) if name else _FRACTION:.0%} of the device"
    except ValueError:
        return f"{name}={variables[name]!r} is no number: JAX will not start; set it to 0.95 or unset it"
    if variables.get("XLA_PYTHON_CLIENT_PREALLOCATE") in ("false", "False", "0"):
        return f"none (XLA_PYTHON_CLIENT_PREALLOCATE): memory is taken as it is needed, up to {share}"
    if name:
        return f"{share} at the first operation ({name})"
    return f"{share} at the first operation; {_FRACTION_NAMES[0]}=0.95 gives a large model more"


def attention(device: Device) -> str:
    """The attention code that runs on a device, and why not another. It is the same, exact one everywhere."""
    ours = "XLA, exact, a block of queries at a time, with a gradient that keeps no scores"
    if device.platform != "gpu":
        return ours
    if not device.capability:
        return f"{ours}; cuDNN's flash attention is for NVIDIA GPUs"
    if tuple(int(n) for n in device.capability.split(".")) < _CUDNN_WIDE_HEADS:
        return (
            f"{ours}; cuDNN's flash attention takes Gemma's heads of 256 from compute capability 9.0 (Hopper) on, this "
            f"is {device.capability}"
        )
    return f"{ours}; cuDNN's flash attention would need a mask for packed rows here, and was not tested: it is not used"
