"""`config.json` of a Hugging Face folder: what it says becomes the model, what we cannot do is an error."""

import json
from dataclasses import replace

import pytest
from gemma_layouts import MODELS, hugging_face_config

from helptune.errors import WeightsError
from helptune.gemma.config import gemma3_1b, gemma3_270m, gemma_2b, gemma_7b, tiny
from helptune.gemma.hf_config import config_of, differences

KINDS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]  # of tiny(3)


@pytest.fixture
def read(tmp_path):
    """Write fields as config.json and read it; fields that are None are left out."""

    def write_and_read(config, **changes):
        fields = hugging_face_config(config) | changes
        text = json.dumps({name: value for name, value in fields.items() if value is not None})
        (tmp_path / "config.json").write_text(text)
        return config_of(tmp_path)

    return write_and_read


@pytest.mark.parametrize("config", [gemma_2b(), gemma_7b(), gemma3_270m(), gemma3_1b()], ids=lambda c: c.name)
def test_a_published_model_is_recognized_with_its_name(config, read):
    assert read(config) == config


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.name)
def test_a_model_of_any_other_size_is_read_too(config, read):
    found = read(config)
    assert found == replace(config, name=found.name)
    assert f"({config.layers} layers, width 32)" in found.name


def test_a_published_model_keeps_the_context_its_file_states(read):
    assert read(gemma_7b(), max_position_embeddings=1024) == replace(gemma_7b(), context=1024)


def test_the_fields_of_transformers_5_mean_the_same(read):
    ropes = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}}
    newer = {"rope_parameters": ropes, "layer_types": KINDS, "_sliding_window_pattern": 6}
    older = {"rope_theta": None, "rope_local_base_freq": None, "sliding_window_pattern": None}
    assert read(tiny(3), **newer, **older) == read(tiny(3))
    assert read(tiny(1), rope_parameters={"rope_theta": 5.0, "rope_type": "default"}).rope_base_global == 5.0


def test_the_defaults_are_those_of_transformers(read):
    """GemmaConfig() and Gemma3TextConfig() of transformers 5."""
    assert read(tiny(1), rope_theta=None).rope_base_global == 10_000
    three = read(tiny(3), rope_theta=None, rope_local_base_freq=None)
    assert (three.rope_base_local, three.rope_base_global) == (10_000, 1_000_000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "llama"),
        ("model_type", "gemma2"),
        ("model_type", ["gemma3_text"]),
        ("model_type", "gemma3"),
        ("hidden_activation", "silu"),
        ("rms_norm_eps", 1e-5),
        ("attention_bias", True),
        ("final_logit_softcapping", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("tie_word_embeddings", False),
        ("query_pre_attn_scalar", 168),
        ("rope_scaling", {"factor": 8.0, "rope_type": "linear"}),
        ("rope_parameters", {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}}),
        ("rope_parameters", [1]),
        ("rope_parameters", {"full_attention": 3}),
        ("rope_theta", [1]),
        ("rope_theta", -1.0),
        ("num_hidden_layers", "many"),
        ("num_hidden_layers", 0),
        ("hidden_size", True),
        ("sliding_window", None),
        ("layer_types", KINDS[::-1]),
        ("layer_types", 3),
    ],
)
def test_what_the_model_code_would_ignore_is_refused_by_name(field, value, read):
    with pytest.raises(WeightsError, match=rf"config\.json: {field} is .*, this program reads"):
        read(tiny(3), **{field: value})


def test_sizes_that_fit_no_model_are_refused(read):
    with pytest.raises(WeightsError, match=r"config\.json: .*heads=4 must be a multiple of kv_heads=3"):
        read(tiny(3), num_key_value_heads=3)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '"gemma"'])
def test_a_missing_or_damaged_file_is_named(text, tmp_path):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    wrong = "missing; fetch it, or name the model|not JSON|not a JSON object"
    with pytest.raises(WeightsError, match=f"{tmp_path / 'config.json'}: ({wrong})"):
        config_of(tmp_path)


def test_only_what_changes_the_computation_is_a_difference():
    renamed = replace(gemma_7b(), name="mine", context=512)
    assert differences(gemma_7b(), renamed) == []
    assert differences(gemma_7b(), replace(renamed, layers=27)) == ["layers 27, expected 28"]
