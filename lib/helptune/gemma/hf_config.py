"""The `config.json` of a Hugging Face folder as a `GemmaConfig`, and back: any Gemma 1 or text-only Gemma 3.

The fields are those of `GemmaConfig` and `Gemma3TextConfig` in transformers 4 and 5. A value our model code would
silently ignore (softcapping, another activation, scaled RoPE) is an error here.
"""

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helptune.errors import WeightsError
from helptune.files import write_text
from helptune.gemma.config import PUBLISHED, RMS_NORM_EPS, GemmaConfig
from helptune.gemma.tokenizer import BOS, EOS, PAD

CONFIG_FILE = "config.json"


def config_of(folder: Path | str) -> GemmaConfig:
    """The model that `folder/config.json` describes, under its published name where it has one.

    Raises WeightsError when the file is missing or damaged, describes another family of models, or asks for something
    this model code does not do.
    """
    fields = _Fields.read(Path(folder) / CONFIG_FILE)
    families = {"gemma": _gemma1, "gemma3_text": _gemma3}
    if fields.get("model_type") not in list(families):  # a list compares, where a mapping would ask for a hash
        raise fields.error("model_type", "gemma (Gemma 1) or gemma3_text (Gemma 3 270M and 1B)")
    try:
        config = families[fields.values["model_type"]](fields)
    except ValueError as error:  # sizes that fit no model
        raise WeightsError(f"{fields.path}: {error}") from error
    for published in PUBLISHED:
        if differences(published, config) == []:
            return replace(published, context=config.context)
    return config


def differences(expected: GemmaConfig, found: GemmaConfig) -> list[str]:
    """One text a field that changes the weights or what they compute, so not for the name or the context."""
    fields = [field.name for field in dataclasses.fields(GemmaConfig) if field.name not in ("name", "context")]
    pairs = [(field, getattr(found, field), getattr(expected, field)) for field in fields]
    return [f"{field} {value}, expected {wanted}" for field, value, wanted in pairs if value != wanted]


@dataclass(frozen=True)
class _Fields:
    """The fields of one file, with its path for messages."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "_Fields":
        if not path.parent.is_dir():
            raise WeightsError(f"{path.parent}: no such folder; give the one that holds the weights")
        if not path.exists():
            raise WeightsError(f"{path}: missing; fetch it, or name the model with --model (gemma-7b-it, ...)")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path}: not JSON ({error}); fetch the checkpoint's folder again") from error
        if not isinstance(values, dict):
            raise WeightsError(f"{path}: not a JSON object; fetch the checkpoint's folder again")
        return cls(path, values)

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def number(self, name: str) -> int:
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(name, "a positive whole number")
        return value

    def require(self, name: str, *allowed: Any) -> None:
        if self.get(name) not in allowed:
            raise self.error(name, " or ".join(str(value) for value in allowed if value is not None))

    def error(self, name: str, expected: str) -> WeightsError:
        return WeightsError(f"{self.path}: {name} is {self.get(name)!r}, this program reads {expected}")

    def rope_base(self, kind: str, older_name: str, default: float = 10_000.0) -> float:
        """transformers 5 keeps it in `rope_parameters`, one for each kind of layer where these differ."""
        parameters = self.get("rope_parameters") or {}
        if not isinstance(parameters, dict) or not isinstance(own := parameters.get(kind, parameters), dict):
            raise self.error("rope_parameters", "an object, or one for each kind of layer")
        if own.get("rope_type", "default") != "default":
            raise self.error("rope_parameters", "rope_type default")
        base = own.get("rope_theta") or self.get(older_name) or default
        if isinstance(base, bool) or not isinstance(base, int | float) or not base > 0:
            raise self.error("rope_parameters" if own.get("rope_theta") else older_name, "a positive number")
        return float(base)


_SIZES = {
    "layers": "num_hidden_layers", "width": "hidden_size", "mlp_width": "intermediate_size",
    "heads": "num_attention_heads", "kv_heads": "num_key_value_heads", "head_width": "head_dim",
    "vocab": "vocab_size", "context": "max_position_embeddings",
}  # fmt: skip
"""Field of `GemmaConfig` -> its name in the file."""


def _sizes(fields: _Fields) -> dict[str, Any]:
    for name, *allowed in (
        ("hidden_activation", "gelu_pytorch_tanh", None),
        ("hidden_act", "gelu_pytorch_tanh", "gelu", None),  # early Gemma 1 files say gelu and mean its tanh form
        ("rms_norm_eps", RMS_NORM_EPS, None),
        ("attention_bias", False, None),
        ("rope_scaling", None),
        ("attn_logit_softcapping", None),
        ("final_logit_softcapping", None),
        ("tie_word_embeddings", True, None),
    ):
        fields.require(name, *allowed)
    return {ours: fields.number(theirs) for ours, theirs in _SIZES.items()}


def _gemma1(fields: _Fields) -> GemmaConfig:
    sizes, rope = _sizes(fields), fields.rope_base("", "rope_theta")
    name = f"gemma ({sizes['layers']} layers, width {sizes['width']})"
    return GemmaConfig(name, **sizes, turn_start=106, turn_end=107, rope_base_local=rope, rope_base_global=rope)


def _gemma3(fields: _Fields) -> GemmaConfig:
    sizes = _sizes(fields)
    fields.require("query_pre_attn_scalar", sizes["head_width"])
    config = GemmaConfig(
        f"gemma3_text ({sizes['layers']} layers, width {sizes['width']})", **sizes, turn_start=105, turn_end=106,
        qk_norm=True, post_norms=True, window=fields.number("sliding_window"), global_every=_global_every(fields),
        rope_base_local=fields.rope_base("sliding_attention", "rope_local_base_freq"),
        rope_base_global=fields.rope_base("full_attention", "rope_theta", 1_000_000.0),
    )  # fmt: skip
    fields.require("layer_types", _kinds(config), None)
    return config


def _kinds(config: GemmaConfig) -> list[str]:
    return ["full_attention" if is_global else "sliding_attention" for is_global in config.is_global]


def _global_every(fields: _Fields) -> int:
    """From the list of all layers where there is one: transformers 5 writes a stale pattern beside it."""
    kinds = fields.get("layer_types") or []
    if not isinstance(kinds, list):
        raise fields.error("layer_types", "a list with the kind of each layer")
    if "full_attention" in kinds:
        return kinds.index("full_attention") + 1
    patterns = ("sliding_window_pattern", "_sliding_window_pattern")
    return next((fields.number(name) for name in patterns if fields.get(name) is not None), 6)


def write_config(folder: Path, config: GemmaConfig, dtype: str) -> None:
    """`folder/config.json` for weights of this dtype: transformers and vLLM load them, and `config_of` reads it back.

    The names are those of the published files, which transformers 4 and 5 both understand. Raises WeightsError for a
    model that the format cannot describe, such as one of a Gemma 1 with the turn tokens of Gemma 3.
    """
    fields = {
        "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": BOS, "eos_token_id": [EOS, config.turn_end], "pad_token_id": PAD,
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": RMS_NORM_EPS, "rope_scaling": None, "rope_theta": config.rope_base_global,
        "tie_word_embeddings": True, "torch_dtype": dtype, "use_cache": True,
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
    }  # fmt: skip
    if config.post_norms:
        del fields["hidden_act"]
        fields |= {
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attn_logit_softcapping": None,
            "final_logit_softcapping": None, "layer_types": _kinds(config), "query_pre_attn_scalar": config.head_width,
            "rope_local_base_freq": config.rope_base_local, "sliding_window": config.window,
            "sliding_window_pattern": config.global_every,
        }  # fmt: skip
    write_text(folder / CONFIG_FILE, json.dumps(fields, indent=2, sort_keys=True) + "\n")
    if wrong := differences(config, config_of(folder)):
        raise WeightsError(f"{config.name} cannot be described by a {CONFIG_FILE}: {'; '.join(wrong)}")
