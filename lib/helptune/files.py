"""Files and folders that are either whole or not there, and where the prepared weights are kept."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from helptune.errors import SettingError


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


def require_vacant(folder: Path) -> None:
    """Raises SettingError unless `folder` can be written anew: it does not exist, or is an empty folder."""
    if folder.name in ("", ".."):
        raise SettingError(f"{folder}: names no new folder; name one, such as {folder / 'out'}")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SettingError(f"{folder}: exists and is no folder; name a new one")
    if folder.is_dir() and any(folder.iterdir()):
        raise SettingError(f"{folder}: exists and is not empty; name a new folder, or remove this one first")


def write_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """`write_whole` for a folder: `fill` a hidden neighbour, then give it its name.

    A kill leaves that neighbour only, which the next call for this folder removes. Raises SettingError, before
    anything is written, when `folder` holds something already.
    """
    require_vacant(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    part = _part(folder, os.getpid())
    part.mkdir()
    try:
        fill(part)
        readable = part.stat().st_mode & 0o666  # as the umask wants it; safetensors would keep a file to its owner
        for path in part.rglob("*"):
            if path.is_file():
                path.chmod(readable)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _part(folder: Path, process: int | str) -> Path:
    return folder.with_name(f".{folder.name}.{process}.part")


def _remove_abandoned(folder: Path) -> None:
    """The neighbours left by processes that no longer run; one with our own number is from before a restart."""
    import psutil

    for part in folder.parent.glob(_part(folder, "*").name):
        process = part.name.split(".")[-2]
        if process.isdigit() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
            shutil.rmtree(part)
