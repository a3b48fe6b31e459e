"""A run's configuration: it comes back from disk as it was, and a wrong one is refused by the name of its field."""

import json
import re
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.adapt.lora import LoraConfig
from helptune.errors import RunError, SettingError
from helptune.experiment.config import RunConfig, differences, read_config, to_json
from helptune.gemma.base import SITES
from helptune.gemma.quantize import PRECISIONS
from helptune.train.config import TrainConfig
from helptune.train.optimizer import OptimizerConfig

CONFIGS = st.builds(
    RunConfig,
    model=st.text(),
    checkpoint=st.text(),
    precision=st.sampled_from(PRECISIONS),
    mesh=st.just(()) | st.tuples(*[st.integers(1, 64)] * 3),
    deterministic=st.booleans(),
    train_file=st.text(),
    heldout_file=st.text(),
    max_new_tokens=st.integers(1, 500),
    lora=st.builds(
        LoraConfig,
        rank=st.integers(1, 64),
        alpha=st.floats(0.1, 100.0),
        dropout=st.floats(0.0, 0.9),
        sites=st.lists(st.sampled_from(SITES), min_size=1, unique=True).map(tuple),
        rank_stabilized=st.booleans(),
    ),
    train=st.builds(
        TrainConfig,
        seq_len=st.integers(1, 4096),
        seed=st.integers(0, 2**31),
        optimizer=st.builds(OptimizerConfig, learning_rate=st.floats(1e-8, 1.0)),
    ),
)

# What is wrong -> the JSON, and what the message must name.
WRONG = {
    "unknown field": ({"precisoin": "int8"}, "precisoin is not one of adapter, base_sha256"),
    "unknown field, nested": ({"lora": {"rang": 3}}, "lora.rang is not one of alpha, dropout, rank"),
    "unknown field, nested twice": ({"train": {"optimizer": {"lr": 1.0}}}, "train.optimizer.lr is not one of"),
    "bad precision": ({"precision": "float16"}, "precision 'float16' of the base is not one of bfloat16, float32"),
    "a mesh of two": ({"mesh": [1, 8]}, "mesh [1, 8]: must be three numbers of at least 1, data,fsdp,tensor"),
    "a mesh with nothing": ({"mesh": [1, 0, 1]}, "mesh [1, 0, 1]: must be three numbers"),
    "a mesh of text": ({"mesh": ["1", "8", "1"]}, "mesh[0] must be of type int, found '1'"),
    "no deterministic": ({"deterministic": 0}, "deterministic must be of type bool, found 0"),
    "text for a number": ({"max_new_tokens": "160"}, "max_new_tokens must be of type int, found '160'"),
    "a fraction for a count": ({"train": {"epochs": 1.5}}, "train.epochs must be of type int, found 1.5"),
    "true for a count": ({"lora": {"rank": True}}, "lora.rank must be of type int, found True"),
    "true for a number": ({"lora": {"alpha": True}}, "lora.alpha must be of type float, found True"),
    "a list for a count": ({"max_new_tokens": [160]}, "max_new_tokens must be of type int, found [160]"),
    "text for a list": ({"lora": {"sites": "q,k"}}, "lora.sites must be of type list, found 'q,k'"),
    "null": ({"train_file": None}, "train_file must be of type str, found None"),
    "a number for a group": ({"lora": 3}, "lora must be an object, found 3"),
    "not an object": ([], "the file must be an object, found []"),
    "a site that does not exist": ({"lora": {"sites": ["q", "x"]}}, "lora sites ['q', 'x']: choose a subset of"),
    "a value out of range": ({"lora": {"dropout": 1.0}}, "lora dropout=1.0: must be"),
    "a policy of recomputing as it was called once": (
        {"train": {"remat": True}},
        "train.remat must be of type str, found True",
    ),
    "an unknown policy of recomputing": ({"train": {"remat": "some"}}, "remat 'some' is not one of none, dots, full"),
    "values that do not fit each other": ({"train": {"accumulate": 3}}, "batch_rows=4 cannot be split"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


@given(CONFIGS)
def test_a_configuration_round_trips(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    path.write_text(to_json(config))
    assert read_config(path) == config
    assert differences(read_config(path), config) == []


def test_fields_left_out_take_their_defaults(path):
    path.write_text('{"lora": {"rank": 4}}')
    assert read_config(path) == RunConfig(lora=LoraConfig(rank=4))


def test_a_whole_number_may_stand_for_a_float(path):
    """JSON does not tell them apart."""
    path.write_text('{"lora": {"alpha": 8}}')
    assert read_config(path).lora.alpha == 8.0


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_configuration_is_refused_with_file_and_field(kind, path):
    values, told = WRONG[kind]
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=f"^{re.escape(str(path))}: not a valid configuration: {re.escape(told)}"):
        read_config(path)


@pytest.mark.parametrize("data", [b"", b'{"precision": ', b"\xff"], ids=["empty", "cut short", "not text"])
def test_a_damaged_file_is_refused(data, path):
    path.write_bytes(data)
    with pytest.raises(RunError, match="not a valid configuration"):
        read_config(path)


def test_a_missing_file_is_refused(path):
    with pytest.raises(RunError, match=r"config\.json: not a valid configuration: .*No such file"):
        read_config(path)


def test_differences_name_the_fields_with_both_values():
    old = RunConfig()
    new = replace(
        old,
        precision="float32",
        mesh=(1, 8, 1),
        train=replace(old.train, seed=7, optimizer=replace(old.train.optimizer, learning_rate=1.0)),
    )
    learning_rate = old.train.optimizer.learning_rate
    assert differences(old, new) == [
        "precision: 'bfloat16' -> 'float32'",
        "mesh: () -> (1, 8, 1)",
        "train.seed: 0 -> 7",
        f"train.optimizer.learning_rate: {learning_rate} -> 1.0",
    ]


def test_every_field_counts_as_a_difference():
    """A field that did not would let two different runs share a directory."""

    def leaves(values):
        return sum(leaves(v) if isinstance(v, dict) else 1 for v in values.values())

    old = RunConfig()
    optimizer = OptimizerConfig(0.1, 1, 0.2, 0.8, 0.9, 0.2, 2.0, "wsd", 0.5, 1.0)
    steps = {"epochs": 9, "max_steps": 3, "eval_every": 5, "patience": 7, "min_improvement": 0.1, "max_rise": 1.0}
    train = TrainConfig(
        seq_len=64, batch_rows=6, accumulate=2, seed=1, remat="full", neftune_alpha=5.0, optimizer=optimizer, **steps
    )
    base = RunConfig("a", "b", "int8", (1, 2, 1), True, "c", "d", ("t=x",), "e", "f", 7, 1.5)
    lora = LoraConfig(3, 5.0, 0.5, ("q",), True)
    new = replace(base, adapter="pfeiffer", bottleneck_width=8, lora=lora, train=train)
    with_ratio = replace(old, train=replace(old.train, optimizer=OptimizerConfig(lora_plus=4.0)))  # not of a bottleneck
    assert len(differences(old, new) + differences(old, with_ratio)) == leaves(asdict(old))


def test_only_lora_has_a_matrix_b_to_give_another_learning_rate():
    train = TrainConfig(optimizer=OptimizerConfig(lora_plus=16.0))
    assert RunConfig(train=train).train.optimizer.lora_plus == 16
    with pytest.raises(SettingError, match=r"lora_plus=16\.0: only LoRA .* with adapter houlsby leave it at 1"):
        RunConfig(adapter="houlsby", train=train)
