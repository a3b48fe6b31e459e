"""Named adapters in one directory: a folder for each, whose name is the adapter's."""

import re
from pathlib import Path

from helptune.adapt.adapters import Adapters
from helptune.adapt.artifact import CARD, AdapterCard, load_adapter, read_card, save_adapter
from helptune.adapt.mixed import BASE
from helptune.errors import AdapterError
from helptune.gemma.config import GemmaConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_collection(folder: Path | str) -> bool:
    """Whether it holds named adapters rather than being one itself."""
    folder = Path(folder)
    return not (folder / CARD).exists() and any(folder.glob(f"[!.]*/{CARD}"))


def cards(folder: Path | str) -> dict[str, AdapterCard]:
    """Name -> card of every adapter in `folder`, by name. Raises AdapterError when there is none or one is damaged."""
    found = {path.parent.name: read_card(path.parent) for path in sorted(Path(folder).glob(f"[!.]*/{CARD}"))}
    if not found:
        raise AdapterError(f"{folder}: no adapters here; expected folders that hold {CARD}, one for each adapter")
    return found


def load_collection(
    folder: Path | str, model: GemmaConfig, base_sha256: str
) -> dict[str, tuple[Adapters, AdapterCard]]:
    """Every adapter in `folder`, each checked as `load_adapter` does."""
    return {name: load_adapter(Path(folder) / check_name(name), model, base_sha256) for name in cards(folder)}


def add(folder: Path | str, name: str, adapters: Adapters, card: AdapterCard) -> Path:
    """Save an adapter under `name` beside the others. Raises AdapterError for a name that cannot be a folder's."""
    save_adapter(Path(folder) / check_name(name), adapters, card)
    return Path(folder) / name


def check_name(name: str) -> str:
    """`name`, where it can name an adapter: letters, digits, dots, dashes and underscores."""
    if not _NAME.fullmatch(name) or name == BASE:
        raise AdapterError(
            f"adapter name {name!r}: use up to 64 letters, digits, '.', '-' or '_', starting with a letter or digit, "
            f"and not {BASE!r}, which is the base itself"
        )
    return name
