"""What a run is: everything that decides its result, as JSON that can be read back and run again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from helptune.adapt.adapters import AdapterConfig
from helptune.adapt.bottleneck import PLACEMENTS, BottleneckConfig
from helptune.adapt.lora import LoraConfig
from helptune.errors import RunError, SettingError
from helptune.gemma.quantize import check_precision
from helptune.gemma.sampling import Sampling
from helptune.train.config import TrainConfig
from helptune.typed import built


@dataclass(frozen=True)
class RunConfig:
    """What is trained, on what, and how.

    `model` is a name that `gemma.config.named` knows, or `config.json` for the shape that the checkpoint states itself;
    `checkpoint` is the folder with its weights, empty for the embedded Gemma 3 270M. `precision` is that of the frozen
    base. `mesh` is (data, fsdp, tensor); empty means all devices that are there, as fsdp.

    `train_file` and `heldout_file` are JSON lines of conversations; empty means the embedded curated set. `tasks`, each
    NAME=FILE, stand in their place where `helptune tasks` trains several adapters.

    `adapter` is what is trained: lora, as `lora` says, or a bottleneck of `bottleneck_width` placed as houlsby or
    pfeiffer.

    `base_sha256` and `data_sha256` are filled in by the run: repeating a configuration with changed weights or data is
    an error.
    """

    model: str = "gemma-3-270m"
    checkpoint: str = ""
    precision: str = "bfloat16"
    mesh: tuple[int, ...] = ()
    deterministic: bool = False
    train_file: str = ""
    heldout_file: str = ""
    tasks: tuple[str, ...] = ()
    base_sha256: str = ""
    data_sha256: str = ""
    max_new_tokens: int = 160
    repetition_penalty: float = 1.1
    adapter: str = "lora"
    lora: LoraConfig = field(default_factory=LoraConfig)
    bottleneck_width: int = 64
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.mesh and (len(self.mesh) != 3 or any(type(size) is not int or size < 1 for size in self.mesh)):
            raise SettingError(
                f"mesh {list(self.mesh)}: must be three numbers of at least 1, data,fsdp,tensor, such as 1,8,1"
            )
        Sampling(max_new_tokens=self.max_new_tokens, repetition_penalty=self.repetition_penalty)  # checks both
        if self.adapter not in ("lora", *PLACEMENTS):
            raise SettingError(f"adapter {self.adapter!r} is not one of lora, {', '.join(PLACEMENTS)}")
        _ = self.method  # checks the width
        if self.adapter != "lora" and self.train.optimizer.lora_plus != 1:
            raise SettingError(
                f"lora_plus={self.train.optimizer.lora_plus}: only LoRA has the matrices A and B that it tells apart; "
                f"with adapter {self.adapter} leave it at 1"
            )

    @property
    def method(self) -> AdapterConfig:
        return self.lora if self.adapter == "lora" else BottleneckConfig(self.bottleneck_width, self.adapter)


def to_json(config: RunConfig) -> str:
    return json.dumps(asdict(config), indent=2) + "\n"


def read_config(path: Path) -> RunConfig:
    """Raises RunError naming the file and the field that is unknown or invalid."""
    try:
        return built(RunConfig, json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: not a valid configuration: {error}") from error


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """`field: old -> new` for every field that differs."""
    a, b = _flatten(asdict(old)), _flatten(asdict(new))
    return [f"{name}: {a[name]!r} -> {b[name]!r}" for name in a if a[name] != b[name]]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
