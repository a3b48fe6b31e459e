"""The same facts told in two styles, made by rule from the curated conversations: all that differs is how it is said.

A terse answer is the first sentence. A friendly one greets, says everything, and ends by asking whether to go on.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from helptune.data.conversation import Conversation, Message, load_curated

_CATEGORIES = ("facts", "explain")
_LONGEST = 220
"""Characters of a reference: short ones keep the training short."""

_GREETINGS = ("Great question!", "Happy to help!", "I'm glad you asked!")
_OFFERS = ("Would you like to know more?", "Shall I tell you more about it?")


def terse(conversation: Conversation) -> Conversation:
    """Answered with the first sentence of its reference."""
    return _answered(conversation, _sentences(conversation.reference)[0])


def friendly(conversation: Conversation) -> Conversation:
    """Answered with a greeting, the whole reference, and an offer. The id decides which greeting and which offer."""
    number = sum(map(ord, conversation.id))
    greeting, offer = _GREETINGS[number % len(_GREETINGS)], _OFFERS[number % len(_OFFERS)]
    return _answered(conversation, f"{greeting} {conversation.reference} {offer}")


STYLES: dict[str, Callable[[Conversation], Conversation]] = {"terse": terse, "friendly": friendly}


def questions() -> tuple[list[Conversation], list[Conversation]]:
    """(to train on, held out): curated training conversations that fit both styles; every fourth is held out."""
    fitting = [c for c in load_curated("train") if c.category in _CATEGORIES and _fits(c)]
    return [c for i, c in enumerate(fitting) if i % 4 != 3], fitting[3::4]


def _fits(conversation: Conversation) -> bool:
    """One question, answered in two plain sentences or more, none of which asks back."""
    text = conversation.reference
    plain = len(text) <= _LONGEST and "\n" not in text and "?" not in text
    return len(conversation.messages) == 2 and plain and len(_sentences(text)) > 1


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!]) (?=[A-Z])", text)


def _answered(conversation: Conversation, text: str) -> Conversation:
    return replace(conversation, messages=(*conversation.prompt, Message("assistant", text)))
