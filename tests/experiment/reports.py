"""A finished run whose every text is hostile, and its report as a browser sees it."""

import json
import re
from html.parser import HTMLParser

from helptune.data.conversation import CATEGORIES, Conversation, Message, write_conversations
from helptune.experiment.config import RunConfig
from helptune.experiment.evidence import HELDOUT
from helptune.experiment.runs import open_run

KINDS = CATEGORIES[:12]
HOSTILE = '</pre><script>alert(1)</script><img src="http://evil.example/x" onerror=alert(2)> {{ 7 * 7 }} ' + "x" * 999
HALF = " \ud800"  # of a character: an answer may hold one, a conversation may not


EMBEDDED = RunConfig()


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data

    def count(self, css_class):
        return sum(name == "class" and css_class in value.split() for _, name, value in self.attributes)


def conversations(count=24):
    turns = (Message("user", HOSTILE), Message("assistant", HOSTILE))
    pairs = [(category, i) for category in KINDS for i in range(count // len(KINDS))]
    return [Conversation(f"{c}-{i}", "test", "CC0-1.0", turns, c, "easy" if i == 0 else "hard") for c, i in pairs]


def make_run(
    folder, heldout, *, base=3.0, tuned=2.0, ended=None, best_step=2, config=EMBEDDED, device_gib=0.0, stopped=""
):
    """A finished run of two steps; `ended` counts the answers of each model that ended."""
    ended = ended or {"base": 1, "few_shot": 20, "tuned": 23}
    open_run(folder, config)
    (folder / "adapter").mkdir()
    (folder / "eval").mkdir()
    (folder / "adapter" / "adapter.json").write_text(json.dumps({"base": "gemma", "lora": {"rank": 16}}))
    step = {"loss": 2.5, "grad_norm": 1.0, "learning_rate": 1e-4, "tokens": 100, "supervised": 50}
    records = [{"step": 0, "eval_loss": 3.0}, *({"step": i, **step, "seconds": 10.0 / i} for i in (1, 2))]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in [*records, {"step": 2, "eval_loss": 2.4}])
    )
    write_conversations(folder / HELDOUT, heldout)
    for name, n in ended.items():
        rows = [
            {"id": c.id, "text": HOSTILE + HALF, "ended": i < n, "tokens": 9 if i < n else 160}
            for i, c in enumerate(heldout)
        ]
        (folder / "eval" / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    categories = dict.fromkeys(c.category or "all" for c in heldout)
    summary = {
        "heldout_loss": {
            name: {"overall": loss, "by_category": dict.fromkeys(categories, loss)}
            for name, loss in (("base", base), ("tuned", tuned))
        },
        "conversations": {"train": 90, "held_back": 10, "held_out": len(heldout)},
        "training": {
            "best_loss": 2.4,
            "best_step": best_step,
            "steps": 2,
            "stopped_early": bool(stopped),
            "stopped_because": stopped,
        },
        "parameters": {"base": 1000, "trainable": 10},
        "adapter_bytes": 2**20,
        "seconds": {"base_loss": 1.0, "train": 100.0},
        "model": config.model,
        "mesh": [1, 1, 1],
        "peak_rss_gib": 1.5,
        "peak_device_gib": device_gib,
    }
    (folder / "eval" / "summary.json").write_text(json.dumps(summary))
    return folder


def loads_nothing(page):
    """But for one link, which nobody has to follow."""
    policy = next(v for t, n, v in page.attributes if t == "meta" and n == "content" and "default-src" in v)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    urls = [
        (tag, value) for tag, name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "data")
    ]
    assert {url for url in urls if not url[1].startswith("#")} == {("a", "https://ai.google.dev/gemma/terms")}
    assert "@import" not in page.text
    assert not re.search(r"url\((?!#)", page.text)
