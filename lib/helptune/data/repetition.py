"""Degenerate repetition: a generator caught in a loop, a key held down.

After the repetition filters of MassiveText (Rae et al., "Scaling language models: Gopher", 2021, table A1): duplicate
lines, and the share of text in n-grams that occur again. Their thresholds are for web pages; a song has a refrain and a
timetable repeats its form, so these are far higher, and short answers are judged by runs alone.
"""

import re

from helptune.data.conversation import Conversation
from helptune.data.words import words

_HELD = re.compile(r"([^\s\-=_*#.~+|─━═█░▒▓])\1{29,}|([^\s\-=_*#.~+|─━═█░▒▓\d]{2,8}?)\2{14,}")
_STUTTER = re.compile(r"\b(\w+)(?:[\s,.!]+\1\b){7,}", re.IGNORECASE)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_WANTED = re.compile(r"\brepeat|\b(?:\d+|three|four|five|six|seven|eight|nine|ten|twenty|fifty|hundred) times\b", re.I)
_GRAM = 6


def repetition(
    conversation: Conversation, *, max_lines: float = 0.5, max_grams: float = 0.5, min_words: int = 40
) -> str | None:
    """Of an answer outside code fences: runs, or more than the given share of repeated lines or 6-grams.

    Runs are one character 30 times, a group of two to eight 15 times, or a word 8 times. An answer of fewer than
    `min_words` is judged by runs alone. A prompt that asks to repeat is obeyed.
    """
    for i, message in enumerate(conversation.messages):
        if message.role != "assistant" or (i and _WANTED.search(conversation.messages[i - 1].content)):
            continue
        text = _FENCED.sub(" ", message.content)
        if run := _HELD.search(text) or _STUTTER.search(text):
            return f"turn {i} repeats {run.group()[:20]!r}"
        w = words(text)
        if len(w) < min_words:
            continue
        lines = [" ".join(words(line)) for line in text.split("\n")]
        again = _repeated([line for line in lines if line.count(" ") >= 2], total=sum(map(bool, lines)))
        if again > max_lines:
            return f"turn {i}: {again:.0%} of the lines are copies, the maximum is {max_lines:.0%}"
        again = _covered(w)
        if again > max_grams:
            return f"turn {i}: {again:.0%} of the words repeat runs of {_GRAM} words, the maximum is {max_grams:.0%}"
    return None


def _repeated(items: list[str], total: int) -> float:
    """Share of the items that occurred before."""
    return (len(items) - len(set(items))) / max(1, total)


def _covered(w: list[str]) -> float:
    """Share of the words inside a run of _GRAM words that occurred before."""
    seen, covered = set(), [False] * len(w)
    for i in range(len(w) - _GRAM + 1):
        gram = tuple(w[i : i + _GRAM])
        if gram in seen:
            covered[i : i + _GRAM] = [True] * _GRAM
        seen.add(gram)
    return sum(covered) / len(w)
