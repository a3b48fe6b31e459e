"""The data cards that are written from the data: what a number says was counted when the card was made.

`python .ci/cards.py` renews data_cards/, and a test holds that doing so changes nothing.
"""

import hashlib
import inspect
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from helptune import __version__
from helptune.data.conversation import CATEGORIES, CURATED, Conversation, load_curated
from helptune.data.croissant import Split, croissant, plain_croissant
from helptune.data.describe import describe, table
from helptune.data.mixture.build import build
from helptune.data.mixture.card import CARD, CROISSANT
from helptune.data.mixture.recipe import SHIPPED, read_recipe
from helptune.data.safety.labelled import SHIPPED as LABELLED
from helptune.data.safety.labelled import SPLITS
from helptune.data.sources.table import SOURCES, Source
from helptune.data.words import words
from helptune.files import file_sha256
from helptune.gemma.chat import render
from helptune.gemma.checkpoints import load_embedded_tokenizer
from helptune.gemma.config import gemma3_270m
from helptune.text import markdown_table

OFFLINE = ("curated", "first-instalment")
"""Recipes that need no download: their mixtures have cards here. Others get theirs where they are built."""

_OVERLAP = "largest overlap of a held-out with a training prompt"

MEANINGS = {
    "explain": "why or how something is so",
    "facts": "a short question with one right answer",
    "howto": "steps to do something",
    "write": "emails, messages, small texts",
    "rewrite": "the same content in another tone, length or form",
    "summarize": "the gist of a given text",
    "extract": "find something in a given text, or give it a structure",
    "classify": "put a text under one of the given labels",
    "reason": "arithmetic, logic, comparison, with the steps shown",
    "code": "small programs, mostly Python: write, explain, repair",
    "brainstorm": "several ideas that differ",
    "plan": "a schedule, a menu, a trip, within limits",
    "advice": "everyday decisions, weighed",
    "role": "in a given role or tone, and still right",
    "clarify": "something is missing: ask back, then do it",
    "honest": "say what cannot be known, or is only likely",
    "refuse": "decline what would do harm and help with what is behind it; or see that it only sounds alarming",
    "multiturn": "later turns that lean on earlier ones",
}

PUBLISHED = {
    "oasst1": "84,437 messages for training and 4,401 for validation",
    "oasst2": "128,575 messages for training and 6,599 for validation",
    "hh-rlhf": "160,800 pairs for training and 8,552 for testing, over all subsets",
    "helpsteer2": "20,324 rated responses for training and 1,038 for validation",
}
"""As the publishers state it; not counted by us."""


def cards(curated: str) -> dict[str, str]:
    """File below data_cards/ -> text. `curated` is the present card of the curated set, whose prose stays."""
    found = {"curated.md": renewed(curated, curated_tables())}
    splits = {split: Split(f"{split}/*.jsonl") for split in ("train", "heldout")}
    about = "Short helpful conversations for supervised fine-tuning on a laptop, written for the helptune course."
    found["curated.croissant.json"] = croissant(
        "helptune-curated", about, "Apache-2.0", f"{__version__}+{curated_sha256('train')[:8]}", splits
    )
    found["safety_set.croissant.json"] = _safety_set()
    for name, source in SOURCES.items():
        if name not in ("curated", "messages"):
            found[f"sources/{name}.md"] = source_card(source)
            about, home = f"The source {name} as helptune reads it.", _home(source)
            found[f"sources/{name}.croissant.json"] = plain_croissant(name, about, source.license, home)
    for name in OFFLINE:
        found |= _mixture(name)
    return found


def renewed(card: str, tables: Mapping[str, str]) -> str:
    """`card` with each Markdown table whose first heading is a key of `tables` replaced by that table."""

    def renew(old: re.Match[str]) -> str:
        heading = old[0].split("|")[1].strip()
        return f"{tables[heading]}\n" if heading in tables else old[0]

    return re.sub(r"(?:^\|.*\n)+", renew, card, flags=re.MULTILINE)


def curated_sha256(split: str) -> str:
    """Of the split's files, one after the other, in the order of CATEGORIES."""
    files = (CURATED / split / f"{name}.jsonl" for name in CATEGORIES)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def curated_tables() -> dict[str, str]:
    """First heading -> table, for every number on the card of the curated set."""
    splits = {split: load_curated(split) for split in ("train", "heldout")}
    described = {"train": describe(splits["train"]), "held-out": describe(splits["heldout"])}
    columns = list(described.values())

    files = [(split, len(found), curated_sha256(split)) for split, found in splits.items()]
    categories = [(name, MEANINGS[name], *(d.counts["category"][name] for d in columns)) for name in CATEGORIES]
    overlap = ("word trigrams of the prompts", f"{largest_overlap(**splits):.3f}")
    return {
        "split": markdown_table("lrl", ("split", "rows", "sha256"), files),
        "category": markdown_table("llrr", ("category", "what is asked", "train", "held-out"), categories),
        "difficulty": table("difficulty", described),
        "user turns": table("user turns", described),
        "expects": _counted("expects", ("answer", "clarify", "unknown", "refuse"), splits.values()),
        "instalment": _counted("instalment", (1, 2), splits.values()),
        "tokens": _tokens(list(splits.values())),
        _OVERLAP: markdown_table("lr", (_OVERLAP, "Jaccard index"), [overlap]),
    }


def largest_overlap(train: Sequence[Conversation], heldout: Sequence[Conversation]) -> float:
    """The largest Jaccard index between the word trigrams of a training and a held-out prompt."""

    def trigrams(conversation: Conversation) -> set[tuple[str, ...]]:
        w = words(" ".join(m.content for m in conversation.prompt))
        return {tuple(w[i : i + 3]) for i in range(len(w) - 2)}

    training = [trigrams(c) for c in train]
    return max(len(a & b) / len(a | b) for c in heldout if (b := trigrams(c)) for a in training if a)


def _counted(name: str, values: Sequence[Any], splits: Any) -> str:
    rows = [[v, *(sum(c.meta[name] == v for c in split) for split in splits)] for v in values]
    return markdown_table("lrr", (name, "train", "held-out"), rows)


def _tokens(splits: Sequence[Sequence[Conversation]]) -> str:
    """Rendered in the chat format, <bos> and turn tokens included."""
    tokenizer, config, columns = load_embedded_tokenizer(), gemma3_270m(), []
    for split in splits:
        rendered = [render(c.messages, tokenizer, config) for c in split]
        lengths = [len(ids) for ids, _ in rendered]
        supervised = sum(sum(flags) for _, flags in rendered)
        columns.append((sum(lengths), supervised, f"{median(lengths):g}", max(lengths)))
    names = ("all", "supervised", "median of a conversation", "longest conversation")
    return markdown_table("lrr", ("tokens", "train", "held-out"), zip(names, *columns, strict=True))


def _safety_set() -> str:
    """Its card is written by hand, and a test counts its numbers again."""
    fields = {
        "id": "unique over all splits",
        "target": "prompt or response: which text the label is about",
        "prompt": "what was asked",
        "response": "what was answered; empty where the target is the prompt",
        "label": "unsafe or safe",
        "kind": "unsafe, plain or contrast",
        "policy": "what an unsafe text breaks, and what a contrast text seems to break; else none",
    }
    sums = {split: file_sha256(LABELLED / f"{split}.jsonl") for split in SPLITS}
    files = {split: Split(f"{split}.jsonl", sha256) for split, sha256 in sums.items()}
    about = (
        "Short prompts and responses labelled unsafe or safe, with safe ones that look unsafe, written for helptune."
    )
    version = f"{__version__}+{sums['test'][:8]}"
    return croissant("helptune-safety", about, "Apache-2.0", version, files, fields)


def source_card(source: Source) -> str:
    """What helptune takes from a public source, and under which terms: written from the table and the reader itself."""
    reader = getattr(source.read, "func", source.read)
    header = {
        "pretty_name": source.name,
        "license": source.license.lower(),
        "task_categories": ["text-generation"],
        "tags": ["conversational", "instruction-tuning"],
    } | ({"source_datasets": [source.hub]} if source.hub else {})
    facts = {
        "on the hub": source.hub or "not there; a local file or folder",
        "revision": f"{source.revision}; a build records the commit"
        if source.hub
        else "the sha256 of each file is recorded",
        "licence": source.license,
        "share-alike": "yes: a recipe must say `share_alike = true`" if source.share_alike else "no",
        "opt-in": "yes: its reader must be told that its warning was read" if source.opt_in else "no",
        "published size": PUBLISHED.get(source.name, "not stated"),
    }
    module = inspect.getmodule(reader)
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {source.name}\n\n"
        f"What is said of this source in its own words:\n\n> {source.intended_use}\n\n"
        f"{markdown_table('ll', ('fact', 'value'), facts.items())}\n\n"
        "The published size is the publishers' figure; what a build read, dropped and kept of it stands on the card of "
        f"that mixture.\n\n## How it is read\n\n{inspect.getdoc(module)}\n\n{inspect.getdoc(reader)}\n"
    )


def _home(source: Source) -> str:
    return (
        f"https://huggingface.co/datasets/{source.hub}" if source.hub else "https://archive.org/details/stackexchange"
    )


def _mixture(name: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = SHIPPED / f"{name}.toml"
        build(read_recipe(path), path.parent, Path(folder) / "out")
        made = {file: (Path(folder) / "out" / file).read_text(encoding="utf-8") for file in (CARD, CROISSANT)}
    return {f"mixtures/{name}.md": made[CARD], f"mixtures/{name}.croissant.json": made[CROISSANT]}
