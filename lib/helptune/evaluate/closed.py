"""What was answered to a closed request: one name, number or word out of a text, by fixed rules, or nothing.

Two answers agree where this is the same for both, however they are worded ("Paris." and "It is Paris"). The rules
prefer to see nothing where a text is unclear: an echo of the request that names all options has not chosen one.
"""

import re
from collections.abc import Mapping, Sequence

from helptune.data.words import words
from helptune.evaluate.numbers import SPELLED, TENS, UNITS

_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_NUMBER = re.compile(
    rf"(?<![\w.,])(?:{_DIGITS})(?![\w]|[.,]\d)"
    rf"|\b(?:{'|'.join(TENS)})[- ](?:{'|'.join(UNITS[1:10])})\b|\b(?:{'|'.join(SPELLED)})\b",
    re.IGNORECASE,
)
_MARK = re.compile(r"^\s*(?:[-*•>#]+|\(?1[.)](?=\s+\S))\s*")  # "7. That is all." begins with its answer
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s")
_LEAD = re.compile(
    r"^(?:(?:so|well|the answer is|answer|a|it is|it's|that is|that's|the|an?)\b[\s:,]*)+", re.IGNORECASE
)
_AROUND = "*_`\"' \t"
_LONGEST = 3  # words that an answer of the form `word` may have


def said(text: str, form: str, options: Mapping[str, Sequence[str]], request: str) -> str | None:
    """What `text` answers to `request`, in a normal form, None where it cannot be told; see `Group` for form, options.

    Only the first sentence counts, and one that asks something answers nothing.

    - yes_no: the option that the sentence begins or ends with.
    - choice: the one option that is named ("not blue" does not name it). Where several are, the one the sentence is
      about: "A brick is heavier than a feather" answers brick, "brick or feather" nothing.
    - number: the number after the last "="; else the one number that is not also in the request; else, where all are,
      the only one there is. Digits and words up to ninety-nine.
    - word: an option as for `choice`; else the sentence itself where it has at most three words, without its lead-in.
    """
    sentence = first_sentence(text)
    if sentence.endswith("?") or not words(sentence):
        return None
    if form == "number":
        return _number(sentence, request)
    if form == "yes_no":
        spoken = [word.strip("'") for word in words(_LEAD.sub("", sentence))]
        ends = [spoken[0], spoken[-1]] if spoken else []
        return next((name for end in ends for name in options if end in map(str.casefold, options[name])), None)
    named = [name for name in options if any(_mentions(sentence, one) for one in options[name])]
    if named or form == "choice":
        return named[0] if len(named) == 1 else _subject(sentence, options)
    rest = words(_LEAD.sub("", sentence))
    return " ".join(rest) if 0 < len(rest) <= _LONGEST else None


def first_sentence(text: str) -> str:
    """Of the first line that says something, without list marks, emphasis and quotes around it.

    One that ends with a colon only announces the next line.
    """
    lines = (_MARK.sub("", line).strip(_AROUND) for line in text.splitlines())
    sentences = (_SENTENCE_END.split(line, maxsplit=1)[0].strip(_AROUND) for line in lines)
    return next((sentence for sentence in sentences if words(sentence) and not sentence.endswith(":")), "")


def _mentions(sentence: str, spelling: str) -> bool:
    pattern = rf"(?<!\w)(?<!\bnot )(?<!\bnot a )(?<!\bnot an )(?<!\bnot the ){re.escape(spelling)}(?!\w)"
    return re.search(pattern, sentence, re.IGNORECASE) is not None


def _subject(sentence: str, options: Mapping[str, Sequence[str]]) -> str | None:
    """The option a sentence begins with and says something about."""
    rest = _LEAD.sub("", sentence)
    return next(
        (
            name
            for name, spellings in options.items()
            if any(re.match(rf"{re.escape(one)}\s+(?!or\b|and\b)\w", rest, re.IGNORECASE) for one in spellings)
        ),
        None,
    )


def _number(sentence: str, request: str) -> str | None:
    if "=" in sentence:
        found = _numbers(sentence.rpartition("=")[2])
        return found[0] if found else None
    found = list(dict.fromkeys(_numbers(sentence)))
    new = [number for number in found if number not in _numbers(request)] or found
    return new[0] if len(new) == 1 else None


def _numbers(text: str) -> list[str]:
    """The numbers of a text, each in one form: "1,200" as 1200, "3.50" as 3.5, "twenty-one" as 21."""
    return [_value(one.group().casefold()) for one in _NUMBER.finditer(text)]


def _value(number: str) -> str:
    if number[0].isdigit():
        return f"{float(number.replace(',', '')):.10g}"
    return str(sum(SPELLED[part] for part in re.split(r"[- ]", number)))
