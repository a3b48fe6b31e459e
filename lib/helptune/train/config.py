"""How long and in what portions a run trains, and when it stops."""

import math
from dataclasses import dataclass, field

from helptune.errors import SettingError
from helptune.gemma.model import REMAT
from helptune.train.optimizer import OptimizerConfig


@dataclass(frozen=True)
class TrainConfig:
    """An optimizer step sees `batch_rows` rows of `seq_len` tokens, computed in `accumulate` equal parts.

    Training ends after `epochs` passes over the data or `max_steps` steps, whichever comes first; 0 sets no such limit.
    Every `eval_every` steps the held-back loss is measured and a checkpoint written; after `patience` measurements
    without improvement training stops. The best adapter, not the last, is kept.

    An improvement is a held-back loss lower by more than `min_improvement` nats than the last that was one. Training
    also stops when the loss is more than `max_rise` nats above its lowest; 0 sets no such limit.

    `neftune_alpha` is the strength of noise on the embeddings (train/neftune.py); 0 is none. `remat` is what the
    backward pass computes again instead of keeping it: none, dots (all but the large products) or full (whole blocks).
    """

    seq_len: int = 256
    batch_rows: int = 4
    accumulate: int = 1
    epochs: int = 2
    max_steps: int = 0
    eval_every: int = 25
    patience: int = 3
    min_improvement: float = 0.0
    max_rise: float = 0.0
    seed: int = 0
    neftune_alpha: float = 0.0
    remat: str = "none"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise SettingError(f"seed={self.seed}: must be at least 0 and below 2**32")
        if min(self.seq_len, self.batch_rows, self.accumulate, self.epochs, self.eval_every, self.patience) < 1:
            raise SettingError("seq_len, batch_rows, accumulate, epochs, eval_every and patience must be at least 1")
        if self.max_steps < 0:
            raise SettingError(f"max_steps={self.max_steps}: must be at least 1, or 0 to let epochs decide")
        if not all(0 <= value < math.inf for value in (self.min_improvement, self.max_rise, self.neftune_alpha)):
            raise SettingError(
                f"min_improvement={self.min_improvement}, max_rise={self.max_rise}, "
                f"neftune_alpha={self.neftune_alpha}: none may be negative or infinite"
            )
        if self.remat not in REMAT:
            raise SettingError(f"remat {self.remat!r} is not one of {', '.join(REMAT)}")
        if self.batch_rows % self.accumulate:
            raise SettingError(
                f"batch_rows={self.batch_rows} cannot be split into accumulate={self.accumulate} equal parts"
            )
