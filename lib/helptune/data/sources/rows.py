"""Rows of a dataset with the place they stand in: from a file, a folder, or the Hugging Face hub; one at a time.

What cannot be read becomes a Rejected with file and line, and reading goes on: with the next line of a text, with the
next file where a file breaks off. `datasets` would stop at the first broken line, so it reads the hub alone.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helptune.data.sources.record import MALFORMED, Rejected, Row
from helptune.errors import DataError

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_SPLITS = ("train", "validation", "valid", "test")
_LONGEST = 64 * 2**20
"""Bytes of a line. A longer one is rejected without being held in memory."""


def local_rows(path: Path, split: str = "train", name: str = "") -> Iterator[Row | Rejected]:
    """Rows of a file, or of all files in a folder and below it that belong to `split`, by name.

    A file belongs to `split` when its path names that split, or none. Rows say where they stand as `name`, by default
    the path, with the path within the folder. Raises DataError when there is no such file, or it is no data.
    """
    name = name or str(path)
    if not path.is_dir():
        yield from _file_rows(path, name)
        return
    files = [p for p in sorted(path.rglob("*")) if p.name.endswith(ENDINGS) and p.is_file()]
    chosen = [p for p in files if _belongs(p.relative_to(path), split)]
    if not chosen:
        raise DataError(f"{path}: holds no {split} files; wanted are {', '.join(ENDINGS)}")
    for file in chosen:
        yield from _file_rows(file, f"{name}/{file.relative_to(path)}")


def hub_rows(name: str, revision: str, split: str, **load: Any) -> Iterator[Row | Rejected]:
    """Rows of a dataset on the hub, streamed. `load` is what `datasets.load_dataset` needs beside (name=, data_dir=).

    Raises DataError when the hub, the dataset or the split cannot be had, with what to do.
    """
    import datasets

    line = 0
    try:
        for line, value in enumerate(
            datasets.load_dataset(name, revision=revision or None, split=split, streaming=True, **load), start=1
        ):
            yield Row(f"{name}/{split}", line, value)
    except Exception as error:  # whatever its many readers and the network raise
        raise DataError(
            f"{name} ({split}, revision {revision or 'main'}): cannot be read from the hub beyond row {line} "
            f"({type(error).__name__}: {str(error)[:200]}). Offline, give `path`: a file or folder in the same schema"
        ) from error


def _belongs(path: Path, split: str) -> bool:
    named = {part for part in re.split(r"[^a-z]+", str(path).lower()) if part in _SPLITS}
    return not named or split in named


def _file_rows(path: Path, name: str) -> Iterator[Row | Rejected]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.name.endswith(".parquet"):
        yield from _parquet_rows(path, name)
    elif path.name.endswith(ENDINGS):
        yield from _text_rows(path, name)
    else:
        raise DataError(f"{path}: ends in none of {', '.join(ENDINGS)}")


def _text_rows(path: Path, name: str) -> Iterator[Row | Rejected]:
    with path.open("rb") as file:
        start = file.read(200)
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: is a Git LFS pointer, not the data; fetch it with `git lfs pull`")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if path.name.endswith((".json", ".json.gz")) and _is_list(file):
                yield from _list_rows(file.read(), name)
                return
            for number, line in enumerate(bounded_lines(file), start=1):
                yield from _line_rows(line, name, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Rejected(name, number + 1, MALFORMED, f"the compressed file breaks off here ({error})")


def _is_list(file: Any) -> bool:
    """A JSON list can only be read whole; JSON lines in a file called .json are read as lines."""
    start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    file.seek(0)
    return start.startswith(b"[")


def bounded_lines(file: Any) -> Iterator[bytes | None]:
    """Lines without their ends; None for one that is too long."""
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line.rstrip(b"\r\n")


def _line_rows(line: bytes | None, name: str, number: int) -> Iterator[Row | Rejected]:
    if line is None:
        yield Rejected(name, number, MALFORMED, f"longer than {_LONGEST:,} bytes")
    elif line.strip():
        yield _checked(name, number, *_parsed(line))


def _list_rows(text: bytes, name: str) -> Iterator[Row | Rejected]:
    values, fault = _parsed(text)
    if fault or not isinstance(values, list):
        yield Rejected(name, 1, MALFORMED, fault or "neither a JSON list nor JSON lines")
        return
    for number, value in enumerate(values, start=1):
        yield _checked(name, number, value, "")


def _parsed(text: bytes) -> tuple[Any, str]:
    """(value, "") or (None, what is wrong)."""
    try:
        return json.loads(text.decode("utf-8-sig")), ""
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 text ({error.reason} at byte {error.start})"
    except json.JSONDecodeError as error:
        return None, f"not valid JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of open brackets
        return None, f"not usable JSON ({error})"


def _checked(name: str, number: int, value: Any, fault: str) -> Row | Rejected:
    if not fault and not isinstance(value, dict):
        fault = f"expected a JSON object, found {type(value).__name__}"
    return Rejected(name, number, MALFORMED, fault) if fault else Row(name, number, value)


def _parquet_rows(path: Path, name: str) -> Iterator[Row | Rejected]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_000):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(name, number, value)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        yield Rejected(name, number + 1, MALFORMED, f"the Parquet file cannot be read from here on ({error})")
