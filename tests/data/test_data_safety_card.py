"""The cards of the labelled set and of the two screens: every number is computed again or was measured."""

import hashlib
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from helptune.data.conversation import load_curated
from helptune.data.safety import lexical, probe
from helptune.data.safety.labelled import POLICIES, SHIPPED, SPLITS, Labelled, load_labelled, load_refusals, set_sha256
from helptune.data.safety.measure import figures, measure, measure_refusals
from helptune.data.safety.refusal import is_refusal
from helptune.data.safety.weights import SHIPPED as WEIGHTS

CARDS = Path(__file__).parents[2] / "data_cards"
SET, SCREENS = "safety_set.md", "safety_classifiers.md"
KINDS = {
    "unsafe, in plain words": lambda r: r.unsafe and not r.subtle,
    "unsafe, subtle": lambda r: r.subtle,
    "safe, plain": lambda r: r.kind == "plain",
    "safe, contrast": lambda r: r.kind == "contrast",
}
COLUMNS = [(name, target) for name in (lexical.NAME, probe.NAME) for target in ("prompt", "response")]


@cache
def card(name):
    """(YAML header, the text below it)."""
    _, header, text = (CARDS / name).read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


@cache
def tables(name):
    """First cell of the heading row -> rows of cells, as text."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", card(name)[1], re.MULTILINE):
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found[heading[0]] = rows
    return found


@cache
def measures():
    return json.loads((WEIGHTS / "measures.json").read_text(encoding="utf-8"))


def shown(figure):
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})" if figure else ""


def split_rows():
    sums = [hashlib.sha256((SHIPPED / f"{split}.jsonl").read_bytes()).hexdigest() for split in SPLITS]
    return [[split, str(len(load_labelled(split))), sha] for split, sha in zip(SPLITS, sums, strict=True)]


def kind_rows():
    def count(split, target, wanted):
        return str(sum(r.target == target and wanted(r) for r in load_labelled(split)))

    return [
        [f"{target}: {kind}", *(count(split, target, wanted) for split in SPLITS)]
        for target in ("prompt", "response")
        for kind, wanted in KINDS.items()
    ]


def policy_rows():
    tally = [Counter(r.policy for r in load_labelled(split) if r.unsafe) for split in SPLITS]
    return [[policy, *(str(t[policy]) for t in tally)] for policy in POLICIES if policy != "none"]


def word_rows():
    def mean(split, target):
        lengths = [len(r.text.split()) for r in load_labelled(split) if r.target == target]
        return f"{sum(lengths) / len(lengths):.1f}"

    return [[f"a {target}", *(mean(split, target) for split in SPLITS)] for target in ("prompt", "response")]


def overlap():
    """Largest Jaccard index of word trigrams of texts of two splits."""

    def trigrams(record):
        w = re.findall(r"[a-z0-9']+", record.text.lower())
        return {tuple(w[i : i + 3]) for i in range(len(w) - 2)}

    sets = {split: [trigrams(r) for r in load_labelled(split)] for split in SPLITS}
    pairs = [("train", "dev"), ("train", "test"), ("dev", "test")]
    return f"{max(len(a & b) / len(a | b) for s, t in pairs for a in sets[s] for b in sets[t] if a & b):.3f}"


def figure_rows(found):
    """`found[classifier][target]` -> one row a figure."""
    names = list(dict.fromkeys(name for classifier in found.values() for own in classifier.values() for name in own))
    return [[name, *(shown(found[c][t].get(name)) for c, t in COLUMNS)] for name in names]


def threshold_rows():
    return [
        [t, *(f"{measures()[c]['thresholds'][t]:.4f}" for c in (lexical.NAME, probe.NAME))]
        for t in ("prompt", "response")
    ]


def chosen_rows():
    found = {(c, t): measures()[c]["chosen"][t] for c, t in COLUMNS}
    names = ("layers", "pooling", "curated as safe", "penalty", "dev quality")
    return [[name, *(_said(found[column].get(name, "")) for column in COLUMNS)] for name in names]


def tried_rows():
    tried = [measures()["probe"]["chosen"][target]["tried"] for target in ("prompt", "response")]
    return [
        [str(p["layers"]), f"{p['dev quality']:.4f}", f"{r['dev quality']:.4f}"] for p, r in zip(*tried, strict=True)
    ]


def refusal_rows(found):
    return [[name, *(shown(found[split][name]) for split in ("dev", "test"))] for name in ("recall", "precision")]


def curated_records():
    """The held-out curated conversations, as safe texts of both targets; but for those about refusing."""
    for c in load_curated("heldout"):
        if c.category == "refuse":
            continue
        asked, answered = c.prompt[-1].content, c.reference
        yield Labelled(f"p-{c.id}", "prompt", asked, "", "safe", "plain", "none", False)
        yield Labelled(f"r-{c.id}", "response", asked, answered, "safe", "plain", "none", False)


def flagged(classifier):
    """How many of the held-out curated prompts and responses it calls unsafe, as shares."""
    found = measure(classifier, list(curated_records()), classifier.thresholds)
    return [shown(found[target]["false positives"]) for target in ("prompt", "response")]


def _said(value):
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def test_the_headers_are_what_hugging_face_reads():
    header = card(SET)[0]
    assert header | {"license": "apache-2.0", "language": ["en"], "task_categories": ["text-classification"]} == header
    header = card(SCREENS)[0]
    assert header | {"license": "apache-2.0", "language": ["en"], "pipeline_tag": "text-classification"} == header


def test_rows_and_checksums_are_those_of_the_files():
    assert tables(SET)["split"] == split_rows()


def test_kinds_policies_and_lengths_are_counted():
    assert tables(SET)["texts"] == kind_rows()
    assert tables(SET)["policy"] == policy_rows()
    assert tables(SET)["mean words of"] == word_rows()


def test_the_overlap_of_the_splits_is_true():
    (row,) = tables(SET)["largest overlap of two texts of different splits"]
    assert row[1] == overlap()


def test_every_field_is_described():
    assert [row[0].strip("`") for row in tables(SET)["field"]] == list(Labelled.__dataclass_fields__)


def test_the_measures_are_those_of_this_set_and_of_these_weights():
    for split in SPLITS:
        records = load_labelled(split)
        assert measures()["sets"][split] == {"n": len(records), "sha256": set_sha256(records)}
    for name in (lexical.NAME, probe.NAME):
        record = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
        assert record["sha256"].startswith(measures()[name]["version"])
        assert record["thresholds"] == measures()[name]["thresholds"]


def test_the_card_has_the_figures_that_were_measured():
    found = {name: measures()[name]["test"] for name in (lexical.NAME, probe.NAME)}
    assert tables(SCREENS)["on the test split"] == figure_rows(found)
    assert tables(SCREENS)["threshold of a"] == threshold_rows()
    assert tables(SCREENS)["chosen on the development split"] == chosen_rows()
    assert tables(SCREENS)["layers read by the probe"] == tried_rows()


def test_the_lexical_screen_gives_its_figures_again():
    screen = lexical.load()
    found = measure(screen, load_labelled("test"), screen.thresholds)
    assert found == measures()["lexical"]["test"]


@pytest.mark.parametrize("target", ["prompt", "response"])
def test_the_probe_beats_the_lexical_screen_on_the_hard_pairs(target):
    name = "auc, unsafe against contrast"
    test = {c: measures()[c]["test"][target] for c in (lexical.NAME, probe.NAME)}
    assert test["probe"][name]["low"] > test["lexical"][name]["value"]
    assert test["probe"]["auc"]["value"] >= 0.9


def test_refusals_are_counted_again():
    refusals = load_refusals()
    found = {split: measure_refusals(load_labelled(split), refusals) for split in ("dev", "test")}
    assert found == measures()["refusal"]
    assert tables(SCREENS)["refusals"] == refusal_rows(found)
    curated = [*load_curated("train"), *load_curated("heldout")]
    expected = [c.reference for c in curated if c.meta["expects"] == "refuse"]
    others = [c.reference for c in curated if c.category != "refuse" and c.meta["expects"] != "refuse"]
    assert tables(SCREENS)["refusals seen in curated answers"] == [
        ["where a refusal is the answer", f"{sum(map(is_refusal, expected))} of {len(expected)}"],
        ["where it is not", f"{sum(map(is_refusal, others))} of {len(others)}"],
    ]


def test_what_the_lexical_screen_flags_of_good_conversations_is_counted_again():
    rows = {row[0]: row[1:] for row in tables(SCREENS)["called unsafe of held-out curated texts"]}
    assert rows["lexical"] == flagged(lexical.load())


@pytest.mark.real
def test_the_probe_gives_its_figures_again():
    model = probe.load_embedded()
    records = [r for r in load_labelled("test") if r.target == "prompt"]
    scores = model.score([r.conversation() for r in records])
    found = figures(np.array([s.p_unsafe for s in scores]), records, model.thresholds.prompt)
    for name, figure in measures()["probe"]["test"]["prompt"].items():
        assert found[name]["value"] == pytest.approx(figure["value"], abs=0.02)
    rows = {row[0]: row[1:] for row in tables(SCREENS)["called unsafe of held-out curated texts"]}
    assert rows["probe"] == flagged(model)


@pytest.mark.parametrize("name", [SET, SCREENS])
def test_there_are_no_other_numbers_to_go_stale(name):
    """Prose says what does not change; what is counted stands in a table."""
    prose = "\n".join(line for line in card(name)[1].splitlines() if not line.startswith("|"))
    allowed = r"Gemma 3|270M|float32|Apache-2\.0|sha256|UTF-8|95%|1%|arXiv:[\d.]+|Stage 1|stage 1"
    assert re.findall(r"\d+", re.sub(allowed, "", prose)) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (SET, "help of a language model"),
        (SET, "no human has rated"),
        (SET, "English only"),
        (SCREENS, "Both are screening"),
        (SCREENS, "no guarantee"),
        (SCREENS, "ShieldGemma was not run"),
    ],
)
def test_the_cards_say_plainly_what_this_is_not(name, said):
    assert said in " ".join(card(name)[1].split())
