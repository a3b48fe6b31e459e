"""A wrong answer has a name: the mistake, by which a learner is helped, a class is counted and a check is tested.

`expect` compares what an answer gave with what is right, and with what known mistakes would have given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class Mistake(AssertionError):
    """An answer is wrong. `hint` names the mistake in a word, `text` tells the learner; a notebook shows one line."""

    def __init__(self, hint: str, text: str, exercise: str = ""):
        super().__init__(f"{exercise}: {text}" if exercise else text)
        self.hint, self.text, self.exercise = hint, text, exercise

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"✗ {self}"]


@dataclass(frozen=True)
class Known:
    """A mistake that is recognized by the value it gives."""

    hint: str
    value: Any
    text: str


def expect(
    found: Any,
    right: Any,
    known: Sequence[Known] = (),
    *,
    what: str = "the result",
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Raise Mistake unless `found` is `right`, a number, an array, a text, or lists and dicts of them.

    Known mistakes are tried in their order. One whose value cannot be told from the right one is an error of the
    check itself: ValueError.
    """
    for mistake in known:
        if difference(mistake.value, right, rtol, atol) is None:
            raise ValueError(f"{mistake.hint}: gives the right value here, so it cannot be recognized by it")
    told = difference(found, right, rtol, atol)
    if told is None:
        return
    for mistake in known:
        if difference(found, mistake.value, rtol, atol) is None:
            raise Mistake(mistake.hint, mistake.text)
    hint, text = told
    raise Mistake(hint, f"{what}{text}")


def difference(found: Any, right: Any, rtol: float = 1e-4, atol: float = 1e-6) -> tuple[str, str] | None:
    """The first difference as (hint, a text that follows the name of the thing), or None."""
    if found is None and right is not None:
        return "nothing_returned", " is None: is a `return` missing?"
    if isinstance(right, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(right):
            keys = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            return "wrong_structure", f" should be a dict with the keys {sorted(map(str, right))}; found {keys}"
        return _first(((f"[{key!r}]", found[key], right[key]) for key in right), rtol, atol)
    if isinstance(right, str | bytes | bool) or right is None:
        plain = found.item() if isinstance(found, np.bool_) else found
        if type(plain) is not type(right) or plain != right:
            return "wrong_value", f" should be {right!r}; found {_short(found)}"
        return None
    if isinstance(right, list | tuple) and not _is_numeric(right):
        if not isinstance(found, list | tuple) or len(found) != len(right):
            held = f"{len(found)} items" if isinstance(found, list | tuple) else type(found).__name__
            return "wrong_structure", f" should be a list of {len(right)} items; found {held}"
        pairs = enumerate(zip(found, right, strict=True))
        return _first(((f"[{i}]", f, r) for i, (f, r) in pairs), rtol, atol)
    return _numbers_differ(found, right, rtol, atol)


def _first(parts: Iterable[tuple[str, Any, Any]], rtol: float, atol: float) -> tuple[str, str] | None:
    for name, found, right in parts:
        if told := difference(found, right, rtol, atol):
            return told[0], f"{name}{told[1]}"
    return None


def _numbers_differ(found: Any, right: Any, rtol: float, atol: float) -> tuple[str, str] | None:
    if not _is_numeric(found):
        return "not_numbers", f" should be made of numbers; found {_short(found)}"
    ours, theirs = _numbers(right), _numbers(found)
    if np.asarray(right).dtype.kind in "biu":
        rtol = atol = 0  # counts and ids are right or wrong
    elif ours.size:
        atol += rtol / 10 * float(np.nanmax(np.abs(ours)))  # what is nearly zero is so beside the others
    if theirs.shape != ours.shape:
        return "wrong_shape", f" should have the shape {ours.shape}; found {theirs.shape}"
    if np.isnan(theirs).any() and not np.isnan(ours).any():
        return "nan", " has NaN in it (a division by zero, or inf - inf)"
    if np.allclose(theirs, ours, rtol=rtol, atol=atol, equal_nan=True):
        return None
    if ours.ndim == 0:
        return "wrong_value", f" should be {ours:.6g}; found {theirs:.6g}"
    far = np.abs(theirs - ours)
    where = np.unravel_index(np.nanargmax(far), far.shape)
    place = ", ".join(str(int(i)) for i in where)
    return (
        "wrong_value",
        f" is off by up to {far[where]:.3g}, at [{place}]: {theirs[where]:.6g} in place of {ours[where]:.6g}",
    )


def _is_numeric(value: Any) -> bool:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # ragged lists, objects that refuse
        return False
    return array.dtype.kind in "biuf" or array.dtype.name in ("bfloat16", "int4")


def _numbers(value: Any) -> np.ndarray:
    """In float64, in which integers below 2**53 are exact."""
    return np.asarray(value).astype(np.float64)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
