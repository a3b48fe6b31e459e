"""The words of a text as duplicates and decontamination see them: what two copies share however they were typed.

Unicode NFKC and case folding, then words; prose punctuation and Markdown go, signs that carry meaning stay ("2 - 2" is
not "2 + 2", and "C" is not "C++"). A character of a script without spaces is a word of its own.
"""

import re
import unicodedata

NORMALIZATION = "nfkc-casefold-words-1"
"""Stored beside hashes of words: another way to find words gives other hashes."""

_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(
    rf"[{_NO_SPACES}]"
    rf"|(?:(?![{_NO_SPACES}])\w)+"
    r"|(?<=\d)\s*[-*/:.](?=\s*\d)"  # between numbers a sign is content: 3 - 2, 3.2
    r"|(?<!\w)-(?=\d)"
    r"|[+=<>$€£%@&|^\\]"
)


def words(text: str) -> list[str]:
    return [w.lstrip() for w in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())]
