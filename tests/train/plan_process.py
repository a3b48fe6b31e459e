"""Run as a script: what XLA allocates for the compiled step of a small model on meshes of 8 CPU devices, as JSON.

JAX decides once how many devices a CPU has, so this is a process of its own. Nothing is computed.
"""

import json
from dataclasses import replace

from helptune.adapt.lora import LoraConfig
from helptune.experiment.config import RunConfig
from helptune.experiment.plan import compile_step
from helptune.gemma.config import tiny
from helptune.train.config import TrainConfig
from helptune.train.topology import parse_topology

CONFIG = replace(
    tiny(1, vocab=16_384), layers=4, width=512, mlp_width=2_048, heads=8, kv_heads=8, head_width=64, context=1_024
)
LORA, TRAIN = LoraConfig(rank=8), TrainConfig(batch_rows=8, seq_len=128, remat="full")
CASES = {
    "1,8,1 float32": RunConfig(precision="float32", mesh=(1, 8, 1), lora=LORA, train=TRAIN),
    "2,2,2 int8": RunConfig(precision="int8", mesh=(2, 2, 2), lora=LORA, train=TRAIN),
    "1,2,4 int4": RunConfig(precision="int4", mesh=(1, 2, 4), lora=LORA, train=replace(TRAIN, accumulate=2)),
}

if __name__ == "__main__":
    topology = parse_topology("cpu:8")
    print(json.dumps({name: compile_step(CONFIG, run, topology, run.mesh) for name, run in CASES.items()}))
