"""The published layouts, written out by hand at any size: what the readers are tested against."""

import io
import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
import sentencepiece

from helptune.gemma.config import tiny
from helptune.gemma.reference import reference_tree

VOCABULARY_PADDING = 128  # rows that Gemma 1's Orbax files have after the vocabulary
MODELS = [tiny(1), replace(tiny(1), name="tiny-1-shared-keys", kv_heads=1), tiny(3)]
"""One of each kind: the layouts store these differently."""


def assert_same_leaves(found, expected):
    """The same tree, and in it equal values of the same shape and dtype."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), found, expected)


def layers_of(base):
    """One dict of leaves a layer."""
    return [{name: leaf[i] for name, leaf in base.blocks.items()} for i in range(base.config.layers)]


def hugging_face_tensors(base):
    """Name -> values, matrices [out, in], as transformers saves GemmaForCausalLM and Gemma3ForCausalLM."""
    tensors = {"model.embed_tokens.weight": base.embedding, "model.norm.weight": base.final_norm}
    for i, w in enumerate(layers_of(base)):
        block = {
            "self_attn.q_proj": w["q"].T,
            "self_attn.k_proj": w["k"].T,
            "self_attn.v_proj": w["v"].T,
            "self_attn.o_proj": w["o"].T,
            "mlp.gate_proj": w["gate"].T,
            "mlp.up_proj": w["up"].T,
            "mlp.down_proj": w["down"].T,
            "input_layernorm": w["pre_attention_norm"],
        }
        if base.config.post_norms:
            block |= {
                "self_attn.q_norm": w["q_norm"],
                "self_attn.k_norm": w["k_norm"],
                "post_attention_layernorm": w["post_attention_norm"],
                "pre_feedforward_layernorm": w["pre_mlp_norm"],
                "post_feedforward_layernorm": w["post_mlp_norm"],
            }
        else:
            block["post_attention_layernorm"] = w["pre_mlp_norm"]
        tensors |= {f"model.layers.{i}.{name}.weight": values for name, values in block.items()}
    return {name: np.ascontiguousarray(values) for name, values in tensors.items()}


def hugging_face_config(config):
    """config.json as transformers 4 wrote it for the published models."""
    fields = {
        "architectures": ["GemmaForCausalLM"],
        "attention_bias": False,
        "head_dim": config.head_width,
        "hidden_act": "gelu",
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.context,
        "model_type": "gemma",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": config.rope_base_global,
        "torch_dtype": "bfloat16",
        "vocab_size": config.vocab,
    }
    if config.post_norms:
        del fields["hidden_act"]
        fields |= {
            "architectures": ["Gemma3ForCausalLM"],
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "hidden_activation": "gelu_pytorch_tanh",
            "model_type": "gemma3_text",
            "query_pre_attn_scalar": config.head_width,
            "rope_local_base_freq": config.rope_base_local,
            "sliding_window": config.window,
            "sliding_window_pattern": config.global_every,
        }
    return fields


def write_hugging_face(folder, base, shards=2, tensors=None):
    """The folder a user downloads: shards of whole tensors in order, their index, and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hugging_face_config(base.config)))
    tensors = hugging_face_tensors(base) if tensors is None else tensors
    if shards == 1:
        safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    places = {}
    for i, names in enumerate(np.array_split(sorted(tensors), shards)):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        safetensors.numpy.save_file({name: tensors[name] for name in names}, folder / file, metadata={"format": "pt"})
        places |= {str(name): file for name in names}
    total = sum(values.nbytes for values in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


TURNS = [f"<unused{i}>" for i in range(102)] + ["<start_of_turn>", "<end_of_turn>"]  # ids 4 to 107, as published


def write_tokenizer(folder, texts, vocab):
    """A tokenizer of at most `vocab` pieces, trained on the texts, with the special ones where Gemma has them."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model,
        vocab_size=vocab, hard_vocab_limit=False, model_type="bpe", byte_fallback=True, user_defined_symbols=TURNS,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, minloglevel=3,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())


def gguf_tensors(base):
    """Name -> values as llama.cpp stores Gemma 3: matrices [out, in], norm scales with their 1 added."""
    tensors = {"token_embd.weight": base.embedding, "output_norm.weight": 1 + base.final_norm}
    for i, w in enumerate(layers_of(base)):
        block = {
            "attn_q": w["q"].T,
            "attn_k": w["k"].T,
            "attn_v": w["v"].T,
            "attn_output": w["o"].T,
            "ffn_gate": w["gate"].T,
            "ffn_up": w["up"].T,
            "ffn_down": w["down"].T,
            "attn_norm": 1 + w["pre_attention_norm"],
            "attn_q_norm": 1 + w["q_norm"],
            "attn_k_norm": 1 + w["k_norm"],
            "post_attention_norm": 1 + w["post_attention_norm"],
            "ffn_norm": 1 + w["pre_mlp_norm"],
            "post_ffw_norm": 1 + w["post_mlp_norm"],
        }
        tensors |= {f"blk.{i}.{name}.weight": values for name, values in block.items()}
    return {name: np.ascontiguousarray(values, np.float32) for name, values in tensors.items()}


def kaggle_tree(base):
    """The published trees: two levels, paths as keys, and padding after the vocabulary of Gemma 1."""

    def walk(node, path):
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, (*path, key))
            elif path[-1] == "mlp":
                yield "/".join((*path, key)), {"w": value}
            else:
                yield "/".join(path), {key: value}

    tree = dict(walk(reference_tree(base), ("transformer",)))
    if not base.config.post_norms:
        padding = jnp.ones((VOCABULARY_PADDING, base.config.width), base.embedding.dtype)
        tree["transformer/embedder"] = {"input_embedding": jnp.concatenate([base.embedding, padding])}
    return tree


def write_orbax(folder, tree, **handler):
    """Save as Orbax does; `handler` takes options of its PyTreeCheckpointHandler, such as `use_ocdbt`."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**handler)) as checkpointer:
        checkpointer.save(folder.absolute(), tree)
    return folder
