"""What every kind of adapter has in common: how it starts, how the model takes it, and which numbers it trains.

Two kinds follow this contract: LoRA (`lora.py`), beside a projection, and bottlenecks (`bottleneck.py`), after one.
"""

import math
from typing import Any

import jax

from helptune.adapt.bottleneck import BottleneckConfig, attach_bottleneck, bottleneck_shapes, init_bottleneck
from helptune.adapt.lora import LoraConfig, attach_lora, init_lora, lora_shapes
from helptune.gemma.config import GemmaConfig
from helptune.gemma.model import Adapter
from helptune.shapes import Array, PRNGKeyArray

AdapterConfig = LoraConfig | BottleneckConfig
Adapters = dict[str, dict[str, Array]]
"""{site: {leaf: [L, ...]}} in float32: all that is trained, checkpointed and exported."""


def leaf_shapes(method: AdapterConfig, model: GemmaConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    """{site: {leaf: its shape, with the leading L}}."""
    return lora_shapes(method, model) if isinstance(method, LoraConfig) else bottleneck_shapes(method, model)


def init_adapters(method: AdapterConfig, model: GemmaConfig, key: PRNGKeyArray) -> Adapters:
    """New adapters, which change no bit of what the model computes until the first step of training."""
    return init_lora(method, model, key) if isinstance(method, LoraConfig) else init_bottleneck(method, model, key)


def attach(adapters: Adapters, method: AdapterConfig, dropout_key: PRNGKeyArray | None = None) -> Adapter:
    """Adapters as `forward` takes them. Without `dropout_key` (evaluation, generation) nothing is dropped."""
    if isinstance(method, LoraConfig):
        return attach_lora(adapters, method, dropout_key)
    return attach_bottleneck(adapters)


def parameter_count(adapters: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(adapters))
