"""Will vLLM serve this adapter? Its own rules, checked before anything is written rather than when a server starts.

From vLLM's source, read in 2026: `MaxLoRARanks` in vllm/config/lora.py (a rank is served by the next larger of these);
`PEFTHelper` in vllm/lora/peft_helper.py (r, lora_alpha and target_modules must be there; r at most --max-lora-rank; no
modules_to_save, no DoRA, no bias); `parse_fine_tuned_lora_name` in vllm/lora/utils.py (names end in lora_A.weight or
lora_B.weight); `check_unexpected_modules` in vllm/lora/lora_model.py (each module is one that the model has, under the
names before packing: `packed_modules_mapping` of GemmaForCausalLM and Gemma3ForCausalLM makes qkv_proj of q_proj,
k_proj and v_proj, and gate_up_proj of gate_proj and up_proj). A module with only one of its two matrices passes those
checks and fails when it is activated.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from helptune.errors import AdapterError

MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PREFIX = "base_model.model."


def required_max_lora_rank(rank: int) -> int:
    """What to give vLLM as --max-lora-rank. Raises AdapterError for a rank above all it takes."""
    if fitting := [limit for limit in MAX_LORA_RANKS if limit >= rank]:
        return fitting[0]
    raise AdapterError(
        f"rank {rank}: vLLM serves adapters up to rank {MAX_LORA_RANKS[-1]}; merge this one into its base instead "
        "(helptune merge), or train one of a smaller rank"
    )


def check_servable(config: Mapping[str, Any], tensors: Iterable[str]) -> int:
    """The --max-lora-rank that serving needs, for the fields of an adapter_config.json and the names of its tensors.

    Raises AdapterError that lists everything vLLM would refuse.
    """
    faults = [f"{name} is missing" for name in ("r", "lora_alpha", "target_modules") if name not in config]
    faults += [f"{name} is {config[name]!r}" for name in ("modules_to_save", "use_dora") if config.get(name)]
    faults += [f"bias is {config['bias']!r}"] if config.get("bias", "none") != "none" else []
    faults += _tensor_faults(tensors)
    if faults:
        raise AdapterError(
            f"vLLM would refuse this adapter: {'; '.join(faults[:4])}. Merge it (helptune merge) instead"
        )
    return required_max_lora_rank(config["r"])


def _tensor_faults(tensors: Iterable[str]) -> list[str]:
    found: dict[str, set[str]] = {}
    faults = []
    for name in tensors:
        module, _, matrix = name.removesuffix(".weight").rpartition(".")
        if name != f"{module}.{matrix}.weight" or matrix not in ("lora_A", "lora_B") or _PREFIX not in name:
            faults.append(f"{name} is no lora_A.weight or lora_B.weight under {_PREFIX}")
        elif module.rpartition(".")[2] not in MODULES:
            faults.append(f"{name} belongs to none of {', '.join(MODULES)}")
        else:
            found.setdefault(module, set()).add(matrix)
    halves = {module: matrices.pop() for module, matrices in found.items() if len(matrices) == 1}
    return faults + [f"{module} has {matrix} only" for module, matrix in halves.items()]
