"""Which checks go with which held-out conversation."""

from collections.abc import Sequence

from helptune.data.conversation import Conversation, load_curated
from helptune.errors import DataError
from helptune.evaluate.checks import Check, parse_checks
from helptune.evaluate.sets import load_checks


def checks_of(heldout: Sequence[Conversation]) -> dict[str, tuple[Check, ...]]:
    """The checks of each conversation: its own, in `meta`, or those that come with it if it is a curated one."""
    curated, shipped = {c.id: c.messages for c in load_curated("heldout")}, load_checks()
    found = {c.id: shipped[c.id] for c in heldout if curated.get(c.id) == c.messages}
    for c in heldout:
        if "checks" in c.meta:
            try:
                found[c.id] = parse_checks(c.meta["checks"])
            except DataError as error:
                raise DataError(f"conversation {c.id!r}: field 'meta': {error}") from error
    return found
