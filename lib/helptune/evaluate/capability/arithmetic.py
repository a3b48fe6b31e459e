"""Small sums, counts, comparisons and number sequences, drawn from a seed: what a model computes, not what it has read.

Four solved lines go before each, as the few-shot arithmetic of Brown et al. 2020 (arXiv:2005.14165, sec. 3.9.1), in
digits and in words.
"""

import random
from collections.abc import Callable

from helptune.evaluate.capability.items import Exact
from helptune.evaluate.numbers import TENS, UNITS

_SOLVED = 4


def in_words(number: int) -> str:
    """Of 0 to 99: "forty-two"."""
    if number < len(UNITS):
        return UNITS[number]
    tens, ones = divmod(number, 10)
    return f"{TENS[tens - 2]}-{UNITS[ones]}" if ones else TENS[tens - 2]


class _Draw:
    """Whole numbers from `random.random`, the one method that Python promises to keep the same for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def __call__(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return low + int(self._random() * (high - low + 1))


def _addition(draw: _Draw) -> tuple[str, str]:
    a, b = draw(1, 60), draw(1, 39)
    return f"{a} + {b} =", str(a + b)


def _subtraction(draw: _Draw) -> tuple[str, str]:
    a, b = draw(1, 60), draw(1, 20)
    return f"{a + b} - {b} =", str(a)


def _multiplication(draw: _Draw) -> tuple[str, str]:
    a, b = draw(2, 12), draw(2, 10)
    return f"{a} x {b} =", str(a * b)


def _addition_in_words(draw: _Draw) -> tuple[str, str]:
    a, b = draw(1, 9), draw(1, 9)
    return f"{in_words(a)} + {in_words(b)} =", in_words(a + b)


def _number_words(draw: _Draw) -> tuple[str, str]:
    number = draw(11, 99)
    return f"{in_words(number)} =", str(number)


def _counting(draw: _Draw) -> tuple[str, str]:
    start, step = draw(3, 90), (1, -1)[draw(0, 1)]
    words = [in_words(start + step * i) for i in range(4)]
    return f"{', '.join(words[:3])},", words[3]


def _comparison(draw: _Draw) -> tuple[str, str]:
    a = draw(10, 999)
    b = a + draw(1, 9) * (1, 10, 100)[draw(0, 2)]
    first, second = (a, b) if draw(0, 1) else (b, a)
    return f"The larger of {first} and {second} is", str(b)


def _sequence(draw: _Draw) -> tuple[str, str]:
    start, step = draw(1, 30), draw(1, 10)
    numbers = [start + step * i for i in range(5)]
    return " ".join(map(str, numbers[:4])), str(numbers[4])


KINDS: dict[str, Callable[[_Draw], tuple[str, str]]] = {
    "addition": _addition,
    "subtraction": _subtraction,
    "multiplication": _multiplication,
    "addition_in_words": _addition_in_words,
    "number_words": _number_words,
    "counting": _counting,
    "comparison": _comparison,
    "sequence": _sequence,
}


def arithmetic(each: int = 20, seed: int = 0) -> list[Exact]:
    """So many items of every kind, no two the same; a kind has its own solved lines, and none of them is an item."""
    items = list[Exact]()
    for number, (kind, make) in enumerate(KINDS.items()):
        draw, drawn = _Draw(1_000 * seed + number), dict[str, str]()
        while len(drawn) < _SOLVED + each:
            stem, answer = make(draw)
            drawn[stem] = answer
        lines = list(drawn.items())
        solved = "".join(f"{stem} {answer}\n" for stem, answer in lines[:_SOLVED])
        items += [
            Exact(f"{kind}-{i:02d}", kind, solved + stem, answer)
            for i, (stem, answer) in enumerate(lines[_SOLVED:], start=1)
        ]
    return items
