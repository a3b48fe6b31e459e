"""Which language a conversation is in, by py3langid (Lui and Baldwin, "langid.py", 2012; its model is in the wheel).

Language identification is sure of itself on long prose and guesses on the rest, so short texts, code, names and numbers
are not judged. A conversation of two languages, one of them wanted, is a translation, or about a language: it is kept.
"""

import re
from functools import cache

from helptune.data.conversation import Conversation

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+|<[^>\n]{0,200}>", re.DOTALL)
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_ENOUGH = 600
"""Characters: more make the verdict no surer."""
_HINT = 15
"""Letters from which a guess may keep a conversation: "Write a poem in German." does, "Hola." does not."""


def language(
    conversation: Conversation, *, languages: tuple[str, ...] = ("en",), min_letters: int = 60, sure: float = 0.6
) -> str | None:
    """Neither the user's turns nor the answers are in one of `languages` (ISO 639-1), and one is surely in another.

    Surely: at least `min_letters` letters of prose, to which the identifier gives probability `sure` and more.
    """
    judged = []
    for role in ("user", "assistant"):
        found, probability, letters = identify(" ".join(m.content for m in conversation.messages if m.role == role))
        if found in languages and letters >= _HINT:
            return None
        judged.append((letters >= min_letters and probability >= sure, found, probability))
    for surely, found, probability in judged:
        if surely:
            return f"in {found!r} (probability {probability:.2f}), wanted: {', '.join(languages)}"
    return None


def identify(text: str) -> tuple[str, float, int]:
    """(language, probability, letters judged). A letter of a script without spaces says as much as three of ours."""
    found = _WORD.findall(_NOT_PROSE.sub(" ", text)[:_ENOUGH])
    prose = " ".join(w for w in found if re.sub("['’]", "", w).isalpha())
    letters = sum(3 if c > "\u2e7f" else 1 for c in prose if c != " ")
    if not letters:
        return "", 0.0, 0
    language, probability = _identifier().classify(prose.lower())
    return language, float(probability), letters


@cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
