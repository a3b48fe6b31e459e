"""Which conversations a run trains on, which it holds back to watch the training, and which it holds out to the end."""

from collections.abc import Sequence

from helptune.data.conversation import Conversation, load_curated, read_conversations
from helptune.errors import DataError
from helptune.experiment.config import RunConfig

HELD_BACK = 10
"""Every tenth training conversation is held back to watch the training; the held-out set is not looked at meanwhile."""

FEW_SHOT_IDS = ("explain-easy-03", "howto-easy-02", "rewrite-easy-01", "honest-easy-03")
"""Of the curated set: solved examples of four kinds, one of them for what cannot be known."""


def kept_for_training[T](items: Sequence[T]) -> list[T]:
    return [item for i, item in enumerate(items) if i % HELD_BACK != HELD_BACK - 1]


def held_back[T](items: Sequence[T]) -> list[T]:
    return [item for i, item in enumerate(items) if i % HELD_BACK == HELD_BACK - 1]


def read_data(config: RunConfig) -> tuple[list[Conversation], list[Conversation]]:
    """(training, held-out) conversations of a configuration. Raises DataError for a malformed or too small file."""
    if config.tasks:
        raise DataError(
            "this configuration is one of `helptune tasks`, which trains several adapters: use that command"
        )
    train = list(read_conversations(config.train_file)) if config.train_file else load_curated("train")
    heldout = list(read_conversations(config.heldout_file)) if config.heldout_file else load_curated("heldout")
    if len(train) < HELD_BACK or not heldout:
        raise DataError(
            f"{config.train_file or 'curated'}: {len(train)} training and {len(heldout)} held-out conversations; "
            f"at least {HELD_BACK} and 1 are needed"
        )
    trained = {c.messages: c.id for c in train}
    for c in heldout:
        if c.messages in trained:
            raise DataError(
                f"{config.heldout_file or 'curated'}: conversation {c.id!r} is also a training conversation "
                f"({trained[c.messages]!r}); take it out of one of the files"
            )
    return train, heldout


def few_shot_candidates(train: Sequence[Conversation]) -> Sequence[Conversation]:
    """Solved examples for the base model, the best first: four of different kinds, or all of another data set."""
    chosen = [c for c in train if c.id in FEW_SHOT_IDS]
    return chosen if len(chosen) == len(FEW_SHOT_IDS) else train
