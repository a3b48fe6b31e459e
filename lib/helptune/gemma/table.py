"""Where each leaf of the model lies in each published format: one row a leaf, its name there and its axes.

Axes are shape letters (`shapes.py`): `(N H)` is one axis that counts heads and their features, a digit is a fixed
index, so `"1 K D H"` under `kv_einsum` reads: the values are entry 1 of a tensor [2, K, D, H]. Sources: the `gemma`
package by Google DeepMind for the Orbax trees on Kaggle, transformers for the Hugging Face names, llama.cpp for GGUF.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from helptune.gemma.base import block_shapes
from helptune.gemma.config import GemmaConfig

LEAF_AXES = {
    "embedding": "V D", "final_norm": "D",
    "q": "D (N H)", "k": "D (K H)", "v": "D (K H)", "o": "(N H) D", "gate": "D M", "up": "D M", "down": "M D",
    "pre_attention_norm": "D", "post_attention_norm": "D", "pre_mlp_norm": "D", "post_mlp_norm": "D",
    "q_norm": "H", "k_norm": "H",
}  # fmt: skip
"""One layer of each leaf as the model multiplies by it: [in, out]."""

_PADDING = 128
"""Unused rows after the 256,000 of Gemma 1's vocabulary in its Orbax files: the embedding was padded to 256,128."""


def _gemma1(config: GemmaConfig) -> bool:
    return not config.post_norms


def _gemma3(config: GemmaConfig) -> bool:
    return config.post_norms


def _one_key_a_query(config: GemmaConfig) -> bool:
    return config.kv_heads == config.heads


def _shared_keys(config: GemmaConfig) -> bool:
    return config.kv_heads != config.heads


def _always(config: GemmaConfig) -> bool:
    return True


@dataclass(frozen=True)
class Row:
    """One leaf in one format. `{i}` in `name` is the layer; `only` says for which models the row holds.

    `padding` rows may follow the vocabulary; `plus` is what the file adds to the value.
    """

    leaf: str
    name: str
    axes: str
    only: Callable[[GemmaConfig], bool] = _always
    padding: int = 0
    plus: float = 0.0


HUGGING_FACE = (
    Row("embedding", "model.embed_tokens.weight", "V D"),
    Row("final_norm", "model.norm.weight", "D"),
    Row("q", "model.layers.{i}.self_attn.q_proj.weight", "(N H) D"),
    Row("k", "model.layers.{i}.self_attn.k_proj.weight", "(K H) D"),
    Row("v", "model.layers.{i}.self_attn.v_proj.weight", "(K H) D"),
    Row("o", "model.layers.{i}.self_attn.o_proj.weight", "D (N H)"),
    Row("q_norm", "model.layers.{i}.self_attn.q_norm.weight", "H"),
    Row("k_norm", "model.layers.{i}.self_attn.k_norm.weight", "H"),
    Row("gate", "model.layers.{i}.mlp.gate_proj.weight", "M D"),
    Row("up", "model.layers.{i}.mlp.up_proj.weight", "M D"),
    Row("down", "model.layers.{i}.mlp.down_proj.weight", "D M"),
    Row("pre_attention_norm", "model.layers.{i}.input_layernorm.weight", "D"),
    # One name, two meanings: in Gemma 1 it is the norm before the MLP, in Gemma 3 the one after attention.
    Row("pre_mlp_norm", "model.layers.{i}.post_attention_layernorm.weight", "D", only=_gemma1),
    Row("post_attention_norm", "model.layers.{i}.post_attention_layernorm.weight", "D", only=_gemma3),
    Row("pre_mlp_norm", "model.layers.{i}.pre_feedforward_layernorm.weight", "D", only=_gemma3),
    Row("post_mlp_norm", "model.layers.{i}.post_feedforward_layernorm.weight", "D"),
)

ORBAX = (
    Row("embedding", "embedder/input_embedding", "V D", only=_gemma1, padding=_PADDING),
    Row("embedding", "embedder/input_embedding", "V D", only=_gemma3),
    Row("final_norm", "final_norm/scale", "D"),
    Row("q", "layer_{i}/attn/qkv_einsum", "0 N D H", only=_one_key_a_query),
    Row("k", "layer_{i}/attn/qkv_einsum", "1 K D H", only=_one_key_a_query),
    Row("v", "layer_{i}/attn/qkv_einsum", "2 K D H", only=_one_key_a_query),
    Row("q", "layer_{i}/attn/q_einsum", "N D H", only=_shared_keys),
    Row("k", "layer_{i}/attn/kv_einsum", "0 K D H", only=_shared_keys),
    Row("v", "layer_{i}/attn/kv_einsum", "1 K D H", only=_shared_keys),
    Row("o", "layer_{i}/attn/attn_vec_einsum", "N H D"),
    Row("q_norm", "layer_{i}/attn/_query_norm/scale", "H"),
    Row("k_norm", "layer_{i}/attn/_key_norm/scale", "H"),
    Row("gate", "layer_{i}/mlp/gating_einsum", "0 D M", only=_gemma1),
    Row("up", "layer_{i}/mlp/gating_einsum", "1 D M", only=_gemma1),
    Row("gate", "layer_{i}/mlp/gating_einsum", "0 M D", only=_gemma3),
    Row("up", "layer_{i}/mlp/gating_einsum", "1 M D", only=_gemma3),
    Row("down", "layer_{i}/mlp/linear", "M D"),
    Row("pre_attention_norm", "layer_{i}/pre_attention_norm/scale", "D"),
    Row("post_attention_norm", "layer_{i}/post_attention_norm/scale", "D"),
    Row("pre_mlp_norm", "layer_{i}/pre_ffw_norm/scale", "D"),
    Row("post_mlp_norm", "layer_{i}/post_ffw_norm/scale", "D"),
)

GGUF = (
    Row("embedding", "token_embd.weight", "V D"),
    Row("final_norm", "output_norm.weight", "D", plus=1.0),
    Row("q", "blk.{i}.attn_q.weight", "(N H) D"),
    Row("k", "blk.{i}.attn_k.weight", "(K H) D"),
    Row("v", "blk.{i}.attn_v.weight", "(K H) D"),
    Row("o", "blk.{i}.attn_output.weight", "D (N H)"),
    Row("q_norm", "blk.{i}.attn_q_norm.weight", "H", plus=1.0),
    Row("k_norm", "blk.{i}.attn_k_norm.weight", "H", plus=1.0),
    Row("gate", "blk.{i}.ffn_gate.weight", "M D"),
    Row("up", "blk.{i}.ffn_up.weight", "M D"),
    Row("down", "blk.{i}.ffn_down.weight", "D M"),
    Row("pre_attention_norm", "blk.{i}.attn_norm.weight", "D", plus=1.0),
    Row("post_attention_norm", "blk.{i}.post_attention_norm.weight", "D", plus=1.0),
    Row("pre_mlp_norm", "blk.{i}.ffn_norm.weight", "D", plus=1.0),
    Row("post_mlp_norm", "blk.{i}.post_ffw_norm.weight", "D", plus=1.0),
)


Table = tuple[Row, ...]


def rows_for(table: Table, config: GemmaConfig) -> dict[str, Row]:
    """leaf -> its row of `table`, for the leaves this model has."""
    leaves = {"embedding", "final_norm", *block_shapes(config)}
    return {row.leaf: row for row in table if row.leaf in leaves and row.only(config)}


def stored_shapes(table: Table, config: GemmaConfig) -> dict[str, set[tuple[int, ...]]]:
    """Name of every tensor in a complete file -> the shapes it may have there."""
    size = sizes(config)
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for row in rows_for(table, config).values():  # of rows that share a tensor the last has its highest index
        axes = [int(axis) + 1 if axis.isdigit() else math.prod(size[a] for a in axis) for axis in groups(row.axes)]
        allowed = {tuple(axes), (axes[0] + row.padding, *axes[1:])}
        shapes |= dict.fromkeys(names(row, config), allowed)
    return shapes


def names(row: Row, config: GemmaConfig) -> list[str]:
    """The row's tensors in a file: one a layer, or a single one."""
    return [row.name.format(i=i) for i in range(config.layers)] if "{i}" in row.name else [row.name]


def sizes(config: GemmaConfig) -> dict[str, int]:
    """Length of each axis letter."""
    c = config
    return {"V": c.vocab, "D": c.width, "M": c.mlp_width, "N": c.heads, "K": c.kv_heads, "H": c.head_width}


def groups(axes: str) -> list[str]:
    """`"0 (N H) D"` -> "0", "NH", "D": one text an axis of the tensor."""
    return [group.strip("()").replace(" ", "") for group in re.findall(r"\([^)]*\)|\S+", axes)]
