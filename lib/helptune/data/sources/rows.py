"""Located rows of a file, a folder, or a dataset of the Hugging Face hub: the streaming front of every source.

A row that cannot be read (invalid UTF-8 or JSON, no object) becomes a Rejected with its file and line, and reading goes
on with the next row. Where the rest of a file is lost (a truncated archive or array, a Git LFS pointer) its last
Rejected is UNREADABLE, and reading goes on with the next file.
Memory is bounded by one line, or by one batch of a parquet file.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from helptune.data.sources.locate import data_files, kind
from helptune.data.sources.record import MALFORMED, UNREADABLE, Rejected, Row
from helptune.errors import DataError

LONGEST_LINE = 64 * 2**20  # bytes; the longest record of the known sources has less than one MiB
BATCH = 256  # rows of a parquet file held at once
_LFS = b"version https://git-lfs.github.com/spec/"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder()


def rows(
    where: Path | str, *, split: str = "train", revision: str = "main", data_dir: str = "", files: str = "*"
) -> Iterator[Row | Rejected]:
    """Rows of `where`: a file, a folder (its `data_files`, one after the other), or else a hub dataset.

    Read are .jsonl, .json (lines, or one array), .parquet, .xml (one <row/> a line), all but parquet also as .gz.
    `revision` is for the hub; the commit that it stands for is part of each row's `file`. Raises DataError, before any
    row, when nothing can be read there.
    """
    path = Path(where)
    if path.exists():
        found = data_files(path, split=split, data_dir=data_dir, files=files)
        return (row for file in found for row in file_rows(file))
    name = str(where)
    if not _HUB_NAME.fullmatch(name) or kind(path) is not None:
        raise DataError(f"{name}: no such file or folder, and not the name of a hub dataset (owner/name)")
    return _hub_rows(name, split, revision, data_dir)


def file_rows(path: Path) -> Iterator[Row | Rejected]:
    """Rows of one local file of KINDS; what stops the reading of the file is its last Rejected, UNREADABLE."""
    line = 0
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                yield Rejected(str(path), 1, UNREADABLE, "a Git LFS pointer, not the data; run `git lfs pull` there")
                return
        for row in _READERS[kind(path) or ""](path):
            line = row.line
            yield row
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        yield Rejected(str(path), line + 1, UNREADABLE, f"the rest of the file cannot be read ({error})")


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb"))


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number and text of each line; None of a line is kept beyond LONGEST_LINE."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        yield number, line
        while line and not line.endswith(b"\n"):  # the rest of a line that is too long
            line = file.readline(LONGEST_LINE)


def _parsed_lines(path: Path, parse: Callable[[bytes], Any]) -> Iterator[Row | Rejected]:
    with _open(path) as file:
        for number, line in _lines(file):
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if line:
                yield _row(str(path), number, line, parse)


def _row(file: str, number: int, line: bytes, parse: Callable[[bytes], Any]) -> Row | Rejected:
    if len(line) > LONGEST_LINE:
        return Rejected(file, number, MALFORMED, f"longer than {LONGEST_LINE} bytes")
    try:
        value = parse(line)
    except UnicodeDecodeError as error:
        return Rejected(file, number, MALFORMED, f"not UTF-8 text ({error.reason} at byte {error.start + 1})")
    except json.JSONDecodeError as error:
        return Rejected(file, number, MALFORMED, f"not valid JSON ({error.msg} at column {error.colno})")
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, NaN, thousands of brackets
        return Rejected(file, number, MALFORMED, f"not usable ({error})")
    if not isinstance(value, dict):
        return Rejected(file, number, MALFORMED, f"expected an object, found {type(value).__name__}")
    return Row(file, number, value)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_json(line: bytes) -> Any:
    value = json.loads(line.decode(), parse_constant=_no_constant)
    if _HALF_CHARACTER.search(line):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a character (a lone surrogate)") from None
    return value


def _json_rows(path: Path) -> Iterator[Row | Rejected]:
    """Lines of objects, or one array of them."""
    with _open(path) as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return _array_rows(path) if start.startswith(b"[") else _parsed_lines(path, _parse_json)


def _array_rows(path: Path) -> Iterator[Row | Rejected]:
    """Elements of one JSON array, read piece by piece. After an element that is no JSON the rest cannot be found."""
    name, line, text, ended = str(path), 1, "", False

    def more() -> None:
        nonlocal text, ended
        piece = file.read(max(2**16, len(text)))  # doubling, so that a long element is not parsed again too often
        text, ended = text + piece, not piece

    with io.TextIOWrapper(_open(path), "utf-8-sig", newline="") as file:
        expected, first = "[", True
        while True:
            line += text.count("\n", 0, len(text) - len(text.lstrip()))
            text = text.lstrip()
            if not text:
                if ended:
                    yield Rejected(name, line, UNREADABLE, f"the array ends early: expected {expected!r}")
                    return
                more()
                continue
            if text[0] in expected:
                if text[0] == "]":
                    return
                first, expected, text = expected == "[", "", text[1:]
                continue
            if expected:
                yield Rejected(name, line, UNREADABLE, f"expected {expected!r}, found {text[0]!r}; the rest is lost")
                return
            if first and text[0] == "]":
                return
            try:
                _, end = _DECODER.raw_decode(text)
                if end == len(text) and not ended:
                    raise json.JSONDecodeError("may go on", text, end)
            except (ValueError, RecursionError) as error:
                if not ended and len(text) <= LONGEST_LINE:
                    more()
                    continue
                yield Rejected(name, line, UNREADABLE, f"an element is not valid JSON ({error}); the rest is lost")
                return
            yield _row(name, line, text[:end].encode("utf-8", "surrogatepass"), _parse_json)
            line += text.count("\n", 0, end)
            text, expected = text[end:], ",]"


def _parse_xml(line: bytes) -> dict[str, str]:
    """Attributes of `<row .../>`. Such a line declares no entity: a document type stands before the first element."""
    from lxml import etree

    if not line.startswith(b"<row"):
        raise ValueError("expected one <row .../> a line")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        element = etree.fromstring(line, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not valid XML: {error.msg}") from None
    if element.tag != "row":
        raise ValueError(f"expected <row .../>, found <{element.tag}>")
    return {str(name): str(value) for name, value in element.items()}


def _xml_rows(path: Path) -> Iterator[Row | Rejected]:
    """The rows of a Stack Exchange dump; its first line, and the tags around all rows, are passed over."""
    frame = re.compile(rb"<\?xml [^>]*\?>|</?(posts|users)>")
    with _open(path) as file:
        for number, line in _lines(file):
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if line and not frame.fullmatch(line):
                yield _row(str(path), number, line, _parse_xml)


def _parquet_rows(path: Path) -> Iterator[Row | Rejected]:
    import pyarrow
    import pyarrow.parquet

    line = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield from _batch_rows(batch, str(path), line)
                line += batch.num_rows
    except pyarrow.ArrowException as error:
        yield Rejected(str(path), line + 1, UNREADABLE, f"the rest of the parquet file cannot be read ({error})")


def _batch_rows(batch: Any, file: str, line: int) -> Iterator[Row | Rejected]:
    """The rows after row `line`. One that Python has no value for is Rejected alone."""
    try:
        values = batch.to_pylist()
    except Exception as error:  # a date after the year 9999, a time zone nobody knows, text that is not UTF-8
        if batch.num_rows == 1:
            yield Rejected(file, line + 1, MALFORMED, f"not usable ({type(error).__name__}: {_first_line(error)})")
        else:
            for i in range(batch.num_rows):
                yield from _batch_rows(batch.slice(i, 1), file, line + i)
        return
    yield from (Row(file, line + i, value) for i, value in enumerate(values, start=1))


def _hub_rows(name: str, split: str, revision: str, data_dir: str) -> Iterator[Row | Rejected]:
    """Streams a split without keeping it. The hub's code is never run: `datasets` reads data files only."""
    import datasets
    import huggingface_hub

    instead = "a local file or folder in the same schema will do"
    try:
        commit = huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=20).sha
        stream = datasets.load_dataset(name, data_dir=data_dir or None, split=split, revision=commit, streaming=True)
    except Exception as error:  # the hub, the network, and a dozen kinds of misfit raise errors of their own
        raise DataError(
            f"{name}: no such file or folder here, and the hub gave no dataset of that name at revision {revision!r}, "
            f"split {split!r} ({type(error).__name__}: {_first_line(error)}); {instead}"
        ) from error
    where = "/".join(part for part in (f"{name}@{commit}", data_dir, split) if part)
    return _streamed(stream, where, instead)


def _streamed(stream: Any, where: str, instead: str) -> Iterator[Row | Rejected]:
    line = 0
    try:
        for line, value in enumerate(stream, start=1):
            yield Row(where, line, value)
    except GeneratorExit:
        raise
    except Exception as error:
        message = (
            f"{where}: the stream broke after {line} rows ({type(error).__name__}: {_first_line(error)}); {instead}"
        )
        raise DataError(message) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _jsonl_rows(path: Path) -> Iterator[Row | Rejected]:
    return _parsed_lines(path, _parse_json)


_READERS: dict[str, Callable[[Path], Iterator[Row | Rejected]]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
    ".xml": _xml_rows,
}
