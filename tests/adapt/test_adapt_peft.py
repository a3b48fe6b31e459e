"""Laws of the PEFT format: out and back bit for bit, and what plain LoRA cannot say is an error."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.adapt.lora import LoraConfig
from helptune.adapt.peft_format import (
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    PROVENANCE,
    Provenance,
    module_names,
    peft_config,
    peft_tensors,
    provenance,
    read_peft,
    write_peft,
)
from helptune.adapt.vllm_rules import MAX_LORA_RANKS, check_servable, required_max_lora_rank
from helptune.errors import AdapterError
from helptune.gemma.base import SITES
from helptune.gemma.config import gemma3_270m, tiny

MODEL = tiny(3)
LORA = LoraConfig(rank=4, alpha=12.0, dropout=0.05, sites=("q", "down"), rank_stabilized=True)
ORIGIN = Provenance("ab" * 32, "cd" * 8)
PREFIX = "base_model.model.model.layers"
Q_A = f"{PREFIX}.0.self_attn.q_proj.lora_A.weight"
DOWN_B = f"{PREFIX}.3.mlp.down_proj.lora_B.weight"


@pytest.fixture
def adapters(trained):
    return trained(LORA, MODEL)


@pytest.fixture
def folder(tmp_path, adapters):
    """A PEFT folder without mistakes."""
    write_peft(tmp_path, adapters, LORA, MODEL, "google/tiny-3", ORIGIN)
    return tmp_path


def edit_config(folder, **fields):
    config = json.loads((folder / PEFT_CONFIG).read_text())
    (folder / PEFT_CONFIG).write_text(json.dumps(config | fields))


def edit_tensors(folder, edit):
    tensors = safetensors.numpy.load_file(folder / PEFT_WEIGHTS)
    edit(tensors)
    safetensors.numpy.save_file(tensors, folder / PEFT_WEIGHTS)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_files_are_those_of_peft(folder, adapters):
    tensors = safetensors.numpy.load_file(folder / PEFT_WEIGHTS)
    assert len(tensors) == 2 * 2 * MODEL.layers
    np.testing.assert_array_equal(tensors[Q_A], np.asarray(adapters["q"]["a"][0]).T)
    np.testing.assert_array_equal(tensors[DOWN_B], np.asarray(adapters["down"]["b"][3]).T)
    config = json.loads((folder / PEFT_CONFIG).read_text())
    assert (config["peft_type"], config["task_type"], config["bias"]) == ("LORA", "CAUSAL_LM", "none")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["use_rslora"]) == (4, 12, 0.05, True)
    assert config["target_modules"] == ["down_proj", "q_proj"]
    assert config["base_model_name_or_path"] == "google/tiny-3"


def test_an_adapter_comes_back_bit_for_bit(folder, adapters):
    found, config = read_peft(folder, MODEL)
    assert config == LORA
    assert_same(found, adapters)
    assert provenance(folder) == ORIGIN


def test_the_same_adapter_gives_the_same_bytes(folder, adapters, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _ in range(3):
        write_peft(folder, adapters, LORA, MODEL, "google/tiny-3", ORIGIN)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@settings(deadline=None, max_examples=25)
@given(
    gemma=st.sampled_from([1, 3]),
    rank=st.integers(1, 9),
    alpha=st.floats(0.01, 100),
    dropout=st.sampled_from([0.0, 0.1]),
    sites=st.sets(st.sampled_from(SITES), min_size=1),
    stabilized=st.booleans(),
)
def test_any_adapter_comes_back(tmp_path_factory, gemma, rank, alpha, dropout, sites, stabilized):
    from make_peft_answers import seeded_adapters

    model, folder = tiny(gemma), tmp_path_factory.mktemp("peft")
    config = LoraConfig(rank, alpha, dropout, tuple(site for site in SITES if site in sites), stabilized)
    adapters = seeded_adapters(config, model)
    write_peft(folder, adapters, config, model, "base", Provenance())
    found, read = read_peft(folder, model)
    assert read == config
    for site, pair in adapters.items():
        for part in pair:
            np.testing.assert_array_equal(found[site][part], pair[part])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_as_the_values_it_holds(folder, adapters, dtype):
    import ml_dtypes  # noqa: F401  (gives numpy the name bfloat16)

    edit_tensors(folder, lambda t: t.update({name: values.astype(dtype) for name, values in t.items()}))
    found, _ = read_peft(folder, MODEL)
    assert_same(found, jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype).astype(np.float32), adapters))


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_how_training_started_does_not_matter_where_it_left_the_base_alone(folder, adapters, init):
    edit_config(folder, init_lora_weights=init)
    assert_same(read_peft(folder, MODEL)[0], adapters)


def test_target_modules_may_be_whole_names_as_peft_writes_them_for_all_linear(tmp_path, trained):
    config = LoraConfig(rank=2)
    adapters = trained(config, MODEL)
    write_peft(tmp_path, adapters, config, MODEL, "base", ORIGIN)
    for targets in ("all-linear", list(module_names(MODEL))):
        edit_config(tmp_path, target_modules=targets)
        found, read = read_peft(tmp_path, MODEL)
        assert read.sites == SITES
        assert_same(found, adapters)


def test_the_fields_that_peft_itself_writes_are_read(folder, adapters):
    """All fields of an adapter_config.json by PEFT 0.21 with their defaults."""
    nothing = [
        "alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config", "exclude_modules",
        "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config",
        "megatron_config", "modules_to_save", "monteclora_config", "revision", "target_parameters",
        "trainable_token_indices", "use_bdlora", "velora_config",
    ]  # fmt: skip
    edit_config(
        folder, **dict.fromkeys(nothing), alpha_pattern={}, rank_pattern={}, ensure_weight_tying=False, loftq_config={},
        lora_bias=False, megatron_core="megatron.core", peft_version="0.21.2", qalora_group_size=16, use_qalora=False,
    )  # fmt: skip
    assert_same(read_peft(folder, MODEL)[0], adapters)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', only 'LORA' can be read"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"use_dora": True}, "use_dora is True; plain LoRA .*merge_and_unload"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"rank_pattern": {"q_proj": 8}}, r"rank_pattern is \{'q_proj': 8\}"),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern is"),
        ({"layers_to_transform": [0, 1]}, r"layers_to_transform is \[0, 1\]"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"a_field_of_tomorrow": {"x": 1}}, "a_field_of_tomorrow is"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa': it changed the base"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora': it changed the base"),
        ({"target_modules": ["q_proj", "lm_head"]}, "target_modules names lm_head, which this Gemma does not have"),
        ({"target_modules": ["qkv_proj"]}, "target_modules names qkv_proj"),
        ({"target_modules": r".*\.(q|down)_proj"}, "Write a regular expression out"),
        ({"target_modules": []}, r"target_modules is \[\]; needed is a list"),
        ({"target_modules": ["q_proj"]}, f"8 tensors that {PEFT_CONFIG} does not account for .*down_proj"),
        ({"target_modules": ["q_proj", "down_proj", "k_proj"]}, "8 of 24 tensors are missing: .*k_proj"),
        ({"target_modules": "all-linear"}, "40 of 56 tensors are missing"),
        ({"r": 8}, r"q_proj.lora_A.weight has shape \(4, 32\), needed is \(8, 32\): adapter_config.json states r = 8"),
        ({"r": 0}, "lora rank=0"),
        ({"r": "four"}, "r is 'four', needed is a number"),
        ({"r": None}, "r is missing"),
        ({"lora_alpha": None}, "lora_alpha is missing"),
        ({"lora_dropout": 1.5}, r"lora dropout=1\.5"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_plain_lora_on_this_model_cannot_say_is_refused(folder, fields, message):
    edit_config(folder, **fields)
    with pytest.raises(AdapterError, match=rf"{folder}.*{message}"):
        read_peft(folder, MODEL)


def drop(*names):
    return lambda tensors: [tensors.pop(name) for name in names]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop(Q_A), "1 of 16 tensors are missing: .*layers.0.self_attn.q_proj.lora_A.weight; fetch or export"),
        (lambda t: t.update({f"{PREFIX}.9.mlp.down_proj.lora_A.weight": t[Q_A]}), "1 tensors that .*layers.9"),
        (lambda t: t.update({f"{PREFIX}.0.self_attn.q_proj.lora_magnitude_vector": t[Q_A]}), "lora_magnitude_vector"),
        (lambda t: t.update({Q_A: t[Q_A][:, :16]}), r"\(4, 16\), needed is \(4, 32\): it was trained for a base of ot"),
        (lambda t: t.update({Q_A: t[Q_A][0]}), r"shape \(32,\), needed is \(4, 32\)"),
        (lambda t: t.update({Q_A: t[Q_A].astype(np.int8)}), "dtype I8, needed is one of F32, BF16, F16"),
        (lambda t: t.update({DOWN_B: t[DOWN_B] * np.nan}), "lora_B of down_proj holds NaN or infinity"),
    ],
    ids=["missing", "a layer too many", "DoRA", "narrower base", "a vector", "integers", "NaN"],
)
def test_tensors_that_do_not_fit_are_named(folder, edit, message):
    edit_tensors(folder, edit)
    with pytest.raises(AdapterError, match=rf"{PEFT_WEIGHTS}: .*{message}"):
        read_peft(folder, MODEL)


def test_an_adapter_of_another_gemma_is_refused(folder):
    with pytest.raises(AdapterError, match=r"8 tensors that adapter_config.json does not account for on this Gemma"):
        read_peft(folder, tiny(1))


def test_an_adapter_on_some_layers_only_is_refused(folder):
    all_but_one = [module for module, (site, layer) in module_names(MODEL).items() if (site, layer) != ("q", 2)]
    kept = [module for module in all_but_one if module.endswith(("q_proj", "down_proj"))]
    edit_config(folder, target_modules=kept)
    edit_tensors(folder, drop(*(f"{PREFIX}.2.self_attn.q_proj.lora_{x}.weight" for x in "AB")))
    with pytest.raises(AdapterError, match=r"leaves out model.layers.2.self_attn.q_proj; an adapter here has every"):
        read_peft(folder, MODEL)


@pytest.mark.parametrize("kept", [0, 5, 500, 5_000])
def test_a_truncated_file_is_named(folder, kept):
    (folder / PEFT_WEIGHTS).write_bytes((folder / PEFT_WEIGHTS).read_bytes()[:kept])
    with pytest.raises(AdapterError, match=rf"{PEFT_WEIGHTS}: truncated or damaged, {kept:,} bytes are there"):
        read_peft(folder, MODEL)


def test_a_pickle_is_never_opened(folder):
    (folder / PEFT_WEIGHTS).unlink()
    with pytest.raises(AdapterError, match=rf"{PEFT_WEIGHTS}: missing$"):
        read_peft(folder, MODEL)
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(AdapterError, match=r"adapter_model.bin is a pickle, which can run code .* safe_serialization"):
        read_peft(folder, MODEL)


@pytest.mark.parametrize("text", ["", "{", "[]", '"LORA"'])
def test_a_damaged_configuration_is_named(folder, text):
    (folder / PEFT_CONFIG).write_text(text)
    with pytest.raises(AdapterError, match=f"{PEFT_CONFIG}: not a readable PEFT configuration"):
        read_peft(folder, MODEL)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(AdapterError, match=r"nowhere: not a PEFT adapter folder, adapter_config.json is missing"):
        read_peft(tmp_path / "nowhere", MODEL)


@pytest.mark.parametrize("text", ["{", "[1]", '{"colour": 1}'])
def test_a_damaged_provenance_is_named_and_a_missing_one_is_empty(folder, text):
    (folder / PROVENANCE).write_text(text)
    with pytest.raises(AdapterError, match=f"{PROVENANCE}: damaged"):
        provenance(folder)
    (folder / PROVENANCE).unlink()
    assert provenance(folder) == Provenance()


def test_the_rank_vllm_must_be_told_is_the_next_it_takes():
    assert [required_max_lora_rank(r) for r in (1, 2, 8, 9, 16, 17, 257, 512)] == [1, 8, 8, 16, 16, 32, 320, 512]
    with pytest.raises(AdapterError, match="rank 513: vLLM serves adapters up to rank 512; merge"):
        required_max_lora_rank(MAX_LORA_RANKS[-1] + 1)


def test_what_vllm_would_refuse_is_not_written(tmp_path, trained):
    config = LoraConfig(rank=513, sites=("q",))
    with pytest.raises(AdapterError, match="rank 513"):
        write_peft(tmp_path, trained(config, MODEL), config, MODEL, "base", ORIGIN)
    assert list(tmp_path.iterdir()) == []


def test_every_adapter_of_every_site_is_servable(trained):
    config = LoraConfig(rank=20)
    tensors = peft_tensors(trained(config, MODEL), MODEL)
    assert check_servable(peft_config(config, "base"), tensors) == 32
    assert {site for site, _ in module_names(gemma3_270m()).values()} == set(SITES)


@pytest.mark.parametrize(
    ("fields", "tensors", "message"),
    [
        ({"modules_to_save": ["embed_tokens"]}, [], "modules_to_save is"),
        ({"use_dora": True}, [], "use_dora is True"),
        ({"bias": "lora_only"}, [], "bias is 'lora_only'"),
        ({}, [f"{PREFIX}.0.self_attn.qkv_proj.lora_A.weight"], "qkv_proj.lora_A.weight belongs to none of q_proj"),
        ({}, [Q_A], "layers.0.self_attn.q_proj has lora_A only"),
        ({}, [Q_A.replace("lora_A.weight", "bias")], "bias is no lora_A.weight"),
    ],
    ids=["modules_to_save", "DoRA", "bias", "packed names", "half a pair", "a bias"],
)
def test_each_rule_of_vllm_is_checked(fields, tensors, message):
    with pytest.raises(AdapterError, match=f"vLLM would refuse this adapter: .*{message}"):
        check_servable(peft_config(LORA, "base") | fields, tensors)
