"""A request to stop, heeded between two pieces of work of a run other than training steps."""

from pathlib import Path

from helptune.errors import Interrupted
from helptune.train.distributed import from_main, is_main
from helptune.train.stop import stop_requested, withdraw_stop


def heed_stop(run: Path) -> None:
    """Raises Interrupted when the run was asked to stop. What was done before stays."""
    if from_main(lambda: stop_requested(run)):
        if is_main():
            withdraw_stop(run)
        raise Interrupted("stopped; run the same command again to go on")
