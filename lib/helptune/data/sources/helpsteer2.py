"""HelpSteer2 (Wang et al. 2024, NVIDIA): prompts with rated responses, five attributes from 0 to 4; CC BY 4.0.

A row is {"prompt", "response", "helpfulness", "correctness", "coherence", "complexity", "verbosity"}. Prompts of
several turns are one text, their turns behind `<extra_id_1>User` and `<extra_id_1>Assistant`. Each prompt comes with
two responses in neighbouring rows; the one rated more helpful is taken, the first of equals.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import groupby
from typing import Any

from helptune.data.sources.messages import conversation_of
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"<extra_id_1>(User|Assistant)\n")
_ROLES = {"User": "user", "Assistant": "assistant"}
HIGHEST = 4


def read(rows: Iterable[Row | Rejected]) -> Iterator[Read]:
    """One conversation a prompt. `ratings` holds helpfulness in [0, 1], and all five as they are under `helpsteer2`."""
    for _, group in groupby(rows, key=_prompt):
        responses = []
        for row in group:
            fault = "" if isinstance(row, Rejected) else _fault(row.value)
            if isinstance(row, Rejected):
                yield row
            elif fault:
                yield Rejected(row.file, row.line, MALFORMED, fault)
            else:
                responses.append(row)
        if responses:
            best = max(responses, key=lambda row: row.value["helpfulness"])
            yield conversation_of(best, _record(best.value))
            for row in responses:
                if row is not best:
                    yield Rejected(
                        row.file, row.line, "less_helpful", "another response to this prompt is rated higher"
                    )


def _prompt(row: Row | Rejected) -> Any:
    """What neighbours must share to be responses to one prompt; rows without a prompt stand alone."""
    prompt = row.value.get("prompt") if isinstance(row, Row) else None
    return prompt if isinstance(prompt, str) else (row.file, row.line)


def _fault(value: dict[str, Any]) -> str:
    for name in ("prompt", "response"):
        if not isinstance(value.get(name), str):
            return f"field {name!r} must be a text, found {value.get(name)!r:.80}"
    for name in ATTRIBUTES:
        if type(value.get(name)) is not int or not 0 <= value[name] <= HIGHEST:
            return f"field {name!r} must be a whole number from 0 to {HIGHEST}, found {value.get(name)!r:.80}"
    return ""


def _record(value: dict[str, Any]) -> dict[str, Any]:
    first, *rest = _TURN.split(value["prompt"])
    turns = [{"role": "user", "content": first.strip()}]
    turns += [{"role": _ROLES[who], "content": said.strip()} for who, said in zip(rest[::2], rest[1::2], strict=True)]
    digest = blake2b(f"{value['prompt']}\n{value['response']}".encode(errors="replace"), digest_size=8).hexdigest()
    return {
        "id": f"helpsteer2-{digest}",
        "source": "helpsteer2",
        "license": "CC-BY-4.0",
        "messages": [*turns, {"role": "assistant", "content": value["response"].strip()}],
        "ratings": {
            "helpfulness": value["helpfulness"] / HIGHEST,
            "helpsteer2": {name: value[name] for name in ATTRIBUTES},
        },
        "meta": {"lang": "en"},
    }
