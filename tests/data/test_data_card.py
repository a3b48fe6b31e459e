"""A data card is only worth something while it is true: every number on it is computed again here."""

import hashlib
import re
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import yaml

from helptune.data.conversation import CATEGORIES, CURATED, DIFFICULTIES, Conversation, load_curated
from helptune.gemma.chat import render
from helptune.gemma.config import gemma3_270m

CARD = Path(__file__).parents[2] / "data_cards" / "curated.md"
SPLITS = ("train", "heldout")


@cache
def card():
    """(YAML header, the text below it)."""
    _, header, text = CARD.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


@cache
def tables():
    """First cell of the heading row -> rows of cells, as text."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", card()[1], re.MULTILINE):
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found[heading[0]] = rows
    return found


def counts(names, key):
    """One row a name: how many conversations of each split have it."""
    tally = [Counter(key(c) for c in load_curated(split)) for split in SPLITS]
    return [[str(name), *(str(t[name]) for t in tally)] for name in names]


def sha256(split):
    """Of the concatenated files, in the order of CATEGORIES."""
    return hashlib.sha256(b"".join((CURATED / split / f"{name}.jsonl").read_bytes() for name in CATEGORIES)).hexdigest()


def token_counts(tokenizer):
    """Rendered in the chat format, <bos> and turn tokens included."""
    config, columns = gemma3_270m(), []
    for split in SPLITS:
        rendered = [render(c.messages, tokenizer, config) for c in load_curated(split)]
        lengths = [len(ids) for ids, _ in rendered]
        supervised = sum(sum(flags) for _, flags in rendered)
        columns.append((sum(lengths), supervised, f"{median(lengths):g}", max(lengths)))
    names = ("all", "supervised", "median of a conversation", "longest conversation")
    return [[name, *map(str, values)] for name, *values in zip(names, *columns, strict=True)]


def trigrams(conversation):
    w = re.findall(r"[a-z0-9']+", " ".join(m.content for m in conversation.prompt).lower())
    return {tuple(w[i : i + 3]) for i in range(len(w) - 2)}


def largest_overlap():
    training, heldout = ([trigrams(c) for c in load_curated(split)] for split in SPLITS)
    return max(len(a & b) / len(a | b) for a in training for b in heldout if a | b)


def test_the_header_is_what_hugging_face_reads():
    header, _ = card()
    expected = {"license": "apache-2.0", "language": ["en"], "task_categories": ["text-generation"]}
    assert header | expected == header


def test_rows_and_checksums_are_those_of_the_files():
    expected = [[split, str(len(load_curated(split))), sha256(split)] for split in SPLITS]
    assert tables()["split"] == expected


def test_category_counts_are_true():
    assert [[row[0], *row[2:]] for row in tables()["category"]] == counts(CATEGORIES, lambda c: c.category)


def test_difficulty_counts_are_true():
    assert tables()["difficulty"] == counts(DIFFICULTIES, lambda c: c.difficulty)


def test_turn_counts_are_true():
    assert tables()["user turns"] == counts((1, 2, 3), lambda c: len(c.messages) // 2)


def test_expectation_counts_are_true():
    assert tables()["expects"] == counts(("answer", "clarify", "unknown"), lambda c: c.meta["expects"])


def test_token_counts_are_true(tokenizer):
    assert tables()["tokens"] == token_counts(tokenizer)


def test_the_overlap_of_the_splits_is_true():
    (row,) = tables()["largest overlap of a held-out with a training prompt"]
    assert row[1] == f"{largest_overlap():.3f}"


def test_every_field_is_described():
    assert [row[0].strip("`") for row in tables()["field"]] == list(Conversation.__dataclass_fields__)


def test_there_are_no_other_numbers_to_go_stale():
    """Prose says what does not change; what is counted stands in a table."""
    prose = "\n".join(line for line in card()[1].splitlines() if not line.startswith("|"))
    allowed = r"Gemma 3|Apache-2\.0|sha256|UTF-8|256 tokens"
    assert re.findall(r"\d+", re.sub(allowed, "", prose)) == []


@pytest.mark.parametrize("said", ["help of a language model", "no human rating", "English only"])
def test_the_card_says_plainly_what_the_data_is_not(said):
    assert said in " ".join(card()[1].split())
