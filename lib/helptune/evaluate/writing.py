"""How an answer is written, whatever it says: how long, does it end, does it repeat itself, is it text at all?

A base model asked in a chat format copies the question, loops, or runs into other scripts. These are seen without
understanding a word, and they explain most of what BLEU and ROUGE gain by tuning.
"""

import re
import unicodedata
from collections.abc import Sequence

from helptune.data.words import words
from helptune.evaluate.answers import Answer

RUN, _COPIED = 4, 0.8
"""Words in a row that count as taken from elsewhere; anybody says three again."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def writing(answer: Answer, prompt: str) -> dict[str, float]:
    """Numbers of one answer: {"words", "tokens", "ended", "empty", "repetition", "echo", "garbage"}.

    `repetition` is the share of words in runs of four that occurred before, `echo` the share of sentences that are the
    prompt's own, `garbage` the share of letters of a script the prompt does not use, and of characters that are none.
    """
    w = words(answer.text)
    parts = sentences(answer.text)
    return {
        "words": len(w),
        "tokens": answer.tokens,
        "ended": float(answer.ended),
        "empty": float(not w),
        "repetition": repeated(w),
        "echo": sum(copies(part, prompt) for part in parts) / len(parts) if parts else 0.0,
        "garbage": garbage(answer.text, prompt),
    }


def sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE.split(text) if words(part)]


def repeated(w: Sequence[str]) -> float:
    """Share of the words inside a run of four words that occurred before."""
    seen, covered = set[tuple[str, ...]](), [False] * len(w)
    for i, gram in enumerate(_grams(w)):
        if gram in seen:
            covered[i : i + RUN] = [True] * RUN
        seen.add(gram)
    return sum(covered) / len(w) if w else 0.0


def copies(sentence: str, source: str) -> bool:
    """Whether four fifths of the sentence's words stand in `source` in runs of four; never of a shorter one."""
    part, whole = words(sentence), words(source)
    if len(part) < RUN:
        return False
    grams, covered = set(_grams(whole)), [False] * len(part)
    for i, gram in enumerate(_grams(part)):
        if gram in grams:
            covered[i : i + RUN] = [True] * RUN
    return sum(covered) >= _COPIED * len(part)


def _grams(w: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(w[i : i + RUN]) for i in range(len(w) - RUN + 1)]


def garbage(text: str, prompt: str) -> float:
    known = {_script(c) for c in prompt if c.isalpha()} | {"LATIN"}
    seen = [c for c in text if not c.isspace()]
    strange = sum(_is_strange(c, known) for c in seen)
    return strange / len(seen) if seen else 0.0


def _is_strange(c: str, known: set[str]) -> bool:
    if c.isalpha():
        return _script(c) not in known
    return c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs")


def _script(c: str) -> str:
    return unicodedata.name(c, "?").split(" ")[0]
