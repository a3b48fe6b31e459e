"""Pure filters: each reads one conversation and says what is wrong with it, or None. Its name is the reason code.

`FILTERS` lists them in the order they run, the cheap ones first. Web-text rules (Gopher's floor of 50 words, Rae et al.
2021, app. A) are wrong for chat, where "42" is a good answer: so these look for what no good answer has. What they must
keep is written down in tests/data/test_data_filters.py, and the curated conversations pass all of them.
"""

import re
from collections.abc import Callable
from itertools import islice
from unicodedata import category

from helptune.data.conversation import Conversation
from helptune.data.language import language
from helptune.data.pii import pii
from helptune.data.repetition import repetition
from helptune.data.residue import control_token, cutoff_date, self_identity, truncated
from helptune.data.words import words

Filter = Callable[..., str | None]

_LINK = re.compile(r"(?:https?://|www\.)\S+|\[[^\]\n]{0,200}\]\([^)\s]{0,2000}\)")
_POINTING = frozenset(
    words(
        "see here this that check out try link the a at it is for look take read more info information go to and page "
        "article answer you can find may might help hope helps please visit click on from"
    )
)
_FENCED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


def empty_turn(conversation: Conversation) -> str | None:
    """A turn without a character that can be seen: only white space, or zero-width characters."""
    for i, message in enumerate(conversation.messages):
        if not any(c.isprintable() and not c.isspace() for c in message.content):
            return f"turn {i} ({message.role}) is empty"
    return None


def too_short(conversation: Conversation, *, min_characters: int = 1) -> str | None:
    """An answer with fewer than `min_characters` letters, digits and symbols (emoji too): "...", "-" or "?"."""
    for i, message in enumerate(conversation.messages):
        if message.role == "assistant":
            count = sum(1 for _ in islice((c for c in message.content if category(c)[0] in "LNS"), min_characters))
            if count < min_characters:
                return f"turn {i} has {count} letters and digits, the minimum is {min_characters}"
    return None


def too_many_turns(conversation: Conversation, *, max_turns: int = 20) -> str | None:
    turns = sum(m.role == "user" for m in conversation.messages)
    return f"{turns} user turns, the maximum is {max_turns}" if turns > max_turns else None


def too_long(conversation: Conversation, *, max_characters: int = 16_000) -> str | None:
    """Over all turns; 16,000 characters of English are about 4,000 tokens."""
    count = sum(len(m.content) for m in conversation.messages)
    return f"{count:,} characters, the maximum is {max_characters:,}" if count > max_characters else None


def unhelpful(conversation: Conversation, *, min_helpfulness: float = 0.5) -> str | None:
    """Rated below `min_helpfulness`, which lies in [0, 1]. A conversation without that rating is kept."""
    rating = conversation.ratings.get("helpfulness")
    if isinstance(rating, (int, float)) and rating < min_helpfulness:
        return f"helpfulness {rating:.2f}, the minimum is {min_helpfulness}"
    return None


def only_link(conversation: Conversation) -> str | None:
    """The last answer is a link, with at most a few words that point to it. A prompt that asks for one keeps it."""
    text = conversation.reference
    if not _LINK.search(text) or re.search(
        r"\b(?:urls?|links?|websites?|sites?|address)\b", _asked(conversation), re.I
    ):
        return None
    said = [w for w in words(_LINK.sub(" ", text)) if w not in _POINTING]
    return "the answer is only a link" if len(said) < 3 else None


def mostly_symbols(conversation: Conversation, *, min_share: float = 0.4, min_characters: int = 40) -> str | None:
    """Few letters and digits among the visible characters of the last answer outside code.

    Answers below `min_characters` are not judged: "x^2 + 2x + 1 = 0" is a good one.
    """
    seen = [c for c in _FENCED.sub("", conversation.reference) if not c.isspace()]
    share = sum(c.isalnum() for c in seen) / max(1, len(seen))
    if len(seen) >= min_characters and share < min_share and not _drawn(conversation):
        return f"{share:.0%} of the answer is letters and digits, the minimum is {min_share:.0%}"
    return None


def prompt_echo(conversation: Conversation, *, min_words: int = 5) -> str | None:
    """The last answer begins with all words of the last user turn. One of fewer than `min_words` may be a title.

    A system turn may ask for the text again (corrected, say), so a conversation that has one is not judged.
    """
    asked, answered = words(_asked(conversation)), words(conversation.reference)
    if conversation.messages[0].role == "system" or len(asked) < min_words:
        return None
    return "the answer begins with the whole prompt" if answered[: len(asked)] == asked else None


def _asked(conversation: Conversation) -> str:
    return conversation.messages[-2].content if len(conversation.messages) > 1 else ""


def _drawn(conversation: Conversation) -> bool:
    """A table, or a drawing that the prompt asked for."""
    table = len(re.findall(r"^[ \t]*\|.*\|[ \t]*$", conversation.reference, re.MULTILINE)) >= 3
    return table or bool(re.search(r"\b(?:ascii|draw|emojis?|pattern|morse|braille)\b", _asked(conversation), re.I))


FILTERS: dict[str, Filter] = {
    f.__name__: f
    for f in (
        empty_turn, too_short, too_many_turns, too_long, unhelpful, only_link, control_token, self_identity,
        cutoff_date, truncated, mostly_symbols, prompt_echo, pii, repetition, language,
    )
}  # fmt: skip
