"""Devices that are not here: XLA compiles the real step for them and says what memory it takes.

A name such as `cpu:8`, `h100:8` or `v5e:2x4` stands for the devices of one machine or slice. Ahead-of-time compilation
needs no hardware: a CPU can be split into virtual devices, and the compilers for NVIDIA GPUs and for TPUs install from
PyPI without driver or device (https://docs.jax.dev/en/latest/aot.html).
"""

import contextlib
import importlib.util
import math
import os
import re
from dataclasses import dataclass
from typing import Any

import jax
import psutil

from helptune.errors import SettingError


@dataclass(frozen=True)
class Gpu:
    """What XLA's compiler asks about a GPU. Memory in bytes, bandwidth in bytes/s, clock in GHz, speed in dense
    bfloat16 TFLOP/s; `accelerated` compiles for the features of exactly this generation (sm_90a, sm_100a).
    """

    title: str
    capability: tuple[int, int]
    accelerated: bool
    memory: int
    cores: int
    fpus: int
    bandwidth: float
    l2_cache: int
    clock: float
    threads_per_core: int
    core_shared_memory: int
    block_shared_memory: int
    tflops: float


# Figures of XLA's own target specifications (openxla/xla, xla/backends/gpu/target_config/specs); the L4, which has none
# there, from CUDA's deviceQuery and NVIDIA's data sheet. tflops from NVIDIA's data sheets.
GPUS = {
    "l4": Gpu("NVIDIA L4", (8, 9), False, 23_583_784_960, 58, 128, 300e9, 50_331_648, 2.04, 1536, 102_400, 101_376,
              121.0),
    "a100-40": Gpu("NVIDIA A100-SXM4-40GB", (8, 0), False, 42_331_013_120, 108, 64, 1555.2e9, 41_943_040, 1.41, 2048,
                   167_936, 166_912, 312.0),
    "a100-80": Gpu("NVIDIA A100-SXM4-80GB", (8, 0), False, 85_100_068_864, 108, 64, 2039.04e9, 41_943_040, 1.41, 2048,
                   167_936, 166_912, 312.0),
    "h100": Gpu("NVIDIA H100 80GB HBM3", (9, 0), True, 84_942_979_072, 132, 128, 3352.32e9, 52_428_800, 1.98, 2048,
                233_472, 232_448, 989.0),
    "h200": Gpu("NVIDIA H200 141GB HBM3e", (9, 0), True, 151_397_597_184, 132, 128, 4800e9, 52_428_800, 1.98, 2048,
                233_472, 232_448, 989.0),
    "b200": Gpu("NVIDIA B200", (10, 0), True, 191_514_411_008, 148, 128, 7672.32e9, 132_644_864, 1.965, 2048,
                233_472, 232_448, 2250.0),
}  # fmt: skip

# kind -> (bytes of HBM a chip, dense bfloat16 TFLOP/s), from Cloud TPU's system architecture pages.
TPUS = {"v5e": (16 * 2**30, 197.0), "v5p": (95 * 2**30, 459.0), "v6e": (32 * 2**30, 918.0)}

_GPUS_PER_HOST = 8
_NAME = re.compile(r"(?P<kind>[a-z0-9-]+?)(?::(?P<shape>[1-9]\d*(?:x[1-9]\d*)*))?")


@dataclass(frozen=True)
class Topology:
    """`count` devices of one kind. `memory`: bytes of one device, of the host's when CPU devices share it; `tflops` of
    one device, None where it is to be measured.
    """

    name: str
    platform: str
    count: int
    memory: int
    tflops: float | None

    @property
    def extra(self) -> str | None:
        """What `pip install -e '.[...]'` needs so that this topology can be compiled for; None: nothing."""
        needs = {"cpu": None, "gpu": ("jax_cuda12_plugin", "plan-gpu"), "tpu": ("libtpu", "plan-tpu")}[self.platform]
        return None if needs is None or importlib.util.find_spec(needs[0]) else needs[1]

    @property
    def install(self) -> str:
        """The command that brings the `extra`."""
        return f"pip install -e '.[{self.extra}]'"


def parse_topology(name: str) -> Topology:
    """`cpu:8`, `h100`, `h100:8`, `v5e:2x4`. Raises SettingError that lists the known kinds."""
    match = _NAME.fullmatch(name.lower())
    kind, shape = (match["kind"], match["shape"] or "1") if match else ("", "1")
    count = math.prod(int(n) for n in shape.split("x"))
    if kind == "cpu" and "x" not in shape:
        return Topology(f"cpu:{count}", "cpu", count, psutil.virtual_memory().total // count, None)
    if kind in GPUS and "x" not in shape:
        if count > _GPUS_PER_HOST and count % _GPUS_PER_HOST:
            raise SettingError(
                f"topology {name!r}: {count} GPUs are not whole hosts of {_GPUS_PER_HOST}; use 1 to 8, or 16, 24, ..."
            )
        return Topology(f"{kind}:{count}", "gpu", count, GPUS[kind].memory, GPUS[kind].tflops)
    axes = 3 if kind == "v5p" else 2
    if kind in TPUS and shape.count("x") == axes - 1:
        return Topology(f"{kind}:{shape}", "tpu", count, *TPUS[kind])
    raise SettingError(
        f"topology {name!r} is unknown: use cpu:COUNT; {', '.join(GPUS)} with :COUNT; v5e:ROWSxCOLUMNS, "
        "v6e:ROWSxCOLUMNS or v5p:XxYxZ, for example h100:8 or v5e:2x4"
    )


def compile_devices(topology: Topology) -> list[Any]:
    """Devices to build a Mesh of and compile for; those of GPUs and TPUs cannot hold an array.

    Raises SettingError when the compiler is not installed, or when JAX has already started with fewer CPU devices.
    """
    from jax.experimental import topologies

    if topology.extra:
        raise SettingError(f"compiling for {topology.name} needs an optional package: {topology.install}")
    if topology.platform == "cpu":
        return _cpu_devices(topology.count)
    kind = topology.name.split(":")[0]
    if topology.platform == "gpu":
        hosts, gpus = max(topology.count // _GPUS_PER_HOST, 1), min(topology.count, _GPUS_PER_HOST)
        options = {"target_config": _target_config(GPUS[kind]), "topology": f"1x{hosts}x{gpus}"}
        return list(topologies.get_topology_desc(platform="cuda", topology_name="", **options).devices)
    # libtpu looks for the machine's own metadata server unless it is told that there is none.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology.name).devices)
    except jax.errors.JaxRuntimeError as error:
        raise SettingError(f"topology {topology.name!r} is no slice that {kind} comes in: {error}") from error


def _cpu_devices(count: int) -> list[Any]:
    with contextlib.suppress(RuntimeError):  # JAX has started: what is there must do
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise SettingError(f"{count} CPU devices are needed and JAX has started with {len(devices)}: use a new process")
    return devices[:count]


def _target_config(gpu: Gpu) -> str:
    """The GPU as XLA's GpuTargetConfigProto in text form."""
    major, minor = gpu.capability
    feature = "ACCELERATED_FEATURES" if gpu.accelerated else "NONE"
    return f"""
        platform_name: "CUDA" device_description_str: "{gpu.title}" dnn_version_info {{ major: 9 minor: 10 }}
        gpu_device_info {{
          name: "{gpu.title}" core_count: {gpu.cores} fpus_per_core: {gpu.fpus} clock_rate_ghz: {gpu.clock}
          cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {feature} }}
          device_memory_size: {gpu.memory} memory_bandwidth: {gpu.bandwidth:.0f} l2_cache_size: {gpu.l2_cache}
          shared_memory_per_core: {gpu.core_shared_memory} shared_memory_per_block: 49152
          shared_memory_per_block_optin: {gpu.block_shared_memory} threads_per_warp: 32 threads_per_block_limit: 1024
          threads_per_core_limit: {gpu.threads_per_core}
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
          block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
          driver_version: "13.0.0" runtime_version: "12.8.0"
          compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
        }}"""
