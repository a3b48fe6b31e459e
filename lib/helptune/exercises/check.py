"""A check: a function that is given a learner's answer, and raises the Mistake that it finds.

    @check
    def forward(answer, seed=0):
        '''y = x W + alpha/R x A B'''
        expect(answer(...), right, known)

It says "✓ forward" when nothing is wrong, turns whatever the answer raised into a Mistake, and remembers the outcome.
The first line of its docstring is its title. `answer` may also be a stand-in for a function in another process: a check
gives it, and takes from it, only numbers, arrays, texts, and lists and dicts of them.
"""

import functools
import traceback
from collections.abc import Callable
from typing import Any

from helptune.exercises.mistakes import Mistake
from helptune.exercises.progress import record


def check(test: Callable[..., None]) -> Callable[..., None]:
    """Decorate `test(answer, ...)`. The decorated check raises Mistake and nothing else."""
    notebook = test.__module__.rpartition(".")[2]

    @functools.wraps(test)
    def run(answer: Any, *args: Any, **kwargs: Any) -> None:
        name = test.__name__
        try:
            test(answer, *args, **kwargs)
        except Mistake as mistake:
            record(notebook, name, mistake.hint)
            raise Mistake(mistake.hint, mistake.text, name) from None
        except NotImplementedError:
            record(notebook, name, "not_written")
            raise Mistake("not_written", "nothing is written here yet", name) from None
        except Exception as error:
            record(notebook, name, "raised")
            raise Mistake("raised", f"the answer raised {_told(error)}", name) from error
        record(notebook, name, None)
        print(f"✓ {name}")

    run.is_check = True  # type: ignore[attr-defined]
    return run


def titles(module: Any) -> dict[str, str]:
    """{name: title} of the checks in a module, in their order."""
    checks = {name: item for name, item in vars(module).items() if getattr(item, "is_check", False)}
    return {name: (item.__doc__ or name).splitlines()[0].rstrip(".") for name, item in checks.items()}


def _told(error: Exception) -> str:
    """The error, and the line of the notebook's cell it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if "ipykernel" in frame.filename]
    place = f" (line {lines[-1]} of its cell)" if lines else ""
    return f"{type(error).__name__}: {error}{place}"
