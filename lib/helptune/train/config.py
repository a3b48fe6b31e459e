"""How long and in what portions a run trains, and when it stops."""

from dataclasses import dataclass, field

from helptune.errors import SettingError
from helptune.train.optimizer import OptimizerConfig


@dataclass(frozen=True)
class TrainConfig:
    """An optimizer step sees `batch_rows` rows of `seq_len` tokens, computed in `accumulate` equal parts.

    Training ends after `epochs` passes over the data or `max_steps` steps, whichever comes first; 0 sets no such limit.
    Every `eval_every` steps the held-back loss is measured and a checkpoint written; after `patience` measurements
    without improvement training stops. The best adapter, not the last, is kept. `remat` computes every block a second
    time in the backward pass instead of keeping what it needs: a third more work, far less memory.
    """

    seq_len: int = 256
    batch_rows: int = 4
    accumulate: int = 1
    epochs: int = 3
    max_steps: int = 0
    eval_every: int = 15
    patience: int = 3
    seed: int = 0
    remat: bool = False
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise SettingError(f"seed={self.seed}: must be at least 0 and below 2**32")
        if min(self.seq_len, self.batch_rows, self.accumulate, self.epochs, self.eval_every, self.patience) < 1:
            raise SettingError("seq_len, batch_rows, accumulate, epochs, eval_every and patience must be at least 1")
        if self.max_steps < 0:
            raise SettingError(f"max_steps={self.max_steps}: must be at least 1, or 0 to let epochs decide")
        if self.batch_rows % self.accumulate:
            raise SettingError(
                f"batch_rows={self.batch_rows} cannot be split into accumulate={self.accumulate} equal parts"
            )
