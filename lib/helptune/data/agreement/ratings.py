"""Ratings of the same items by several raters, and the files they come from.

A rating file is JSON lines `{"item", "rater", "rating", "attribute", "note"}`, or CSV with these columns; the last two
may be left out. Ratings are whole numbers from 0 to 100, or null (CSV: empty) where a rater gave none. The
disagreements file of HelpSteer2 (Wang et al. 2024), which holds lists of raw scores, is read as well.
"""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helptune.errors import DataError
from helptune.shapes import Bool, Int

MISSING = -1
TOP = 100
"""The highest rating: a wider scale is a measurement, and the tables of the measures grow with its square."""
_DIGITS = 9
"""Digits of a rating that is read as a number, so that a wrong one is a number too."""

HELPSTEER2 = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_FIELDS = ("item", "rater", "rating", "attribute", "note")


@dataclass(frozen=True, eq=False)
class Ratings:
    """Everything that was said about one attribute.

    `values` has MISSING where a rater did not rate an item. Where raters are anonymous, the columns are places in a
    list and no two ratings in a column are known to be the same person's: only measures that ask no more than that
    are defined.
    """

    attribute: str
    items: tuple[str, ...]
    raters: tuple[str, ...]
    values: Int[np.ndarray, "items raters"]
    anonymous: bool = False

    @property
    def per_item(self) -> Int[np.ndarray, " items"]:
        """How many ratings each item has."""
        return (self.values >= 0).sum(axis=1)

    @property
    def active(self) -> int:
        """Raters who rated anything; of anonymous ones, the most that rated one item."""
        return int((self.values >= 0).any(axis=0).sum())

    def where(self, keep: Bool[np.ndarray, " items"]) -> "Ratings":
        """The same raters, and those items alone."""
        items = tuple(item for item, kept in zip(self.items, keep, strict=True) if kept)
        return replace(self, items=items, values=self.values[keep])


def read_ratings(path: Path | str) -> dict[str, Ratings]:
    """The ratings of each attribute, in the order they appear in; "" is the attribute of rows that name none.

    A name in `.csv` is read as CSV, another as JSON lines, and `.gz` behind it is unpacked. Records that hold a
    `prompt` and a `response` are HelpSteer2's. Raises DataError as `file:line: field: what is wrong` at the first bad
    row, and when the same rater rates an item twice.
    """
    path = Path(path)
    rows = _csv_rows(path) if ".csv" in path.suffixes[-2:] else _json_rows(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: holds no ratings; a row has item, rater and rating")
    if isinstance(first[1], dict) and {"prompt", "response"} <= set(first[1]):
        return _helpsteer2(path, first, rows)
    return _named(path, first, rows)


def _named(path: Path, first: tuple[int, Any], rows: Iterator[tuple[int, Any]]) -> dict[str, Ratings]:
    cells: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}
    for line, row in (first, *rows):
        try:
            item, rater, attribute, rating = _parse(row)
            seen = cells.setdefault(attribute, {})
            if (item, rater) in seen:
                what = f" for {attribute!r}" if attribute else ""
                raise DataError(
                    f"field 'rater': {rater!r} rated {item!r}{what} already in line {seen[item, rater][1]};"
                    " keep one of the two"
                )
        except DataError as error:
            raise DataError(f"{path}:{line}: {error}") from error
        seen[item, rater] = (rating, line)
    return {name: _matrix(name, ratings) for name, ratings in cells.items()}


def _matrix(attribute: str, cells: dict[tuple[str, str], tuple[int, int]]) -> Ratings:
    items = {item: i for i, item in enumerate(dict.fromkeys(item for item, _ in cells))}
    raters = {rater: i for i, rater in enumerate(dict.fromkeys(rater for _, rater in cells))}
    values = np.full((len(items), len(raters)), MISSING, np.int8)
    for (item, rater), (rating, _) in cells.items():
        values[items[item], raters[rater]] = rating
    return Ratings(attribute, tuple(items), tuple(raters), values)


def _helpsteer2(path: Path, first: tuple[int, Any], rows: Iterator[tuple[int, Any]]) -> dict[str, Ratings]:
    """Each attribute holds a list of raw scores. Nothing says whose they are, and their order means nothing."""
    items, scores = [], dict[str, list[list[int]]]({name: [] for name in HELPSTEER2})
    for line, row in (first, *rows):
        items.append(f"line {line}")
        for name, lists in scores.items():
            found = row.get(name) if isinstance(row, dict) else None
            if not isinstance(found, list) or not found or not all(_is_whole(s) and 0 <= s <= 4 for s in found):
                raise DataError(
                    f"{path}:{line}: field {name!r} must be a list of scores from 0 to 4, found {found!r};"
                    " the file wanted is HelpSteer2's disagreements.jsonl.gz"
                )
            lists.append(found)
    return {name: _lists(name, items, lists) for name, lists in scores.items()}


def _lists(attribute: str, items: list[str], lists: list[list[int]]) -> Ratings:
    most = max(map(len, lists))
    values = np.array([[*scores, *[MISSING] * (most - len(scores))] for scores in lists], np.int8)
    return Ratings(attribute, tuple(items), tuple(f"place {i + 1}" for i in range(most)), values, anonymous=True)


def _parse(row: Any) -> tuple[str, str, str, int]:
    """(item, rater, attribute, rating) of one row. Raises DataError naming the field."""
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, found {type(row).__name__}")
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        raise DataError(f"field {unknown[0]!r} is not one of {', '.join(_FIELDS)}")
    attribute = row.get("attribute", "")
    if not isinstance(attribute, str):
        raise DataError(f"field 'attribute' must be a name, found {attribute!r}")
    if "rating" not in row:
        raise DataError("field 'rating' is missing; null says that the rater gave none")
    rating = row["rating"]
    if rating is not None and not (_is_whole(rating) and 0 <= rating <= TOP):
        raise DataError(f"field 'rating' must be a whole number from 0 to {TOP}, or null, found {rating!r:.60}")
    return _name(row, "item"), _name(row, "rater"), attribute, MISSING if rating is None else int(rating)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1


def _name(row: dict, field: str) -> str:
    value = row.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field {field!r} must be a name or a number, found {value!r}")
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line. Raises DataError where the file, or a line of it, cannot be read."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not UTF-8 text ({error.reason})") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(path):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not valid JSON ({error.msg} at column {error.colno})") from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: not usable JSON ({error})") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Rows as JSON would give them: an empty rating is None, and one in digits is a number."""
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in _FIELDS[:3] if name not in header]
        if missing or len(set(header)) != len(header):
            wrong = f"the column {missing[0]!r} is missing" if missing else "a column comes twice"
            raise DataError(f"{path}:1: {wrong}; the first line names the columns item, rater, rating")
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise DataError(f"{path}:{reader.line_num}: expected {len(header)} cells, found {len(cells)}")
            row: dict[str, Any] = dict(zip(header, cells, strict=True))
            rating = row["rating"].strip()
            whole = rating.isdecimal() and len(rating) <= _DIGITS
            yield reader.line_num, row | {"rating": int(rating) if whole else rating or None}
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error
