"""AdamW with a global-norm clip and a linear warmup followed by a cosine decay.

AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101. The moments are float32, as the adapters are.
"""

import math
from dataclasses import dataclass
from functools import cache

import optax

from helptune.errors import SettingError


@dataclass(frozen=True)
class OptimizerConfig:
    """`learning_rate` is the peak, reached after `warmup_steps`; the cosine ends at `final_fraction` of it."""

    learning_rate: float = 3e-4
    warmup_steps: int = 10
    final_fraction: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate < math.inf and self.clip_norm > 0):
            raise SettingError(f"learning_rate={self.learning_rate}, clip_norm={self.clip_norm}: both must be positive")
        if not all(0 <= value < 1 for value in (self.beta1, self.beta2)) or not 0 <= self.final_fraction <= 1:
            raise SettingError(
                f"beta1={self.beta1}, beta2={self.beta2}, final_fraction={self.final_fraction}: "
                "all must lie between 0 and 1, the betas below it"
            )
        if not (self.warmup_steps >= 0 and self.weight_decay >= 0):
            raise SettingError(
                f"warmup_steps={self.warmup_steps}, weight_decay={self.weight_decay}: neither may be negative"
            )


def learning_rate(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Step -> learning rate: 0 to the peak over the warmup, then a half cosine down over the rest."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=max(total_steps, config.warmup_steps + 1),
        end_value=config.learning_rate * config.final_fraction,
    )


@cache
def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """The same object for the same arguments: `train_step` then recognizes it and is compiled once."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config, total_steps), b1=config.beta1, b2=config.beta2, weight_decay=config.weight_decay
        ),
    )
