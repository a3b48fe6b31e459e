"""A check, tried on an answer that runs elsewhere: stand-ins take the places of the functions the answer defines."""

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from helptune.exercises.grade import wire
from helptune.exercises.mistakes import Mistake

Ask = Callable[[str, tuple[Any, ...], dict[str, Any]], dict[str, Any]]
"""(function, args, kwargs) -> a reply as worker.py tells them."""

_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        ArithmeticError, AssertionError, AttributeError, EOFError, FileNotFoundError, ImportError, IndexError, KeyError,
        LookupError, MemoryError, ModuleNotFoundError, NameError, NotImplementedError, OSError, OverflowError,
        PermissionError, RecursionError, RuntimeError, TypeError, ValueError, ZeroDivisionError,
    )
}  # fmt: skip
"""Exceptions of an answer that reach a check as themselves; any other one is a RuntimeError."""


@dataclass(frozen=True)
class Found:
    """What is wrong with an answer: the mistake in a word, and a sentence."""

    hint: str
    text: str


class StandIn:
    """Called as the learner's function would be. `trouble` is what kept it from giving a value."""

    def __init__(self, name: str, ask: Ask):
        self.__name__, self._ask, self.calls = name, ask, 0
        self.trouble: Found | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        reply = self._ask(self.__name__, args, kwargs)
        if "value" in reply:
            return reply["value"]
        error, self.trouble = _trouble(self.__name__, reply)
        raise error


def _trouble(name: str, reply: dict[str, Any]) -> tuple[Exception, Found]:
    if "missing" in reply:
        text = f"there is no function `{name}`: its cell failed, or gave it another name"
        return NameError(text), Found("not_defined", text)
    if "unsendable" in reply:
        text = f"`{name}` gave {_text(reply['unsendable'])}: it should give numbers, arrays, texts, or lists of them"
        return TypeError(text), Found("not_data", text)
    told = reply["raised"] if isinstance(reply["raised"], dict) else {}
    error = _KINDS.get(_text(told.get("kind")), RuntimeError)(_text(told.get("text")))
    if isinstance(error, NotImplementedError):
        return error, Found("not_written", "nothing is written here yet")
    return error, Found("raised", f"the answer raised {raised(told)}")


def raised(told: dict[str, Any]) -> str:
    """What a worker tells of an exception, in words."""
    line = told.get("line")
    place = f" (line {line} of its cell)" if type(line) is int else ""
    return f"{_text(told.get('kind'))}: {_text(told.get('text'))}{place}"


def _text(told: Any) -> str:
    return told[:1000] if isinstance(told, str) else "something"


def undefined_name(found: Found) -> str | None:
    """The name that an answer used and nobody defined."""
    matched = re.search(r"NameError: name '(\w+)' is not defined", found.text) if found.hint == "raised" else None
    return matched[1] if matched else None


def put_in(namespace: dict[str, Any], functions: Sequence[str], ask: Ask) -> list[StandIn]:
    """Stand-ins for these functions, in the namespace that a check will run in."""
    stand_ins = [StandIn(name, ask) for name in functions]
    namespace |= {stand_in.__name__: stand_in for stand_in in stand_ins}
    return stand_ins


def attempt(code: Any, namespace: dict[str, Any], stand_ins: Sequence[StandIn]) -> Found | None:
    """Run a part of a check. None: nothing is wrong. What ends the learner's process passes through, as Ended."""
    for stand_in in stand_ins:
        stand_in.trouble = None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespace)
    except Mistake as mistake:
        found = Found(mistake.hint, mistake.text)
    except NotImplementedError:
        return Found("not_written", "nothing is written here yet")
    except AssertionError as error:
        found = Found("wrong_value", str(error) or "an assertion does not hold")
    except wire.Unsendable as error:
        return Found("check_failed", f"the check itself failed: it sends {error}")
    except Exception as error:
        found = Found("raised", f"the check could not go on: {type(error).__name__}: {error}")
    else:
        return None
    troubles = [stand_in.trouble for stand_in in stand_ins if stand_in.trouble]
    return troubles[-1] if found.hint == "raised" and troubles else found
