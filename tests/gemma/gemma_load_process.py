"""One process of a run that loads checkpoints onto meshes of 8 virtual CPU devices; prints what it found as JSON.

    python gemma_load_process.py FOLDER PROCESS PROCESSES PORT

FOLDER holds `hf` and `orbax`, both written from `init_base(CONFIG, key(0))`. For each layout, precision and mesh: how
many values the process read, and which leaves are not the parts of the model that was loaded whole.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from helptune.errors import SettingError
from helptune.gemma import loading
from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.config import tiny
from helptune.gemma.quantize import quantize_base
from helptune.gemma.sharding import make_mesh

CONFIG = replace(tiny(1), width=128, mlp_width=256, heads=8, kv_heads=4)
MESHES = [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 4, 2)]
CASES = [("hf", "float32"), ("hf", "int8"), ("hf", "int4"), ("orbax", "float32")]


def main(folder, process, processes, port):
    jax.config.update("jax_num_cpu_devices", 8 // processes)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    whole = jax.tree.map(np.asarray, init_base(CONFIG, jax.random.key(0)))
    read_leaf, read = loading.read_leaf, []

    def counting(*arguments):
        values = read_leaf(*arguments)
        read.append(values.size)
        return values

    loading.read_leaf = counting
    results = []
    for layout, precision in CASES:
        expected = whole if precision == "float32" else quantize_base(whole, precision)
        for mesh in MESHES:
            read.clear()
            result = {"layout": layout, "precision": precision, "mesh": mesh}
            try:
                base = load_checkpoint(folder / layout, CONFIG, precision, make_mesh(mesh))
                result |= {"wrong": _wrong(base, expected)}
            except SettingError as error:
                result |= {"error": str(error)}
            results.append(result | {"read": sum(read)})
    print(json.dumps(results))


def _wrong(base, expected):
    """Paths of the arrays of which some part on this process is not that part of the whole."""
    assert jax.tree.structure(base) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves_with_path(base), jax.tree.leaves(expected), strict=True)
    return [jax.tree_util.keystr(path) for (path, leaf), whole in pairs if not _equal(leaf, whole)]


def _equal(leaf, whole):
    whole = whole.astype(leaf.dtype)
    parts = [np.array_equal(np.asarray(part.data), whole[part.index]) for part in leaf.addressable_shards]
    return leaf.shape == whole.shape and all(parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
