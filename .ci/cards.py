"""Renew the data cards that are written from the data. A test holds that this changes nothing."""

from pathlib import Path

from helptune.data.cards import cards
from helptune.files import write_text

FOLDER = Path(__file__).parent.parent / "data_cards"

if __name__ == "__main__":
    for name, text in cards((FOLDER / "curated.md").read_text(encoding="utf-8")).items():
        write_text(FOLDER / name, text)
