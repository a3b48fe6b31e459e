"""HelpSteer2 (Wang et al. 2024): answers of language models, each rated by three to five people on five attributes.

Two kinds of files share a schema: in `train` and `validation` an attribute is one whole number from 0 to 4, in
`disagreements` the list of what two to five raters gave, which agreement is measured on. A prompt of several turns
separates them by lines `<extra_id_1>User` and `<extra_id_1>Assistant`, and begins with the user's text.
"""

import re
from collections.abc import Iterable, Iterator
from statistics import mean
from typing import Any

from helptune.data.sources.build import build, content_id, is_whole, reject
from helptune.data.sources.record import Read, Rejected, Row

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HIGHEST = 4
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def read(rows: Iterable[Row | Rejected], *, source: str = "helpsteer2") -> Iterator[Read]:
    """One Conversation a response.

    `ratings`: `helpfulness` divided by 4 (the mean, where there are several raters), and `attributes`, all five as
    they stand in the file.
    """
    return (row if isinstance(row, Rejected) else _response(row, source) for row in rows)


def _response(row: Row, source: str) -> Read:
    prompt, response = row.value.get("prompt"), row.value.get("response")
    if not isinstance(prompt, str) or not isinstance(response, str):
        return reject(row, "fields 'prompt' and 'response' must be strings")
    attributes = {name: row.value.get(name) for name in ATTRIBUTES}
    for name, found in attributes.items():
        if not _is_rating(found):
            return reject(row, f"field {name!r} must be 0 to {HIGHEST}, or a list of two to five, found {found!r}")
    first, *parts = _TURN.split(prompt)
    names, texts = ["User", *parts[::2]], [first, *parts[1::2]]
    if any(name != ("User", "Assistant")[i % 2] for i, name in enumerate(names)) or names[-1] != "User":
        return reject(row, f"field 'prompt': its turns do not alternate and end on the user's: {', '.join(names)}")
    if any("<extra_id_" in text for text in (*texts, response)):
        return reject(row, "a control token <extra_id_...> inside of a turn")
    scores = attributes["helpfulness"]
    turns = [*zip(names, texts, strict=True), ("Assistant", response)]
    return build(
        row,
        id=content_id(source, prompt, response),
        source=source,
        license="CC-BY-4.0",
        messages=[{"role": name.lower(), "content": text.strip()} for name, text in turns],
        ratings={
            "helpfulness": mean(scores if isinstance(scores, list) else [scores]) / HIGHEST,  # type: ignore[list-item]
            "attributes": attributes,
        },
    )


def _is_rating(value: Any) -> bool:
    scores = value if isinstance(value, list) else [value]
    return len(scores) in ((2, 3, 4, 5) if isinstance(value, list) else (1,)) and all(
        is_whole(score, 0, HIGHEST) for score in scores
    )
