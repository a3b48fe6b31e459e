"""What would fit: the settings nearest to those asked for, searched in closed form before anything is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import log2, prod
from typing import Any

from helptune.adapt.adapters import AdapterConfig
from helptune.errors import SettingError
from helptune.gemma.config import GemmaConfig
from helptune.gemma.model import REMAT
from helptune.gemma.sharding import check_mesh, mesh_shapes
from helptune.train.config import TrainConfig
from helptune.train.memory import MeshShape, step_memory

USABLE = 0.9
"""Share of a device's memory that a plan may fill; the rest is for the runtime, collectives and fragmentation."""

_SHORTEST, _MOST_DEVICES = 128, 1024
_BITS = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4}


@dataclass(frozen=True)
class Settings:
    """What can be changed to make a step fit."""

    mesh: MeshShape
    train: TrainConfig
    precision: str

    def changes(self, asked: "Settings") -> dict[str, Any]:
        """Options of the command line that differ from `asked`, with their new values."""
        mine, theirs = self._options(), asked._options()
        return {name: value for name, value in mine.items() if value != theirs[name]}

    def _options(self) -> dict[str, Any]:
        train = self.train
        return {
            "remat": train.remat, "accumulate": train.accumulate, "mesh": ",".join(map(str, self.mesh)),
            "base": self.precision, "seq-len": train.seq_len,
        }  # fmt: skip


def nearest(config: GemmaConfig, method: AdapterConfig, asked: Settings, budget: float) -> Settings | None:
    """The smallest change to `asked` that needs at most `budget` bytes a device, on the same number of devices.

    First what leaves the result as it is (recomputing, accumulation, another mesh), then a base of fewer bits, then
    shorter rows. A smaller batch is never needed: accumulation computes the same one in parts.
    """
    options = [s for s in _neighbours(config, asked, prod(asked.mesh)) if _need(config, method, s) <= budget]
    return min(options, key=lambda s: _distance(s, asked), default=None)


def more_devices(config: GemmaConfig, method: AdapterConfig, asked: Settings, budget: float) -> Settings | None:
    """The same step on the fewest devices of this kind that hold it: 2, 4, 8, ... times as many."""
    count = 2 * prod(asked.mesh)
    while count <= _MOST_DEVICES:
        same = [s for s in _neighbours(config, asked, count) if s.changes(asked).keys().isdisjoint({"base", "seq-len"})]
        fitting = [s for s in same if _need(config, method, s) <= budget]
        if fitting:
            return min(fitting, key=lambda s: _distance(s, asked))
        count *= 2
    return None


def advice(
    config: GemmaConfig, method: AdapterConfig, asked: Settings, memory: int, excess: float = 1.0
) -> dict[str, Any]:
    """Verdict ("fits", "fits with" or "does not fit"), settings to change, and advice, for devices of `memory` bytes.

    `excess` is what the compiled step took over the computed one: the search allows for it.
    """
    budget, need = USABLE * memory, _need(config, method, asked) * excess
    figures = f"{need / 2**30:.1f} GiB a device needed, {budget / 2**30:.1f} of {memory / 2**30:.1f} may be used"
    if need <= budget:
        return {"verdict": "fits", "settings": {}, "advice": figures}
    if (found := nearest(config, method, asked, budget / excess)) is not None:
        settings = found.changes(asked)
        return {"verdict": "fits with", "settings": settings, "advice": f"{figures}; use {as_options(settings)}"}
    more = more_devices(config, method, asked, budget / excess)
    if more is None:
        return {"verdict": "does not fit", "settings": {}, "advice": f"{figures}; devices with more memory are needed"}
    text = f"{figures}; {prod(more.mesh)} such devices would do, with {as_options(more.changes(asked))}"
    return {"verdict": "does not fit", "settings": {}, "advice": text}


def as_options(settings: dict[str, Any]) -> str:
    """As they are typed: `--remat full --accumulate 4`."""
    return " ".join(f"--{name} {value}" for name, value in settings.items())


def _need(config: GemmaConfig, method: AdapterConfig, settings: Settings) -> int:
    return step_memory(config, method, settings.mesh, settings.train, settings.precision).total


def _neighbours(config: GemmaConfig, asked: Settings, count: int) -> Iterator[Settings]:
    """All settings on `count` devices that change `asked` in ways that can save memory."""
    rows, fewer_bits = asked.train.batch_rows, [p for p in _BITS if _BITS[p] < min(_BITS[asked.precision], 16)]
    lengths = [asked.train.seq_len]
    while lengths[-1] % 2 == 0 and lengths[-1] // 2 >= _SHORTEST:
        lengths.append(lengths[-1] // 2)
    parts = [n for n in range(asked.train.accumulate, rows + 1) if rows % n == 0]
    for mesh in _meshes(config, count):
        whole = [n for n in parts if rows // n % (mesh[0] * mesh[1]) == 0]
        for remat, accumulate, precision, seq_len in product(
            REMAT[REMAT.index(asked.train.remat) :], whole, [asked.precision, *fewer_bits], lengths
        ):
            if _divides(config, mesh, precision):
                train = replace(asked.train, remat=remat, accumulate=accumulate, seq_len=seq_len)
                yield Settings(mesh, train, precision)


def _meshes(config: GemmaConfig, count: int) -> list[MeshShape]:
    """Every way to lay `count` devices out that the unquantized model can be cut into."""
    return [shape for shape in mesh_shapes(count) if _divides(config, shape, "bfloat16")]


def _divides(config: GemmaConfig, shape: MeshShape, precision: str) -> bool:
    try:
        check_mesh(config, shape, precision)
    except SettingError:
        return False
    return True


def _distance(settings: Settings, asked: Settings) -> tuple[float, ...]:
    """How far apart, what matters most first."""
    shorter = log2(asked.train.seq_len / settings.train.seq_len)
    fewer_bits = _BITS[asked.precision] - _BITS[settings.precision]
    parts = log2(settings.train.accumulate / asked.train.accumulate)
    _, fsdp, tensor = settings.mesh
    again = REMAT.index(settings.train.remat)
    return shorter, fewer_bits, len(settings.changes(asked)), parts, again, tensor, -fsdp
