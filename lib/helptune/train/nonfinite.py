"""A loss or a gradient that is no number ends a run, and says where it happened: step, conversations, layer and site.

Every update made from it would be no number either, so the last checkpoint is the last good state.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helptune.data.packing import Example
from helptune.errors import RunError
from helptune.gemma.base import SITES
from helptune.train.step import StepMetrics

_NAMED = 12


def check_finite(result: StepMetrics, step: int, examples: Sequence[Example], checkpoints: Path, good: int) -> None:
    """Raises RunError unless loss and gradient of `step`, made from `examples`, are numbers. All hosts raise alike."""
    loss, norm = float(result.loss), float(result.grad_norm)
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient is not finite ({_first_bad(result)})"
    names = [repr(example.id) if example.id else "one without an id" for example in examples]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise RunError(
        f"{what} in step {step}, made from {len(names)} conversations: {', '.join(names[:_NAMED])}{more}. "
        f"The last good checkpoint is that of step {good}, in {checkpoints}. The same command goes on from there and, "
        "since nothing is left to chance, most likely comes to the same end: look at these conversations, or train "
        "anew in another --run folder, with a lower --learning-rate or more --warmup-steps"
    )


def _first_bad(result: StepMetrics) -> str:
    """The backward pass runs from the last layer and site to the first: where it went wrong is the first it came to."""
    bad = {site: ~np.logical_and.reduce([np.asarray(leaf) for leaf in leaves.values()])
           for site, leaves in result.finite.items()}  # fmt: skip
    found = [(int(np.flatnonzero(layers)[-1]), SITES.index(site)) for site, layers in bad.items() if layers.any()]
    if not found:
        return "each value is, their norm is not: it is too large for float32"
    layer, site = max(found)
    return f"the backward pass came first to layer {layer}, site {SITES[site]}"
