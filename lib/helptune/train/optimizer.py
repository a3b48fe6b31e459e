"""AdamW with a global-norm clip, a linear warmup, and one of four schedules after it.

AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101. Warmup, a stable phase, then decay (wsd): Hu et al. 2024,
arXiv:2404.06395. LoRA+, a higher learning rate for B than for A: Hayou et al. 2024, arXiv:2402.12354. The moments are
float32, as the adapters are.
"""

import math
from dataclasses import dataclass
from functools import cache

import jax
import optax

from helptune.errors import SettingError

SCHEDULES = ("cosine", "linear", "constant", "wsd")


@dataclass(frozen=True)
class OptimizerConfig:
    """`learning_rate` is the peak, reached after `warmup_steps`. What follows is `schedule`: a half cosine or a line
    down to `final_fraction` of the peak (cosine, linear), the peak to the end (constant), or the peak until a line goes
    down over the last `decay_share` of all steps (wsd).

    `lora_plus` is how many times the learning rate of LoRA's A that of its B is; 1 is off.
    """

    learning_rate: float = 3e-4
    warmup_steps: int = 10
    final_fraction: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    schedule: str = "cosine"
    decay_share: float = 0.2
    lora_plus: float = 1.0

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
        if self.schedule not in SCHEDULES:
            raise SettingError(f"schedule {self.schedule!r} is not one of {', '.join(SCHEDULES)}")
        if not 0 < self.decay_share <= 1:
            raise SettingError(f"decay_share={self.decay_share}: must be above 0 and at most 1, a share of all steps")
        if not 0 < self.lora_plus < math.inf:
            raise SettingError(f"lora_plus={self.lora_plus}: must be positive; 1 gives A and B the same learning rate")


def learning_rate(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Step -> learning rate: 0 to the peak over the warmup, then as `schedule` says. It never leaves [0, peak]."""
    peak, end, warmup = config.learning_rate, config.learning_rate * config.final_fraction, config.warmup_steps
    start, total = (0.0 if warmup else peak), max(total_steps, warmup + 1)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(start, peak, warmup, total, end)
    last = max(1, min(round(config.decay_share * total), total - warmup))
    falls = {"linear": total - warmup, "constant": 0, "wsd": last}[config.schedule]
    return optax.join_schedules(
        [optax.linear_schedule(start, peak, warmup), optax.linear_schedule(peak, end, falls)], [total - falls]
    )


@cache
def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """The same object for the same arguments: `train_step` then recognizes it and is compiled once."""
    transforms = [
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config, total_steps), b1=config.beta1, b2=config.beta2, weight_decay=config.weight_decay
        ),
    ]
    if config.lora_plus != 1:
        transforms.append(optax.stateless(lambda updates, _: _times_b(updates, config.lora_plus)))
    return optax.chain(*transforms)


def _times_b(updates: optax.Updates, ratio: float) -> optax.Updates:
    """All that Adam would change of the matrices B, its weight decay too: as if B had a learning rate of its own."""
    return jax.tree.map_with_path(lambda path, u: u * ratio if path[-1].key == "b" else u, updates)
