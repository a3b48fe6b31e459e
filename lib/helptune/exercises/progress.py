"""What a learner has solved: one small file in the user's state folder.

A solved exercise stays solved when a later try fails, and the file keeps the last hint.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helptune.files import write_text

followers: list[Callable[[str], None]] = []
"""Called with the notebook's name after each recorded try: a panel on show is one of them."""

_FIELDS = {"solved", "tries", "hint"}


def progress_file() -> Path:
    """$HELPTUNE_PROGRESS, or `helptune/progress.json` in the user's state folder."""
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("HELPTUNE_PROGRESS") or Path(root) / "helptune" / "progress.json")


def read_progress() -> dict[str, dict[str, dict[str, Any]]]:
    """{notebook: {exercise: {"solved": bool, "tries": int, "hint": str | None}}}; a damaged file counts as none."""
    try:
        found = json.loads(progress_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if _is_progress(found) else {}


def _is_progress(found: Any) -> bool:
    """Nested as `read_progress` says: the file may be anything."""
    return isinstance(found, dict) and all(
        isinstance(tries, dict) and all(isinstance(tried, dict) and {*tried} == _FIELDS for tried in tries.values())
        for tries in found.values()
    )


def record(notebook: str, exercise: str, hint: str | None) -> None:
    """Remember a try: `hint` names the mistake, None says it was right. That the file cannot be written is no error."""
    progress = read_progress()
    known = progress.setdefault(notebook, {}).get(exercise, {"solved": False, "tries": 0})
    progress[notebook][exercise] = {
        "solved": known["solved"] or hint is None,
        "tries": known["tries"] + 1,
        "hint": hint,
    }
    try:
        write_text(progress_file(), json.dumps(progress, indent=1, sort_keys=True) + "\n")
    except OSError:
        return
    for follow in followers:
        follow(notebook)
