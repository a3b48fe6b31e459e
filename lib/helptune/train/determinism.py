"""The same command, the same bits.

On a CPU this holds as it is. On a GPU two things must be ruled out by flags of XLA (openxla/xla, xla/xla.proto): sums
whose order is left to chance, and kernels chosen by stopwatch. It holds for the same devices, mesh and versions; other
ones add in another order. A run records the flags it ran with in its environment.json.
"""

import os

from jax._src.xla_bridge import backends_are_initialized

from helptune.errors import SettingError

FLAGS = {"--xla_gpu_deterministic_ops": "true", "--xla_gpu_autotune_level": "0"}


def make_deterministic() -> None:
    """Add FLAGS to XLA_FLAGS, for this process and those it starts. Call it before anything is computed.

    Raises SettingError when XLA_FLAGS says otherwise, or when JAX has read them already.
    """
    given = os.environ.get("XLA_FLAGS", "").split()
    values = dict(flag.partition("=")[::2] for flag in given)
    if against := [f"{name}={values[name]}" for name, value in FLAGS.items() if values.get(name, value) != value]:
        raise SettingError(f"XLA_FLAGS has {' '.join(against)}: a deterministic run needs {_text()}")
    missing = [f"{name}={value}" for name, value in FLAGS.items() if name not in values]
    if missing and backends_are_initialized():
        raise SettingError(f"JAX has started without {' '.join(missing)}: set XLA_FLAGS='{_text()}' before")
    os.environ["XLA_FLAGS"] = " ".join(given + missing)


def _text() -> str:
    return " ".join(f"{name}={value}" for name, value in FLAGS.items())
