"""When to stop before the last step: a rule about the held-back losses alone, so that a run that goes on decides alike.

Early stopping: Prechelt 1998, "Early stopping - but when?". `patience` is his criterion UP, `max_rise` his GL in nats.
"""

from collections.abc import Sequence

from helptune.train.config import TrainConfig


def reason_to_stop(losses: Sequence[float], config: TrainConfig) -> str | None:
    """Why training ends after the last of these held-back losses, the first of them being that of step 0; or None."""
    if not losses:
        return None
    best, last, since, reference = min(losses), losses[-1], 0, losses[0]
    for loss in losses[1:]:
        improved = loss < reference - config.min_improvement
        since, reference = (0, loss) if improved else (since + 1, reference)
    if since >= config.patience:
        by = f" by more than {config.min_improvement:g} nats" if config.min_improvement else ""
        times = "measurement" if since == 1 else "measurements in a row"
        return f"{since} {times} did not lower the held-back loss of {reference:.4f}{by} (patience {config.patience})"
    if config.max_rise and last > best + config.max_rise:
        return (
            f"the held-back loss rose to {last:.4f}, more than {config.max_rise:g} nats above its lowest, {best:.4f} "
            "(max_rise)"
        )
    return None
