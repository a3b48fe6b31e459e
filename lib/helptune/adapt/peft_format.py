"""A LoRA adapter in the format of Hugging Face PEFT, which PEFT, vLLM and most other software load.

Two files: `adapter_model.safetensors` with A as [R, in] and B as [out, R] for every module of every layer, and
`adapter_config.json`. Module names are those of the Hugging Face column of `gemma.table`. PEFT's older
`adapter_model.bin` is a pickle, which can run any code when it is opened: it is never read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from helptune.adapt.adapters import Adapters
from helptune.adapt.lora import LoraConfig
from helptune.adapt.vllm_rules import check_servable
from helptune.errors import AdapterError, SettingError
from helptune.files import write_text
from helptune.gemma.base import SITES, site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.gemma.table import HUGGING_FACE, names, rows_for

PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PROVENANCE = "helptune.json"
_PREFIX = "base_model.model."
_DTYPES = ("F32", "BF16", "F16")
_FIXED = {"peft_type": ("LORA",), "task_type": ("CAUSAL_LM",), "bias": ("none",)}
_READ = ("r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "init_lora_weights")
_WITHOUT_EFFECT = (
    "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version", "exclude_modules",
    "ensure_weight_tying", "megatron_core", "qalora_group_size", "runtime_config",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config",
)  # fmt: skip
"""Fields that say nothing about what the matrices mean: where the base is, or how training started."""
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base as it was. PiSSA, OLoRA, CorDA and others subtract their start from
it, so their matrices belong to another base than the published one."""


@dataclass(frozen=True)
class Provenance:
    """What an adapter exported from here belongs to, in a file of its own; empty for one from elsewhere."""

    base_sha256: str = ""
    template_hash: str = ""


def module_names(model: GemmaConfig) -> dict[str, tuple[str, int]]:
    """Every module that can carry an adapter, as PEFT calls it: `model.layers.0.self_attn.q_proj` -> ("q", 0)."""
    rows = rows_for(HUGGING_FACE, model)
    return {
        name.removesuffix(".weight"): (site, layer)
        for site in SITES
        for layer, name in enumerate(names(rows[site], model))
    }


def peft_tensors(adapters: Adapters, model: GemmaConfig) -> dict[str, np.ndarray]:
    """Name in PEFT -> float32 values, for every adapted site."""
    return {
        _tensor(module, part): np.ascontiguousarray(np.asarray(adapters[site][part][layer], np.float32).T)
        for module, (site, layer) in module_names(model).items()
        if site in adapters
        for part in ("a", "b")
    }


def peft_config(config: LoraConfig, base: str) -> dict[str, Any]:
    """The fields of `adapter_config.json`; `base` is the name or folder that PEFT loads the base from."""
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(config.alpha) if config.alpha == int(config.alpha) else config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": config.rank,
        "target_modules": sorted(_module_of(site) for site in config.sites),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": config.rank_stabilized,
    }


def write_peft(
    folder: Path, adapters: Adapters, config: LoraConfig, model: GemmaConfig, base: str, origin: Provenance
) -> int:
    """Both files, and where they are from, into an existing folder; returns the --max-lora-rank that vLLM needs.

    Raises AdapterError, before anything is written, for an adapter that vLLM would refuse.
    """
    tensors, fields = peft_tensors(adapters, model), peft_config(config, base)
    limit = check_servable(fields, tensors)
    safetensors.numpy.save_file(tensors, folder / PEFT_WEIGHTS, metadata={"format": "pt"})
    write_text(folder / PEFT_CONFIG, json.dumps(fields, indent=2) + "\n")
    write_text(folder / PROVENANCE, json.dumps(asdict(origin), indent=2) + "\n")
    return limit


def read_peft(folder: Path, model: GemmaConfig) -> tuple[Adapters, LoraConfig]:
    """An adapter that PEFT, or anything else that writes its format, has saved for this Gemma; values as float32.

    Raises AdapterError for a folder that is incomplete or damaged, belongs to another model, or asks for more than
    y = x W + scale x A B on whole sites: DoRA, biases, fully trained modules, ranks or layers that differ, ...
    """
    fields = _read_config(Path(folder) / PEFT_CONFIG)
    with _open(Path(folder)) as file:
        return _read(Path(folder), fields, file, model)


def provenance(folder: Path) -> Provenance:
    """What the adapter in a PEFT folder belongs to. Raises AdapterError for a damaged file."""
    path = Path(folder) / PROVENANCE
    if not path.exists():
        return Provenance()
    try:
        return Provenance(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise AdapterError(f"{path}: damaged ({error}); export the adapter again, or remove this file") from error


def _read(folder: Path, fields: dict[str, Any], file: Any, model: GemmaConfig) -> tuple[Adapters, LoraConfig]:
    modules = module_names(model)
    targeted = _targeted(folder / PEFT_CONFIG, fields["target_modules"], modules)
    sites = tuple(site for site in SITES if any(modules[module][0] == site for module in targeted))
    config = _lora_config(folder / PEFT_CONFIG, fields, sites)
    path, expected = folder / PEFT_WEIGHTS, _expected_shapes(targeted, modules, model, config.rank)
    _check_tensors(path, file, expected, config.rank)
    if partial := [module for module, (site, _) in modules.items() if site in sites and module not in targeted]:
        raise AdapterError(
            f"{folder / PEFT_CONFIG}: target_modules leaves out {_few(partial)}; an adapter here has every layer of a "
            "site. Train it on all layers, or merge it with PEFT and use the merged model"
        )
    adapters: Adapters = {}
    for site in sites:
        layers = [module for module in modules if modules[module][0] == site]
        stacks = {
            part: np.stack([file.get_tensor(_tensor(module, part)).astype(np.float32).T for module in layers])
            for part in ("a", "b")
        }
        if broken := [part for part, stack in stacks.items() if not np.isfinite(stack).all()]:
            raise AdapterError(
                f"{path}: lora_{broken[0].upper()} of {_module_of(site)} holds NaN or infinity; train the adapter anew"
            )
        adapters[site] = {part: jnp.asarray(stack) for part, stack in stacks.items()}
    return adapters, config


def _module_of(site: str) -> str:
    """`q` -> `q_proj`, by its row of the table."""
    (row,) = (row for row in HUGGING_FACE if row.leaf == site)
    return row.name.split(".")[-2]


def _tensor(module: str, part: str) -> str:
    return f"{_PREFIX}{module}.lora_{part.upper()}.weight"


def _few(found: list[str]) -> str:
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _read_config(path: Path) -> dict[str, Any]:
    """The fields, all of them either read here or without effect."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError as error:
        raise AdapterError(f"{path.parent}: not a PEFT adapter folder, {path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: not a readable PEFT configuration ({error}); export the adapter again") from error
    for name in ("peft_type", "r", "lora_alpha", "target_modules"):
        if fields.get(name) is None:
            raise AdapterError(f"{path}: {name} is missing; a LoRA adapter saved by PEFT has it")
    for name, value in fields.items():
        if name in _FIXED:
            if value not in (*_FIXED[name], None):
                raise AdapterError(f"{path}: {name} is {value!r}, only {_FIXED[name][0]!r} can be read here")
        elif name == "init_lora_weights" and not (value is None or value in _STARTS):
            raise AdapterError(
                f"{path}: init_lora_weights is {value!r}: it changed the base when training began, so the matrices do "
                "not fit the published base. Save it with PEFT's path_initial_model_for_weight_conversion"
            )
        elif name not in (*_READ, *_WITHOUT_EFFECT) and value not in (None, False, [], {}, ""):
            raise AdapterError(
                f"{path}: {name} is {value!r}; plain LoRA of one rank on whole sites is all that can be read here. "
                "Merge the adapter with PEFT (merge_and_unload) and use the merged model as a checkpoint"
            )
    return fields


def _targeted(path: Path, targets: Any, modules: Mapping[str, Any]) -> list[str]:
    """The modules that target_modules names, by PEFT's own rule: a whole name, or its end after a dot."""
    if targets == "all-linear":
        return list(modules)
    if not isinstance(targets, list) or not targets or not all(isinstance(target, str) for target in targets):
        raise AdapterError(
            f"{path}: target_modules is {targets!r}; needed is a list of names or 'all-linear'. Write a regular "
            "expression out as the list of modules that it matches"
        )
    hits = {t: [m for m in modules if m == t or m.endswith(f".{t}")] for t in targets}
    if foreign := [target for target, hit in hits.items() if not hit]:
        raise AdapterError(
            f"{path}: target_modules names {_few(foreign)}, which this Gemma does not have or which carries no adapter "
            f"here; it may name {', '.join(map(_module_of, SITES))}"
        )
    return [module for module in modules if any(module in hit for hit in hits.values())]


def _lora_config(path: Path, fields: dict[str, Any], sites: tuple[str, ...]) -> LoraConfig:
    rank, alpha, dropout = fields["r"], fields["lora_alpha"], fields.get("lora_dropout") or 0.0
    for name, value, kind in (
        ("r", rank, int),
        ("lora_alpha", alpha, int | float),
        ("lora_dropout", dropout, int | float),
    ):
        if isinstance(value, bool) or not isinstance(value, kind):
            raise AdapterError(f"{path}: {name} is {value!r}, needed is a number")
    try:
        return LoraConfig(rank, float(alpha), dropout, sites, bool(fields.get("use_rslora")))
    except SettingError as error:
        raise AdapterError(f"{path}: {error}") from error


def _open(folder: Path) -> Any:
    path = folder / PEFT_WEIGHTS
    try:
        return safetensors.safe_open(path, framework="np")
    except FileNotFoundError as error:
        why = "adapter_model.bin is a pickle, which can run code when it is opened, and is not read; save the adapter "
        why += "with PEFT's save_pretrained(..., safe_serialization=True)"
        pickled = (folder / "adapter_model.bin").exists()
        raise AdapterError(f"{path}: missing{'. ' + why if pickled else ''}") from error
    except (OSError, safetensors.SafetensorError) as error:
        size = f"{path.stat().st_size:,} bytes are there" if path.is_file() else "no file"
        raise AdapterError(f"{path}: truncated or damaged, {size} ({error}); fetch or export it again") from error


def _expected_shapes(
    targeted: list[str], modules: Mapping[str, tuple[str, int]], model: GemmaConfig, rank: int
) -> dict[str, tuple[int, int]]:
    shapes = site_shapes(model)
    expected: dict[str, tuple[int, int]] = {}
    for module in targeted:
        d_in, d_out = shapes[modules[module][0]]
        expected |= {_tensor(module, "a"): (rank, d_in), _tensor(module, "b"): (d_out, rank)}
    return expected


def _check_tensors(path: Path, file: Any, expected: Mapping[str, tuple[int, int]], rank: int) -> None:
    """Raises AdapterError unless these tensors, in these shapes and a float dtype, are all there is."""
    found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    if foreign := [name for name in found if name not in expected]:
        raise AdapterError(
            f"{path}: {len(foreign)} tensors that {PEFT_CONFIG} does not account for on this Gemma: {_few(foreign)}. "
            "It belongs to another model, or trains more than LoRA's A and B"
        )
    if missing := [name for name in expected if name not in found]:
        raise AdapterError(
            f"{path}: {len(missing)} of {len(expected)} tensors are missing: {_few(missing)}; fetch or export it again"
        )
    for name, needed in expected.items():
        shape, dtype = tuple(found[name].get_shape()), found[name].get_dtype()
        if shape != needed:
            outer = slice(1, 2) if "lora_A" in name else slice(0, 1)
            of_rank = len(shape) == 2 and shape[outer] == needed[outer]
            why = f"{PEFT_CONFIG} states r = {rank}" if of_rank else "it was trained for a base of other sizes"
            raise AdapterError(f"{path}: {name} has shape {shape}, needed is {needed}: {why}")
        if dtype not in _DTYPES:
            raise AdapterError(f"{path}: {name} is of dtype {dtype}, needed is one of {', '.join(_DTYPES)}")
