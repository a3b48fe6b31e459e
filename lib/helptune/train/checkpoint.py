"""Checkpoints that survive being killed at any moment: Orbax writes aside and renames when a step is complete."""

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from helptune.errors import RunError
from helptune.shapes import Array, Int


class State(Protocol):
    """A pytree that knows the step it is at: the TrainState of one adapter, or those of several."""

    @property
    def step(self) -> Int[Array, ""]: ...


@dataclass(frozen=True)
class Progress:
    """What the loop knows beside the TrainState: all held-back losses so far, and the step of the lowest."""

    losses: tuple[float, ...] = ()
    best_step: int = 0

    @property
    def best_loss(self) -> float:
        return min(self.losses, default=float("inf"))


class Checkpoints:
    """The `checkpoints/` folder of a run: the newest two steps."""

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        self.folder = folder.absolute()
        self._args: Any = ocp.args
        try:
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=ocp.checkpoint_managers.LatestN(2), enable_async_checkpointing=False
                ),
                item_names=("state", "progress"),
            )
        except OSError as error:
            raise RunError(f"{folder}: cannot be used for checkpoints ({error})") from error

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, state: State, progress: Progress) -> None:
        """In a run of several processes all of them call this, and the first writes.

        Raises RunError when the disk is full or the folder unwritable; earlier checkpoints stay as they were.
        """
        step, last = int(state.step), self.latest_step
        if step == last:
            return
        record = {**vars(progress), "state_sha256": _sha256(state)}
        try:
            self._manager.save(
                step,
                args=self._args.Composite(state=self._args.StandardSave(state), progress=self._args.JsonSave(record)),
            )
            self._manager.wait_until_finished()
        except jax.errors.JaxRuntimeError:  # all processes write together: another one is gone
            raise
        except Exception as error:  # tensorstore reports a full disk as ValueError, Orbax as OSError
            kept = f"the checkpoint of step {last} is intact" if last is not None else "there is no earlier checkpoint"
            raise RunError(
                f"{self.folder}: cannot write the checkpoint of step {step} ({_first_line(error)}); {kept}. "
                "Make room on the disk and run the same command again to go on from there"
            ) from error

    def restore[S: State](self, like: S) -> tuple[S, Progress]:
        """The newest checkpoint, shaped and placed `like` the given state, whatever mesh it was written on.

        Raises RunError when it cannot be read.
        """
        step = self.latest_step
        try:
            restored = self._manager.restore(
                step,
                args=self._args.Composite(
                    state=self._args.StandardRestore(jax.tree.map(_abstract, like)), progress=self._args.JsonRestore()
                ),
            )
            if restored.progress.pop("state_sha256") != _sha256(restored.state):
                raise ValueError("its numbers are not those that were saved")
            return restored.state, Progress(tuple(restored.progress["losses"]), restored.progress["best_step"])
        except Exception as error:
            raise RunError(
                f"{self.folder}/{step}: cannot be read ({_first_line(error)}); delete that folder to use an earlier one"
            ) from error

    def close(self) -> None:
        self._manager.close()


def _abstract(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _sha256(state: State) -> str:
    # tensorstore checks its index but not the numbers themselves.
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    # tensorstore puts the system's reason behind a long list of its own, so the commonest one is looked for.
    full = os.strerror(errno.ENOSPC)
    return full if full in str(error) else (str(error).splitlines() or [type(error).__name__])[0][:200]
