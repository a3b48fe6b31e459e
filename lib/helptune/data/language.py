"""Which language a conversation is in, by py3langid (Lui and Baldwin, "langid.py", 2012; its model is in the wheel).

Language identification is sure of itself on long prose and guesses on the rest, so short texts, code, names and numbers
are not judged. A conversation of two languages, one of them wanted, is a translation, or about a language: it is kept.
"""

import re
from functools import cache

from helptune.data.conversation import Conversation

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+|[^\W\d_]*\d\w*|<[^>\n]*>", re.DOTALL)
_LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def language(
    conversation: Conversation, *, languages: tuple[str, ...] = ("en",), min_letters: int = 60, sure: float = 0.8
) -> str | None:
    """Neither the user's turns nor the answers are in one of `languages` (ISO 639-1), and one is surely in another.

    Surely: at least `min_letters` letters of prose, to which the identifier gives probability `sure` and more.
    """
    sides = [" ".join(m.content for m in conversation.messages if (m.role == "assistant") == a) for a in (False, True)]
    verdicts = [_identify(text) for text in sides]
    if any(found in languages for found, _, letters in verdicts if letters):
        return None
    for found, probability, letters in verdicts:
        if letters >= min_letters and probability >= sure:
            return f"in {found!r} (probability {probability:.2f}), wanted: {', '.join(languages)}"
    return None


def _identify(text: str) -> tuple[str, float, int]:
    """(language, probability, letters judged). A letter of a script without spaces says as much as three of ours."""
    prose = " ".join(_LETTERS.findall(_NOT_PROSE.sub(" ", text)[:2_000]))
    letters = sum(3 if c > "\u2e7f" else 1 for c in prose if c != " ")
    if not letters:
        return "", 0.0, 0
    found, probability = _identifier().classify(prose.lower())
    return found, float(probability), letters


@cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
