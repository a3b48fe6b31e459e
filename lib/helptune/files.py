"""Files that are either whole or not there, and where the prepared weights are kept."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def cache_dir() -> Path:
    """$HELPTUNE_CACHE, or `helptune` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HELPTUNE_CACHE") or Path(root) / "helptune")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write` a neighbouring file, then put it in place: a kill or a full disk leaves the old file, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_whole` for a text, in UTF-8."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
