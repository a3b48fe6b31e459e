"""The card of a dataset that was built: everything a stranger would ask, written from what the build counted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from helptune.data.agreement.coefficients import Agreement
from helptune.data.agreement.gate import in_words
from helptune.data.conversation import read_conversations
from helptune.data.croissant import Split, croissant
from helptune.data.describe import NOT_STATED, Description, cell, describe, table
from helptune.data.mixture.judge import NONE
from helptune.data.sources.table import SOURCES
from helptune.text import markdown_table

TRAIN, HELDOUT = "train.jsonl", "heldout.jsonl"
CARD, CROISSANT = "README.md", "croissant.json"
_FEATURES = ("source", "license", "category", "difficulty", "language", "user turns", "words")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write README.md, with the header the Hugging Face hub reads, and croissant.json beside the files of `folder`."""
    splits = {
        name.removesuffix(".jsonl"): describe(read_conversations(folder / name))
        for name in (TRAIN, HELDOUT)
        if manifest["files"][name]["rows"]
    }
    (folder / CARD).write_text(card(manifest, splits), encoding="utf-8")
    files = {split: Split(f"{split}.jsonl", manifest["files"][f"{split}.jsonl"]["sha256"]) for split in splits}
    names = ", ".join(spec["name"] for spec in manifest["recipe"]["source"])
    about = f"Conversations for helpful supervised fine-tuning, built by helptune from {names}."
    (folder / CROISSANT).write_text(
        croissant(manifest["name"], about, " AND ".join(licenses(splits)), manifest["version"], files),
        encoding="utf-8",
    )


def licenses(splits: Mapping[str, Description]) -> list[str]:
    return sorted({name for found in splits.values() for name in found.counts.get("license", {})})


def card(manifest: Mapping[str, Any], splits: Mapping[str, Description]) -> str:
    """Markdown: a header, then the numbers of `manifest` and of the `splits` as tables."""
    rows = sum(found.rows for found in splits.values())
    own = licenses(splits)
    languages = {lang for found in splits.values() for lang in found.counts.get("language", {})} - {NOT_STATED}
    header = {
        "pretty_name": manifest["name"],
        "license": own[0].lower() if len(own) == 1 else "other",
        **({"language": sorted(languages)} if languages else {}),
        "task_categories": ["text-generation"],
        "size_categories": [next((name for size, name in _SIZES if rows < size), "n>1M")],
        "tags": ["conversational", "instruction-tuning"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": s, "path": f"{s}.jsonl"} for s in splits]},
        ],
    }
    if header["license"] == "other":
        header["license_name"] = " AND ".join(own)
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {manifest['name']}\n",
        f"Built by helptune {manifest['helptune']} from its recipe, version `{manifest['version']}`. The same recipe "
        "and the same inputs give the same bytes. Every number below was counted by the build.\n",
        "## Files\n",
        _files(manifest),
        "## Sources\n",
        _sources(manifest),
        "## What became of every record\n",
        _funnel(manifest),
        _reasons(manifest),
        "## What is in it\n",
        *(table(name, splits) + "\n" for name in _FEATURES),
        "## Gates\n",
        _gates(manifest),
    ]
    return "\n".join(parts)


def _files(manifest: Mapping[str, Any]) -> str:
    rows = [(name, facts["rows"], facts["sha256"]) for name, facts in manifest["files"].items()]
    return markdown_table("lrl", ("file", "rows", "sha256"), rows) + "\n"


def _sources(manifest: Mapping[str, Any]) -> str:
    rows, uses = [], []
    for spec in manifest["recipe"]["source"]:
        key, source = spec["id"] or spec["name"], SOURCES[spec["name"]]
        inputs = "; ".join(f"{cell(file)} {mark[:12]}" for file, mark in manifest["inputs"][key].items())
        read, kept = manifest["funnel"]["read"][key], manifest["funnel"]["kept"][key]
        rows.append((key, source.license or "as each record says", read, kept, inputs))
        duty = " Attribution is owed: link, author and profile stand in the `meta` of each record." * source.share_alike
        uses.append(f'- **{key}**, in the words of its card: "{source.intended_use}"{duty}')
    counted = markdown_table("llrrl", ("source", "licence", "read", "kept", "inputs"), rows)
    return "\n".join([counted, "", *uses, ""])


def _funnel(manifest: Mapping[str, Any]) -> str:
    names = ("stage", "dropped", "left")
    return markdown_table("lrr", names, ([row[name] for name in names] for row in manifest["stages"])) + "\n"


def _reasons(manifest: Mapping[str, Any]) -> str:
    steps = manifest["funnel"]["steps"]
    rows = ([step[name] for name in ("stage", "reason", "source", "count")] for step in steps)
    return markdown_table("lllr", ("dropped at", "reason", "source", "records"), rows) + "\n"


def _gates(manifest: Mapping[str, Any]) -> str:
    recipe, safety, agreement = manifest["recipe"], manifest["safety"], manifest["agreement"]
    sets, fate = recipe["decontamination"]["sets"], recipe["decontamination"]["on_match"]
    kept_out = f"none of {', '.join(sets)} is among the prompts; a match "
    kept_out += "would have failed the build" if fate == "fail" else "was dropped"
    lines = [
        f"- **Evaluation prompts**: {kept_out if sets else 'no set was asked for'}.",
        f"- **Duplicates**: conversations whose word sequences overlap by {recipe['duplicates']['threshold']:.0%} or "
        "more, as MinHash estimates it, count as one.",
    ]
    if safety["classifier"] == NONE:
        lines.append("- **Safety**: no classifier has looked at it.")
    else:
        limits = ", ".join(f"{target} {p:.3f}" for target, p in safety["thresholds"].items())
        lines.append(
            f"- **Safety**: screened by `{safety['classifier']}`, version `{safety['version']}`, dropped from "
            f"probability {limits} on. Its measured errors are on its own card; it is a screen."
        )
    rated = "- **Agreement**: no rating file is part of this build."
    if agreement:
        before, after = (in_words(Agreement(**agreement[stage])) for stage in ("before", "after"))
        rated = (
            f"- **Agreement** on {agreement['attribute']}: {before} before filtering, {after} after, with "
            f"{agreement['retention']:.0%} of the {agreement['items']} rated items retained; {agreement['matched']} of "
            "them are conversations that passed the filters. Dropping items on which raters disagree raises agreement "
            "by construction."
        )
    return "\n".join([*lines, rated, f"- **Seed**: {recipe['seed']}.", ""])
