"""Which files a source reads: one file, or of a folder those of a kind, a split, a part and a name.

Who reads them and who hashes them ask here, so a dataset's version covers what was read and nothing else.
"""

import re
from pathlib import Path

from helptune.errors import DataError

KINDS = (".jsonl", ".json", ".parquet", ".xml")
_SPLITS = {"train", "validation", "valid", "dev", "test", "heldout"}
_SHOWN = 12  # folders in an error


def kind(path: Path) -> str | None:
    """The one of KINDS that a file is by its name, or None; all but parquet may also be .gz."""
    name = path.name.lower()
    found = Path(name.removesuffix(".gz")).suffix
    return found if found in KINDS and not (found == ".parquet" and name.endswith(".gz")) else None


def data_files(path: Path, *, split: str = "train", data_dir: str = "", files: str = "*") -> list[Path]:
    """The files to read of `path`, a file or a folder, by name.

    Of a folder those of KINDS that match `files` and are not hidden, of its folder `data_dir` alone if that is given;
    and where files are named after splits (`train`, `test`, ...) only those of `split`. Raises DataError for none.
    """
    if path.is_file():
        if kind(path) is None:
            raise DataError(f"{path}: cannot read this kind of file; name one of {', '.join(KINDS)} or these with .gz")
        if data_dir:
            raise DataError(f"{path}: is a file, so it has no folder {data_dir!r}")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    folder = _part(path, data_dir) if data_dir else path
    found = sorted(p for p in folder.rglob(files) if p.is_file() and kind(p) and not _is_hidden(p.relative_to(folder)))
    if not found:
        raise DataError(f"{folder}: has no file that matches {files!r} of the kinds {', '.join(KINDS)}")
    words = {p: set(re.split(r"[-_.]", p.name)) for p in found}
    if any(each & _SPLITS for each in words.values()):
        found = [p for p in found if split in words[p]]
        if not found:
            raise DataError(f"{folder}: its files are named after splits, but none after {split!r}")
    return found


def _part(path: Path, data_dir: str) -> Path:
    part = path / data_dir
    if part.is_dir() and part.is_relative_to(path) and ".." not in part.relative_to(path).parts:
        return part
    there = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_dir())
    there = [name for name in there if not _is_hidden(Path(name))]
    shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    raise DataError(f"{path}: has no folder {data_dir!r}; there are {shown or 'none'}")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
