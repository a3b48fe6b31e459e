"""What a run will take, known before it starts: memory of each device in closed form, and what XLA itself allocates for
the very training step, compiled at full size from shapes alone for devices that need not be here.
"""

import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.table import Table

from helptune.adapt.adapters import init_adapters
from helptune.data.packing import Batch
from helptune.errors import SettingError
from helptune.experiment.advice import USABLE, Settings, advice
from helptune.experiment.config import RunConfig
from helptune.gemma.config import GemmaConfig
from helptune.gemma.sharding import MESH_AXES, ROWS, abstract_base, check_mesh, make_mesh
from helptune.train.flops import ASSUMED_MFU, adapter_parameters, estimated_seconds, step_flops
from helptune.train.memory import MeshShape, cache_bytes, step_memory
from helptune.train.optimizer import make_optimizer
from helptune.train.step import init_state, train_step
from helptune.train.topology import Topology, compile_devices, parse_topology

GIB = 2**30
_TPU_OUT_OF_MEMORY = re.compile(
    r"Ran out of memory on HBM.*?\(([\d.]+)([KMGT])\) exceeds available HBM \([\d.]+[KMGT]\)"
)
_NOTES = {
    "cpu": "XLA computes bfloat16 in float32 on a CPU: argument bytes hold for any device of this mesh, temporary "
    "bytes for this CPU only",
    "gpu": "compiled without autotuning, whose workspace comes on top; JAX takes 75% of a GPU unless "
    "XLA_CLIENT_MEM_FRACTION=0.95 is set",
    "tpu": "XLA for TPUs refuses to compile what does not fit",
}


def plan(config: GemmaConfig, run: RunConfig, topology: Topology, *, compiled: bool = True) -> dict[str, Any]:
    """The plan of a run on a topology, ready for JSON; sizes are bytes on one device.

    `compiled` false answers at once, from the closed form. Where the compiler for the topology is not installed, the
    step is compiled for as many CPU devices. Raises SettingError for a mesh that does not fit model, batch or topology.
    """
    train, mesh = run.train, mesh_shape(config, run, topology)
    computed = step_memory(config, run.method, mesh, train, run.precision)
    flops = step_flops(config, run.method, train)
    found: dict[str, Any] = {
        "model": config.name, "topology": topology.name, "mesh": dict(zip(MESH_AXES, mesh, strict=True)),
        "batch": train.batch_rows, "accumulate": train.accumulate, "seq": train.seq_len, "remat": train.remat,
        "base": run.precision, "rank": run.lora.rank, "dropout": run.lora.dropout,
        "parameters": config.parameters, "trained_parameters": adapter_parameters(config, run.method),
        "device_memory": topology.memory, "usable_memory": int(USABLE * topology.memory),
        "computed": {**dict(computed.rows()), "total": computed.total},
        "kv_cache_per_row": cache_bytes(config, 1, train.seq_len, run.precision),
        "tflop_per_step": round(flops / 1e12, 1),
        "estimated_step_seconds": None, "assumed_mfu": ASSUMED_MFU,
        "compiled": None,
        "notes": [],
    }  # fmt: skip
    if topology.tflops:
        found["estimated_step_seconds"] = round(estimated_seconds(flops, topology.count, topology.tflops), 3)
    if train.seq_len > config.context:
        found["notes"].append(
            f"no conversation may be longer than the {config.context:,} tokens {config.name} was made for; longer rows "
            "hold several"
        )
    excess = 1.0
    if compiled:
        target = parse_topology(f"cpu:{topology.count}") if topology.extra else topology
        if topology.extra:
            found["notes"].append(f"to compile for {topology.name} itself: {topology.install}")
        found["notes"].append(_NOTES[target.platform])
        found["compiled"] = compile_step(config, run, target, mesh)
        if target.platform != "cpu":
            excess = found["compiled"]["peak"] / computed.total
    asked = Settings(mesh, train, run.precision)
    return found | advice(config, run.method, asked, topology.memory, excess)


def mesh_shape(config: GemmaConfig, run: RunConfig, topology: Topology) -> MeshShape:
    """The run's mesh, by default all devices as fsdp, checked against topology, model and batch."""
    data, fsdp, tensor = mesh = run.mesh or (1, topology.count, 1)
    if math.prod(mesh) != topology.count:
        raise SettingError(
            f"mesh {data},{fsdp},{tensor} has {math.prod(mesh)} devices and {topology.name} has {topology.count}: "
            f"data x fsdp x tensor must be that number, as in 1,{topology.count},1"
        )
    check_mesh(config, mesh, run.precision)
    rows, part = data * fsdp, run.train.batch_rows // run.train.accumulate
    if part % rows:
        raise SettingError(
            f"batch {run.train.batch_rows} in {run.train.accumulate} parts gives {part} rows for data x fsdp = {rows} "
            f"devices: use a batch that is a multiple of {rows * run.train.accumulate}, or more devices along tensor"
        )
    return data, fsdp, tensor


def compile_step(config: GemmaConfig, run: RunConfig, topology: Topology, mesh_shape: MeshShape) -> dict[str, Any]:
    """Compile the real `train_step` at full size; nothing is allocated. Bytes on one device as XLA plans them.

    `peak` is arguments, results that reuse no argument, and temporaries. A TPU compiler that finds too little memory
    gives `error`, its words, and in `peak` what it would have used in all.
    """
    mesh = make_mesh(mesh_shape, compile_devices(topology))
    started = time.perf_counter()
    try:
        with jax.set_mesh(mesh):
            step = lower_step(config, run, mesh).compile()
    except jax.errors.JaxRuntimeError as error:
        used = _TPU_OUT_OF_MEMORY.search(str(error))
        if used is None:
            raise
        units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
        label = f"refused by the compiler for {topology.name}"
        return {"label": label, "error": used.group(), "peak": int(float(used[1]) * units[used[2]])}
    memory = step.memory_analysis()
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "label": f"compiled for {topology.name}",
        "argument": memory.argument_size_in_bytes,
        "output": output,
        "temporary": memory.temp_size_in_bytes,
        "peak": memory.argument_size_in_bytes + output + memory.temp_size_in_bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def lower_step(config: GemmaConfig, run: RunConfig, mesh: Mesh) -> Any:
    """`train_step` lowered for shapes placed as in training: the base cut, the state whole, rows over (data, fsdp)."""
    train, optimizer = run.train, make_optimizer(run.train.optimizer, max(run.train.max_steps, 1))

    def placed(tree: Any, *spec: Any) -> Any:
        sharding = NamedSharding(mesh, P(*spec))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    def state_and_key() -> Any:
        key = jax.random.key(0)
        return init_state(init_adapters(run.method, config, key), optimizer), key

    shape = (train.accumulate, train.batch_rows // train.accumulate, train.seq_len)
    ids: Any = jax.ShapeDtypeStruct(shape, jnp.int32)
    weights: Any = jax.ShapeDtypeStruct(shape, jnp.float32)
    batch = placed(Batch(ids, ids, weights, ids, ids), None, ROWS, None)
    state, key = placed(jax.eval_shape(state_and_key))
    base = abstract_base(config, run.precision, mesh)
    return train_step.lower(
        base, state, batch, key, method=run.method, optimizer=optimizer, remat=train.remat,
        neftune_alpha=train.neftune_alpha,
    )  # fmt: skip


def show(found: dict[str, Any], console: Console) -> None:
    """A plan for people."""
    table = Table("GiB on each device", "computed", box=None)
    for name, size in found["computed"].items():
        table.add_row(name, f"{size / GIB:.2f}")
    mesh = ",".join(str(size) for size in found["mesh"].values())
    console.print(
        f"{found['model']} on {found['topology']}, mesh {mesh}: {found['batch']} x {found['seq']} tokens a step in "
        f"{found['accumulate']} part(s), base {found['base']}, rank {found['rank']}, remat {found['remat']}"
    )
    console.print(table)
    cache = found["kv_cache_per_row"] / GIB
    console.print(f"beside it, answers of {found['seq']} tokens keep {cache:.2f} GiB of keys and values a row")
    if compiled := found["compiled"]:
        parts = [
            f"{name} {compiled[name] / GIB:.2f}" for name in ("argument", "output", "temporary") if name in compiled
        ]
        console.print(
            f"{compiled['label']}: {' + '.join(parts) or compiled['error']}, peak {compiled['peak'] / GIB:.2f}"
        )
    if seconds := found["estimated_step_seconds"]:
        console.print(f"a step is {found['tflop_per_step']} TFLOP: about {seconds} s at {ASSUMED_MFU:.0%} of the peak")
    for run in found.get("executed", {}).get("runs", []):
        console.print(f"{run['layers']} layer(s) executed: {run['step_seconds']} s a step, peak {run['peak_gib']} GiB")
    if full := found.get("executed", {}).get("full_depth"):
        text = f"{full['step_seconds']} s a step, peak {full['peak_gib']} GiB"
        console.print(f"all {full['layers']} layers, extrapolated: {text}")
    console.print(f"[bold]{found['verdict']}[/bold]: {found['advice']}")
    for note in found["notes"]:
        console.print(f"note: {note}", style="dim")
