"""Named configurations: where to start from; every option of the command line overrides its field.

An *effective batch* is counted in packed rows, not in conversations: a step sees `batch_rows` rows of `seq_len` tokens,
each filled with as many conversations as fit. 64 rows of 1,024 tokens are 64 conversations when every one fills a row,
and about 256 of 256 tokens each.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from helptune.adapt.lora import LoraConfig
from helptune.errors import SettingError
from helptune.experiment.config import RunConfig
from helptune.train.config import TrainConfig
from helptune.train.optimizer import OptimizerConfig

PRESETS = {
    "gemma-3-270m": RunConfig(),
    # The micro-batch of 8 rows is one row a GPU on 8 GPUs. Steps decide when training ends, not epochs: with little
    # data they are many passes, and `patience` ends them when the held-back loss no longer falls.
    "gemma-7b-it": RunConfig(
        model="gemma-7b-it",
        max_new_tokens=256,
        repetition_penalty=1.0,
        lora=LoraConfig(rank=16, alpha=32.0, dropout=0.1),
        train=TrainConfig(
            seq_len=1_024,
            batch_rows=64,
            accumulate=8,
            epochs=100,
            max_steps=2_000,
            eval_every=100,
            patience=5,
            remat="full",
            optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=500, weight_decay=0.01, clip_norm=1.0),
        ),
    ),
}


def named_preset(name: str) -> RunConfig:
    """Raises SettingError that lists the presets."""
    if name not in PRESETS:
        raise SettingError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]


def override(config: Any, **options: Any) -> Any:
    """`config` with the fields named in `options` replaced, wherever they live in it; None leaves a field as it is."""
    changes = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            changes[field.name] = override(value, **options)
        elif options.get(field.name) is not None:
            changes[field.name] = options[field.name]
    return replace(config, **changes)
