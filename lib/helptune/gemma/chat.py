"""The chat format: who speaks, in token ids.

    <bos><start_of_turn>user\\n ... <end_of_turn>\\n<start_of_turn>model\\n ... <end_of_turn>\\n

Turn tokens are inserted by id and text is encoded on its own, so text can never open or close a turn. Gemma has no
system role: a system message is put in front of the first user message, as its authors do.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

from helptune.gemma.config import GemmaConfig
from helptune.gemma.tokenizer import BOS, Tokenizer

_TEMPLATE = (
    "<bos>({turn_start}{role}\\n{content.strip()}{turn_end}\\n)*; user=user, assistant=model, system joins first user"
)
TEMPLATE_HASH = hashlib.sha256(_TEMPLATE.encode()).hexdigest()[:16]
"""Stored with every run and adapter: training and serving under different templates is an error."""

_ROLES = {"user": "user", "assistant": "model"}


class Message(Protocol):
    """A mapping or record with a "role" (system, user, assistant) and a "content"."""

    def __getitem__(self, name: str, /) -> str: ...


def render(
    messages: Sequence[Message], tokenizer: Tokenizer, config: GemmaConfig, *, reply: bool = False
) -> tuple[list[int], list[bool]]:
    """(token ids, which of them the model itself should produce): assistant text and the <end_of_turn> that closes it.

    With `reply`, the ids end where the model's answer begins. Raises ValueError for an unknown or misplaced role.
    """
    ids, supervised = [BOS], [False]

    def put(tokens, flag):
        ids.extend(tokens)
        supervised.extend([flag] * len(tokens))

    newline = tokenizer.encode("\n")
    for message in _fold_system(messages):
        if message["role"] not in _ROLES:
            raise ValueError(
                f"role {message['role']!r}: a chat has user and assistant turns, and one system message first"
            )
        header, own = tokenizer.encode(_ROLES[message["role"]] + "\n"), message["role"] == "assistant"
        put([config.turn_start, *header], False)
        put([*tokenizer.encode(message["content"].strip()), config.turn_end], own)
        put(newline, False)
    if reply:
        put([config.turn_start, *tokenizer.encode("model\n")], False)
    return ids, supervised


def _fold_system(messages: Sequence[Message]) -> list[Message]:
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    if len(messages) < 2 or messages[1]["role"] != "user":
        raise ValueError("a system message must be followed by a user message")
    system, user, *rest = messages
    return [{"role": "user", "content": f"{system['content'].strip()}\n\n{user['content'].strip()}"}, *rest]
