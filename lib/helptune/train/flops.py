"""How much arithmetic a LoRA step is, counted and not measured: what an estimate of time and cost starts from.

A frozen base needs the gradient of its inputs only, so a token costs 4 N instead of 6 N operations (Hu et al. 2021,
arXiv:2106.09685, section 4.2), and 6 N when every block is computed twice (remat full). XLA's own cost analysis is no
help: it counts the body of a scan once, however many layers it runs.
"""

import math

from helptune.adapt.adapters import AdapterConfig, leaf_shapes
from helptune.gemma.base import site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.train.config import TrainConfig

ASSUMED_MFU = 0.4
"""Share of the peak that a well-placed step reaches: an assumption, not a measurement."""


def adapter_parameters(config: GemmaConfig, method: AdapterConfig) -> int:
    """Trained values, as their shapes count them: R (in + out) for every site of every layer with LoRA."""
    leaves = [shape for site in leaf_shapes(method, config).values() for shape in site.values()]
    return sum(math.prod(shape) for shape in leaves)


def step_flops(config: GemmaConfig, method: AdapterConfig, train: TrainConfig, supervised: float = 1.0) -> float:
    """Operations of one optimizer step, a multiplication and an addition counted as two.

    Padding counts as tokens do; `supervised` is the share of tokens whose next token is predicted. Masked scores are
    counted, since they are computed.
    """
    tokens = train.batch_rows * train.seq_len
    full = train.remat == "full"
    passes = 3 if full else 2  # forward, again for the backward pass, gradient of the inputs
    blocks = 2 * passes * config.layers * sum(math.prod(shape) for shape in site_shapes(config).values())
    products = 2 + (2 if full else 0) + 5  # of attention: 2 forward, 5 backward, each 2 T Q a token
    attention = 2 * products * config.layers * train.seq_len * config.q_width
    again = {"none": 0, "dots": 1, "full": 2}[train.remat]  # with dots the first of an adapter's two matrices only
    adapters = (6 + again) * adapter_parameters(config, method)
    vocabulary = supervised * 4 * config.vocab * config.width  # scores, and the mean embedding that is their gradient
    return tokens * (blocks + attention + adapters + vocabulary)


def estimated_seconds(flops: float, devices: int, tflops: float) -> float:
    """Time of a step at ASSUMED_MFU on devices of that peak, in dense bfloat16 TFLOP/s."""
    return flops / (devices * tflops * 1e12 * ASSUMED_MFU)
