"""What Gemma's authors compute: their own implementation (the `gemma` package), run on our weights.

A loss that looks right proves little; hidden states that are equal after every layer prove much.
"""

import os
from typing import Any

import jax.numpy as jnp
from flax import struct

from helptune.gemma.base import Base
from helptune.shapes import Array, Float


@struct.dataclass
class ReferenceStates:
    """Of one text: `blocks` is the output of each block, `hidden` that of the final norm, `last` the last logits."""

    blocks: Float[Array, "L T D"]
    hidden: Float[Array, "T D"]
    last: Float[Array, "V"]


def reference_states(base: Base, ids: list[int]) -> ReferenceStates:
    """DeepMind's Gemma 3 270M on one text, in float32.

    The `gemma` package is imported here alone: it brings TensorFlow along, which takes about 10 seconds.
    """
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")  # or TensorFlow tells of itself on stderr
    from gemma import gm
    from gemma.gm.nn import _modules

    def kept(module: Any, _: str) -> bool:
        return isinstance(module, _modules.Block) or module.name == "final_norm"

    output, state = gm.nn.Gemma3_270M(dtype=jnp.float32).apply(
        {"params": reference_tree(base)},
        jnp.array([ids]),
        return_last_only=True,  # all logits of a long text would not fit a small machine
        capture_intermediates=kept,
        mutable=["intermediates"],
    )
    seen = state["intermediates"]
    blocks = [seen[f"layer_{i}"]["__call__"][0][1][0] for i in range(base.config.layers)]
    return ReferenceStates(jnp.stack(blocks), seen["final_norm"]["__call__"][0][0], output.logits[0])


def reference_tree(base: Base) -> dict[str, Any]:
    """The parameters of `gm.nn.Transformer`: how the `gemma` package holds and saves them."""
    layers = [{name: leaf[i] for name, leaf in base.blocks.items()} for i in range(base.config.layers)]
    return {
        "embedder": {"input_embedding": base.embedding},
        "final_norm": {"scale": base.final_norm},
        **{f"layer_{i}": _layer(base, weights) for i, weights in enumerate(layers)},
    }


def _layer(base: Base, w: dict[str, Array]) -> dict[str, Any]:
    config = base.config

    def by_head(w: Array, heads: int) -> Array:
        return w.reshape(config.width, heads, config.head_width).transpose(1, 0, 2)

    q, k, v = by_head(w["q"], config.heads), by_head(w["k"], config.kv_heads), by_head(w["v"], config.kv_heads)
    attention: dict[str, Any]
    if config.heads == config.kv_heads:
        attention = {"qkv_einsum": {"w": jnp.stack([q, k, v])}}
    else:
        attention = {"q_einsum": {"w": q}, "kv_einsum": {"w": jnp.stack([k, v])}}
    attention["attn_vec_einsum"] = {"w": w["o"].reshape(config.heads, config.head_width, config.width)}
    gating = jnp.stack([w["gate"], w["up"]])
    layer = {
        "attn": attention,
        "mlp": {"gating_einsum": gating, "linear": w["down"]},
        "pre_attention_norm": {"scale": w["pre_attention_norm"]},
        "pre_ffw_norm": {"scale": w["pre_mlp_norm"]},
    }
    if config.post_norms:
        attention |= {"_query_norm": {"scale": w["q_norm"]}, "_key_norm": {"scale": w["k_norm"]}}
        layer["mlp"]["gating_einsum"] = gating.transpose(0, 2, 1)
        layer |= {
            "post_attention_norm": {"scale": w["post_attention_norm"]},
            "post_ffw_norm": {"scale": w["post_mlp_norm"]},
        }
    return layer
