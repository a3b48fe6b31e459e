"""The memory that is held, and the most that was, by this process and by its accelerators."""

import resource
import sys
from pathlib import Path

import jax
import psutil


def peak_rss_gib() -> float:
    """Largest memory this process has held, in GiB.

    Linux tells it for the process alone; the usage record, taken elsewhere, would count the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def peak_device_gib() -> float:
    """Largest memory that one of this process's accelerators has held, in GiB; 0 on a CPU, which does not count it."""
    return max((d.memory_stats() or {}).get("peak_bytes_in_use", 0) for d in jax.local_devices()) / 2**30


def memory_gib() -> float:
    """What one of this process's accelerators holds now, the fullest; on a CPU what the process holds."""
    device = max((d.memory_stats() or {}).get("bytes_in_use", 0) for d in jax.local_devices())
    return (device or psutil.Process().memory_info().rss) / 2**30
