"""A Hugging Face folder written by us: read back it is the same model, whatever its size and however it is cut."""

import json
from dataclasses import replace

import jinja2
import jinja2.sandbox
import numpy as np
import pytest
from gemma_layouts import MODELS, assert_same_leaves, hugging_face_tensors

from helptune.errors import WeightsError
from helptune.gemma.base import init_base
from helptune.gemma.chat import render
from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.config import gemma3_1b, gemma3_270m, gemma_2b, gemma_7b, tiny
from helptune.gemma.hf_config import config_of, write_config
from helptune.gemma.hf_folder import (
    CHAT_TEMPLATE,
    TOKENIZER_CONFIG,
    write_generation_config,
    write_tokenizer,
    write_weights,
)
from helptune.gemma.safetensors_files import INDEX, SINGLE, open_safetensors


def write(folder, base, **options):
    def leaf(name, layer):
        if layer is not None:
            return np.asarray(base.blocks[name][layer])
        return np.asarray(base.embedding if name == "embedding" else base.final_norm)

    write_weights(folder, base.config, leaf, **options)
    write_config(folder, base.config, "float32")


@pytest.mark.parametrize("config", [gemma_2b(), gemma_7b(), gemma3_270m(), gemma3_1b(), *MODELS], ids=lambda c: c.name)
def test_a_written_config_is_read_back_as_the_same_model(config, tmp_path):
    write_config(tmp_path, config, "bfloat16")
    found = config_of(tmp_path)
    assert found == replace(config, name=found.name)
    assert found.name == config.name or config.name.startswith("tiny")


def test_a_model_the_file_cannot_describe_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"odd cannot be described by a config.json: .*qk_norm"):
        write_config(tmp_path, replace(tiny(1), name="odd", qk_norm=True), "float32")


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.name)
def test_written_weights_are_read_back_bit_for_bit_and_have_the_published_names(config, tmp_path, key):
    base = init_base(config, key)
    write(tmp_path, base)
    assert (tmp_path / SINGLE).is_file()
    assert_same_leaves(load_checkpoint(tmp_path, config, "float32"), base)
    assert set(open_safetensors(tmp_path)) == set(hugging_face_tensors(base))


def test_shards_stay_below_their_limit_and_are_the_same_model(tmp_path, key):
    base = init_base(tiny(3), key)
    write(tmp_path, base, shard_bytes=40_000)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    embedding, *others = (shard.stat().st_size for shard in shards)
    assert embedding > 40_000  # one tensor is never cut
    assert max(others) < 45_000
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 4 * base.config.parameters
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert_same_leaves(load_checkpoint(tmp_path, base.config, "float32"), base)


def test_an_answer_ends_at_both_ends(tmp_path):
    write_generation_config(tmp_path, gemma_7b())
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [1, 107]


def test_the_files_beside_a_tokenizer_come_along_with_our_chat_format(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "tokenizer.json").write_text("{}")
    (tmp_path / "theirs" / TOKENIZER_CONFIG).write_text('{"bos_token": "<bos>", "chat_template": "other"}')
    write_tokenizer(tmp_path, b"proto", tmp_path / "theirs")
    assert (tmp_path / "tokenizer.model").read_bytes() == b"proto"
    assert (tmp_path / "tokenizer.json").read_text() == "{}"
    fields = json.loads((tmp_path / TOKENIZER_CONFIG).read_text())
    assert fields == {"bos_token": "<bos>", "chat_template": CHAT_TEMPLATE}
    (tmp_path / "theirs" / TOKENIZER_CONFIG).write_text("{")
    with pytest.raises(WeightsError, match=f"{TOKENIZER_CONFIG}: not a JSON object"):
        write_tokenizer(tmp_path, b"proto", tmp_path / "theirs")


def by_template(messages, reply=False):
    """As transformers runs it: in a sandbox, with a function for errors."""

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(CHAT_TEMPLATE, globals={"raise_exception": raise_exception})
    return template.render(messages=messages, bos_token="<bos>", add_generation_prompt=reply)


def say(role, content):
    return {"role": role, "content": content}


CHATS = [
    [say("user", " Hi \n")],
    [say("user", "Hi"), say("assistant", "  Hello!\n\n"), say("user", "a\n\nb")],
    [say("system", " Be brief. "), say("user", " Hi "), say("assistant", "Yes.")],
]


@pytest.mark.parametrize("reply", [False, True])
@pytest.mark.parametrize("chat", CHATS)
def test_the_template_says_what_render_says(chat, reply, tokenizer):
    config = gemma3_270m()
    pieces = {2: "<bos>", config.turn_start: "<start_of_turn>", config.turn_end: "<end_of_turn>"}
    ids, _ = render(chat, tokenizer, config, reply=reply)
    text = "".join(pieces.get(i) or tokenizer.decode([i]) for i in ids)
    assert by_template(chat, reply) == text


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["user", "system"], ["system", "assistant"], ["x"]])
def test_the_template_refuses_turns_out_of_order(roles):
    with pytest.raises(jinja2.TemplateError, match="turns by turns"):
        by_template([say(role, "hi") for role in roles])


@pytest.fixture(scope="module")
def key():
    import jax

    return jax.random.key(0)
