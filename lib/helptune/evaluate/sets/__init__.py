"""Data written for the evaluation itself, and its loaders; see data_cards/evaluation_sets.md."""

from pathlib import Path
from typing import Any

from helptune.data.records import read_records
from helptune.errors import DataError
from helptune.evaluate.checks import Check, parse_checks
from helptune.evaluate.sets.groups import Group, parse_group

SETS = Path(__file__).parent
CONSISTENCY, HELDOUT_CHECKS = SETS / "consistency.jsonl", SETS / "heldout_checks.jsonl"


def load_groups(path: Path = CONSISTENCY) -> list[Group]:
    """The groups of requests whose answers ought to agree.

    Raises DataError as `file:line: field: what is wrong` at the first bad line, and for an id that comes twice.
    """
    return list(read_records(path, parse_group, lambda group: group.id))


def load_checks(path: Path = HELDOUT_CHECKS) -> dict[str, tuple[Check, ...]]:
    """Id of a conversation -> the checks that any good answer to it passes.

    Raises DataError as `load_groups` does.
    """
    return dict(read_records(path, _parse_checks, lambda found: found[0]))


def _parse_checks(record: Any) -> tuple[str, tuple[Check, ...]]:
    if not isinstance(record, dict) or set(record) != {"id", "checks"}:
        raise DataError(f"expected an object with exactly 'id' and 'checks', found {record!r:.200}")
    if not isinstance(record["id"], str) or not record["id"]:
        raise DataError(f"field 'id' must be a non-empty string, found {record['id']!r:.60}")
    return record["id"], parse_checks(record["checks"])
