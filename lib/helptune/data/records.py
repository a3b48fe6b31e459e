"""Records in a file of JSON lines, each read by a parser that says what is wrong with it: one error names its line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helptune.errors import DataError


def read_records[T](path: Path, parse: Callable[[Any], T], name: Callable[[T], str] | None = None) -> Iterator[T]:
    """A record a line, in order; empty lines hold none. `name` gives what may not come twice.

    Raises DataError as `file:line: what is wrong` at the first bad line.
    """
    first_seen = dict[str, int]()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = parse(json.loads(line))
            if name is not None and (own := name(record)) in first_seen:
                raise DataError(f"field 'id': {own!r} was already used in line {first_seen[own]}")
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not usable JSON ({error})") from error
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if name is not None:
            first_seen[name(record)] = number
        yield record
