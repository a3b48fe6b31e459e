"""Anthropic's hh-rlhf (Bai et al. 2022): pairs of transcripts of which crowd workers preferred one; MIT.

Its card says that the data are meant to train preference models, and that supervised training on them is likely to give
harmful models. So this source must be asked for by name, gives the preferred side of the helpful subsets alone, and
what it gives is meant to pass a safety filter. The harmless subset is for evaluation.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from helptune.data.sources.messages import conversation_of
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row
from helptune.errors import SettingError

SUBSETS = ("helpful-base", "helpful-online", "helpful-rejection-sampled")
_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def read(
    rows: Iterable[Row | Rejected], *, i_read_the_warning: bool = False, subset: str = "helpful-base"
) -> Iterator[Read]:
    """The preferred transcripts of `subset`.

    Not taken, with these codes: `identical_pair` (nothing was preferred), `same_role` (somebody speaks twice in a row),
    `empty_turn`, `ends_on_human`. Raises SettingError without `i_read_the_warning`, and for the harmless subset.
    """
    if not i_read_the_warning:
        raise SettingError(
            "hh-rlhf: its card warns that supervised training on it is likely to give harmful models; to use its "
            "helpful side all the same, with a safety filter, say options.i_read_the_warning = true"
        )
    if subset not in SUBSETS:
        raise SettingError(
            f"hh-rlhf: subset {subset!r} is not one of {', '.join(SUBSETS)}; harmless data are not given"
        )
    return (row if isinstance(row, Rejected) else _read(row, subset) for row in rows)


def _read(row: Row, subset: str) -> Read:
    def left_out(code: str, reason: str) -> Rejected:
        return Rejected(row.file, row.line, code, reason)

    for name in ("chosen", "rejected"):
        if not isinstance(row.value.get(name), str):
            return left_out(MALFORMED, f"field {name!r} must be a text, found {row.value.get(name)!r:.80}")
    chosen = row.value["chosen"]
    if chosen == row.value["rejected"]:
        return left_out("identical_pair", "both transcripts are the same, so none was preferred")
    before, *turns = _TURN.split(chosen)
    if before.strip() or not turns or turns[0] != "Human":
        return left_out(MALFORMED, f"field 'chosen' must start with '\\n\\nHuman: ', found {chosen!r:.80}")
    messages = [
        {"role": _ROLES[who], "content": said.strip()} for who, said in zip(turns[::2], turns[1::2], strict=True)
    ]
    if messages[-1]["role"] == "user":
        return left_out("ends_on_human", "the transcript has no last answer")
    if any(not message["content"] for message in messages):
        return left_out("empty_turn", "a turn is empty")
    if any(a["role"] == b["role"] for a, b in pairwise(messages)):
        return left_out("same_role", "somebody speaks twice in a row")
    return conversation_of(row, _record(chosen, messages, subset))


def _record(chosen: str, messages: list[dict[str, str]], subset: str) -> dict[str, Any]:
    return {
        "id": f"hh-rlhf-{blake2b(chosen.encode(errors='replace'), digest_size=8).hexdigest()}",
        "source": "hh-rlhf",
        "license": "MIT",
        "messages": messages,
        "meta": {"lang": "en", "subset": subset},
    }
