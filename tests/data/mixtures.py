"""Recipes and small files to build datasets from, for the tests of the mixture."""

import json

from helptune.data.conversation import load_curated
from helptune.data.mixture.recipe import Recipe, Safety, SourceSpec
from helptune.experiment.synthetic import OPTIONS

UNJUDGED = Safety("none")


def recipe_of(home, **changes):
    names = sorted(path.name for path in home.iterdir() if (path / "train.jsonl").exists())
    sources = tuple(SourceSpec(n, path=f"{n}/train.jsonl", options=OPTIONS.get(n, {})) for n in names)
    return Recipe(**{"name": "test", "source": sources, "share_alike": True, "safety": UNJUDGED} | changes)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def messages_file(path, texts, **fields):
    lines = [
        {"id": f"{path.stem}-{i}", "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for i, (q, a) in enumerate(texts)
    ]
    path.write_text(
        "".join(json.dumps({"license": "MIT", "source": path.stem} | line | fields) + "\n" for line in lines)
    )


def different_texts(path, count):
    """Curated conversations under other ids: real texts that no filter drops."""
    chosen = load_curated("train")[:count]
    messages_file(path, [(c.messages[0].content, c.messages[1].content) for c in chosen])
