"""An adapter on disk: the matrices as safetensors, and a small JSON that says what they belong to."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from helptune.adapt.adapters import AdapterConfig, Adapters, leaf_shapes
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError
from helptune.files import file_sha256, write_text, write_whole
from helptune.gemma.chat import TEMPLATE_HASH
from helptune.gemma.config import GemmaConfig

WEIGHTS, CARD = "adapter.safetensors", "adapter.json"
_KINDS: dict[type, str] = {LoraConfig: "lora", BottleneckConfig: "bottleneck"}
"""The field of the card that holds the settings of each kind."""

_TYPES: dict[str, tuple[type, ...]] = {
    "base": (str,), "base_sha256": (str,), "template_hash": (str,), "step": (int,),
    "eval_loss": (float, int, type(None)),
}  # fmt: skip


@dataclass(frozen=True)
class AdapterCard:
    """What an adapter is and what it was trained on: `base` names the model, `base_sha256` its exact weights."""

    base: str
    base_sha256: str
    method: AdapterConfig
    template_hash: str = TEMPLATE_HASH
    step: int = 0
    eval_loss: float | None = None


def save_adapter(folder: Path, adapters: Adapters, card: AdapterCard) -> None:
    """Write both files, each put in place only when complete."""
    flat = {f"{site}.{name}": np.asarray(leaf) for site, pair in adapters.items() for name, leaf in pair.items()}
    write_whole(folder / WEIGHTS, lambda part: safetensors.numpy.save_file(flat, part))
    method = {_KINDS[type(card.method)]: asdict(card.method)}
    fields = {**vars(card), **method, "adapter_sha256": file_sha256(folder / WEIGHTS)}
    del fields["method"]
    write_text(folder / CARD, json.dumps(fields, indent=2) + "\n")


def load_adapter(folder: Path | str, model: GemmaConfig, base_sha256: str) -> tuple[Adapters, AdapterCard]:
    """The adapter in `folder`, checked against the base it will be used with.

    Raises AdapterError for a missing or damaged file, an adapter of another model, other weights or another chat
    template, and for matrices whose shapes are not those of the rank the card states.
    """
    card, sha256 = _read_card(Path(folder) / CARD)
    for what, found, needed in (
        # The shapes of gemma-7b-it are those of gemma-7b; which weights they are, the next line says.
        ("base model", card.base.removesuffix("-it"), model.name.removesuffix("-it")),
        ("base weights (sha256)", card.base_sha256, base_sha256),
        ("chat template", card.template_hash, TEMPLATE_HASH),
    ):
        if found != needed:
            raise AdapterError(f"{folder}: this adapter was trained for {what} {found!r}, here it is {needed!r}")
    path = Path(folder) / WEIGHTS
    try:
        found = file_sha256(path)
        if sha256 and found != sha256:
            raise AdapterError(f"{path}: damaged, its sha256 is {found}, {CARD} says {sha256}")
        flat = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise AdapterError(f"{path}: missing or damaged ({error})") from error
    adapters: Adapters = {}
    shapes = leaf_shapes(card.method, model)
    expected = {f"{site}.{name}": shape for site, leaves in shapes.items() for name, shape in leaves.items()}
    if set(flat) != set(expected):
        odd = sorted(set(flat) ^ set(expected))
        raise AdapterError(f"{path}: tensors {', '.join(odd[:4])} are missing or not listed in {CARD}")
    for name, shape in expected.items():
        if flat[name].shape != shape:
            raise AdapterError(
                f"{path}: {name} has shape {flat[name].shape}, {_size(card)} on {model.name} needs {shape}"
            )
        site, part = name.split(".")
        adapters.setdefault(site, {})[part] = jnp.asarray(flat[name], jnp.float32)
    return adapters, card


def _size(card: AdapterCard) -> str:
    method = card.method
    return f"rank {method.rank}" if isinstance(method, LoraConfig) else f"width {method.width}"


def read_card(folder: Path | str) -> AdapterCard:
    """What the adapter in `folder` says about itself. Raises AdapterError for a missing or damaged card."""
    return _read_card(Path(folder) / CARD)[0]


def _read_card(path: Path) -> tuple[AdapterCard, str]:
    """The card, and the sha256 of the matrices it was written with; empty for one written by other software."""
    try:
        fields = json.loads(path.read_text())
        sha256 = fields.pop("adapter_sha256", "")
        ((kind, name),) = [(kind, name) for kind, name in _KINDS.items() if name in fields]
        values = fields.pop(name)
        values = {**values, "sites": tuple(values["sites"])} if "sites" in values else values
        card = AdapterCard(method=kind(**values), **fields)
        for name, kinds in _TYPES.items():
            if type(getattr(card, name)) not in kinds:
                raise TypeError(f"{name} is {getattr(card, name)!r}")
        return card, sha256
    except FileNotFoundError as error:
        raise AdapterError(f"{path.parent}: not an adapter folder, {path.name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(f"{path}: not a valid adapter card ({error})") from error
