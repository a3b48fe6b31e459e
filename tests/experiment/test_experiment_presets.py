"""Presets: the small run is what nothing asked for gives, the large one is the specification's, options win."""

from dataclasses import asdict

import pytest

from helptune.errors import SettingError
from helptune.experiment.config import RunConfig, differences, read_config, to_json
from helptune.experiment.presets import PRESETS, named_preset, override
from helptune.gemma.config import named


def test_the_small_preset_is_the_default_configuration():
    assert named_preset("gemma-3-270m") == RunConfig()


def test_the_large_preset_lies_within_the_specification():
    """Its ranges: rank 16-32, alpha 32-64, dropout 0.1, learning rate 1e-4 to 5e-4, effective batch 64-256 rows,
    2,000-8,000 steps, 500 of warmup, clip 1.0, weight decay 0.01, bfloat16.
    """
    config = named_preset("gemma-7b-it")
    train, optimizer = config.train, config.train.optimizer
    assert (config.model, config.precision) == ("gemma-7b-it", "bfloat16")
    assert 16 <= config.lora.rank <= 32
    assert 32 <= config.lora.alpha <= 64
    assert config.lora.dropout == 0.1
    assert len(config.lora.sites) == 7
    assert 64 <= train.batch_rows <= 256
    assert 2_000 <= train.max_steps <= 8_000
    assert 1e-4 <= optimizer.learning_rate <= 5e-4
    assert (optimizer.warmup_steps, optimizer.clip_norm, optimizer.weight_decay) == (500, 1.0, 0.01)
    assert train.remat == "full"


def test_a_micro_batch_of_the_large_preset_is_whole_rows_on_one_and_on_eight_devices():
    train = named_preset("gemma-7b-it").train
    assert train.batch_rows // train.accumulate % 8 == 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_a_known_model_and_survives_the_disk(name, tmp_path):
    config = named_preset(name)
    assert named(config.model).name == config.model
    (tmp_path / "config.json").write_text(to_json(config))
    assert read_config(tmp_path / "config.json") == config


def test_an_option_replaces_its_field_wherever_it_lives_and_nothing_else():
    config = override(RunConfig(), precision="int8", rank=4, seq_len=64, warmup_steps=2, alpha=None)
    assert differences(RunConfig(), config) == [
        "precision: 'bfloat16' -> 'int8'",
        "lora.rank: 16 -> 4",
        "train.seq_len: 256 -> 64",
        "train.optimizer.warmup_steps: 10 -> 2",
    ]


def test_every_option_has_one_field():
    """Two fields of one name would both be replaced by one option."""

    def names(values):
        return [n for name, value in values.items() for n in (names(value) if isinstance(value, dict) else [name])]

    found = names(asdict(RunConfig()))
    assert sorted(found) == sorted(set(found))


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(SettingError, match="preset 'gemma-9b' is not one of gemma-3-270m, gemma-7b-it"):
        named_preset("gemma-9b")
