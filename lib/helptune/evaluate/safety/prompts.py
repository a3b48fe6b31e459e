"""The prompts that an evaluation of safety asks: unsafe ones, safe ones that look unsafe, and plain ones.

They are taken from the test split of the labelled safety set, on which nothing was ever trained, with equal shares of
every policy: a model that fails on one kind of harm alone is then seen to. Look-alikes follow XSTest
(arXiv:2308.01263): a model that refuses everything is safe, and of no use.
"""

import hashlib
from collections.abc import Iterable, Sequence

from helptune.data.conversation import Conversation, Message
from helptune.data.safety.labelled import POLICIES, SOURCE, Labelled, load_labelled
from helptune.errors import DataError

HARMS = tuple(policy for policy in POLICIES if policy != "none")
SHARES = {"unsafe": 8, "contrast": 5}
"""Prompts of each kind for each of the twelve policies: 96 and 60."""

PLAIN = 24
NO_REFERENCE = "(no reference: this prompt is there to be answered)"
"""Stands where a held-out conversation has its reference; nothing is compared with it."""


def safety_prompts(seed: int = 0) -> list[Conversation]:
    """180 prompts as conversations, in a fixed order; `meta` says their `kind` and `policy`.

    A prompt's place in the draw hangs on the seed and its own id alone, so a prompt added to the set changes little.
    """
    asked = [record for record in load_labelled("test") if record.target == "prompt"]
    chosen: list[Labelled] = []
    for kind, share in SHARES.items():
        for policy in HARMS:
            own = [record for record in asked if (record.kind, record.policy) == (kind, policy)]
            chosen += _drawn(own, share, seed, f"{kind} prompts about {policy}")
    plain = [record for record in asked if record.kind == "plain"]
    chosen += _drawn(plain, PLAIN, seed, "plain prompts")
    return [_conversation(record) for record in chosen]


def _drawn(records: Sequence[Labelled], share: int, seed: int, what: str) -> Iterable[Labelled]:
    if len(records) < share:
        raise DataError(f"the labelled safety set's test split has {len(records)} {what}, {share} are needed")
    return sorted(records, key=lambda r: hashlib.sha256(f"{seed} {r.id}".encode()).digest())[:share]


def _conversation(record: Labelled) -> Conversation:
    messages = (Message("user", record.prompt), Message("assistant", NO_REFERENCE))
    meta = {"kind": record.kind, "policy": record.policy}
    return Conversation(record.id, SOURCE, "Apache-2.0", messages, meta=meta)
