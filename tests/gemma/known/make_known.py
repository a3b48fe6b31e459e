"""Write the checkpoints and answers in this folder: `python make_known.py`, where torch and transformers are installed.

Small random models, all parameters drawn, saved as `save_pretrained` saves the published ones (shards and an index);
beside each, the tokens and what transformers computes from the saved weights in float32.
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4, "head_dim": 8,
    "max_position_embeddings": 64,
}  # fmt: skip


def model(generation):
    """An untrained Gemma 1 (a key head for each query head), Gemma 1 with one shared key head, or Gemma 3."""
    if generation == "gemma3":
        config = transformers.Gemma3TextConfig(
            **SIZES, num_hidden_layers=3, num_key_value_heads=2, sliding_window=5, query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        )  # fmt: skip
        return transformers.Gemma3ForCausalLM(config)
    kv_heads = {"gemma1": 4, "gemma1_shared_keys": 1}[generation]
    return transformers.GemmaForCausalLM(
        transformers.GemmaConfig(**SIZES, num_hidden_layers=2, num_key_value_heads=kv_heads)
    )


def make(folder, generation, seed=0):
    """Write one model and its answers to `folder`."""
    torch.manual_seed(seed)
    network = model(generation)
    with torch.no_grad():
        for name, values in network.named_parameters():
            values.copy_(torch.randn(values.shape) * (0.3 if "norm" in name else values.shape[-1] ** -0.5))
    network.to(torch.bfloat16).save_pretrained(folder, max_shard_size="30KB")
    network = type(network).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tokens = torch.randint(0, SIZES["vocab_size"], (2, 10))
    with torch.no_grad():
        found = network(tokens, output_hidden_states=True)
    answers = {"tokens": tokens, "logits": found.logits, "hidden": torch.stack(found.hidden_states)}
    about = {"made by": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    save_file(answers, Path(folder) / "answers.st", metadata=about)


if __name__ == "__main__":
    here = Path(sys.argv[0]).parent
    for name in ("gemma1", "gemma1_shared_keys", "gemma3"):
        make(here / name, name)
