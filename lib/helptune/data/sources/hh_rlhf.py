"""Anthropic's HH-RLHF (Bai et al. 2022): pairs of transcripts, of which people chose one. Opt-in, helpful subsets only.

Its card says that these data are not meant for supervised training, which is likely to lead to harmful models;
`WARNING` quotes it. Who still wants the chosen side says so by an option, filters for safety, and finds the warning on
the data card. The harmless subset, whose chosen answers are the lesser evil of two replies to an attack, is refused: it
serves evaluation.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePath

from helptune.data.sources.build import build, content_id, reject
from helptune.data.sources.record import Read, Rejected, Row
from helptune.errors import DataError

WARNING = (
    "These data are meant to train preference (or reward) models for subsequent RLHF training. These data are *not* "
    "meant for supervised training of dialogue agents. Training dialogue agents on these data is likely to lead to "
    "harmful models and this shold be avoided."
)
SUBSETS = ("helpful-base", "helpful-online", "helpful-rejection-sampled")
_ALL = (*SUBSETS, "harmless-base", "red-team-attempts")
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def read(
    rows: Iterable[Row | Rejected], *, warning_was_read: bool = False, subset: str = "", source: str = "hh-rlhf"
) -> Iterator[Read]:
    """The chosen transcript of each pair.

    `subset` names the subset where the files' path does not: there it is the nearest folder (or the file itself) that
    is called as one of the release. Raises DataError before the first row unless `warning_was_read`, and at the first
    row that is of no helpful subset.
    """
    if not warning_was_read:
        raise DataError(f"hh-rlhf is opt-in. Its card says: {WARNING!r} Set warning_was_read to use it all the same")
    if subset and subset not in SUBSETS:
        raise DataError(f"hh-rlhf: subset {subset!r} is not one of {', '.join(SUBSETS)}")
    return (row if isinstance(row, Rejected) else _chosen(row, subset or _subset(row.file), source) for row in rows)


def _subset(file: str) -> str:
    path = PurePath(file)
    names = [path.name.split(".")[0], *(folder.name for folder in path.parents)]
    found = next((name for name in names if name in _ALL), "")
    if found not in SUBSETS:
        raise DataError(
            f"{file}: is of no helpful subset ({', '.join(SUBSETS)}), and no other is used for training; name one of "
            "their folders, or say by the option `subset` what the file is"
        )
    return found


def _chosen(row: Row, subset: str, source: str) -> Read:
    chosen, rejected = row.value.get("chosen"), row.value.get("rejected")
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(text, str):
            return reject(row, f"field {name!r} must be a string, found {text!r}")
    if chosen == rejected:
        return reject(row, "'chosen' and 'rejected' are the same: nothing was chosen", "no_choice")
    before, *parts = _TURN.split(chosen)  # type: ignore[arg-type]
    if before or not parts or parts[0] != "Human":
        return reject(row, "field 'chosen' must begin with '\\n\\nHuman:'")
    turns = [(_ROLES[name], text.strip()) for name, text in zip(parts[::2], parts[1::2], strict=True)]
    if not all(text for _, text in turns):
        return reject(row, "field 'chosen' has an empty turn", "empty_turn")
    if any(first == second for (first, _), (second, _) in pairwise(turns)):
        return reject(row, "field 'chosen' has two turns in a row of one role", "same_role")
    if turns[-1][0] != "assistant":
        return reject(row, "field 'chosen' ends on Human", "ends_on_user")
    return build(
        row,
        id=content_id(source, chosen),  # type: ignore[arg-type]
        source=source,
        license="MIT",
        messages=[{"role": role, "content": text} for role, text in turns],
        meta={"subset": subset},
    )
