"""Numbers in a text, in digits or spelled out: what was computed, however it was written."""

import re

UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SPELLED = {word: n for n, word in enumerate(UNITS)} | {word: 10 * n for n, word in enumerate(TENS, start=2)}
_OTHER = {"hundred": 100.0, "a hundred": 100.0, "one hundred": 100.0, "a dozen": 12.0, "half": 0.5}
_WORDS = "|".join(sorted([*SPELLED, *_OTHER], key=len, reverse=True))
_NUMBER = re.compile(
    r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|(?<![\w.])(?:(?<!\w)-)?\d+(?:\.\d+)?"
    rf"|\b(?:{'|'.join(TENS)})[- ](?:{'|'.join(UNITS[1:10])})\b|\b(?:{_WORDS})\b"
)


def numbers(text: str) -> list[float]:
    """Every number of a case-folded text, in order: 7, -2.5, 1,000, "forty-two", "half"."""
    return [_value(found.group()) for found in _NUMBER.finditer(text)]


def _value(text: str) -> float:
    if text in _OTHER:
        return _OTHER[text]
    if text in SPELLED:
        return float(SPELLED[text])
    if text[0].isalpha():
        tens, ones = re.split(r"[- ]", text)
        return float(SPELLED[tens] + SPELLED[ones])
    return float(text.replace(",", ""))
