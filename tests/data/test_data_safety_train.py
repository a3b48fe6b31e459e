"""Training chooses on the development split, gives the same bits twice, and the test split decides nothing."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_texts import small_set, write_small_set

from helptune.data.safety import measure, train
from helptune.data.safety.labelled import parse_labelled
from helptune.data.safety.show import show
from helptune.errors import DataError, SettingError

FILES = ("lexical.npz", "lexical.json", "measures.json")
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), min_size=1, max_size=30)


@pytest.fixture(scope="module", autouse=True)
def fewer_choices():
    """The same choices, among fewer: a training run takes a second."""
    few = train.ordinary()[:20]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "ordinary", lambda: few)
        patch.setattr(train, "LEXICAL_PENALTIES", (1.0, 10.0))
        patch.setattr(train, "PROBE_PENALTIES", (0.01, 0.1))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the labelled set's folder, the weights' folder, what training said)."""
    labelled, out = write_small_set(tmp_path_factory.mktemp("set")), tmp_path_factory.mktemp("out")
    return labelled, out, train.train_safety(labelled, out, "lexical")


def test_training_twice_gives_the_same_bytes(trained, tmp_path):
    labelled, out, _ = trained
    train.train_safety(labelled, tmp_path, "lexical")
    assert [(tmp_path / name).read_bytes() for name in FILES] == [(out / name).read_bytes() for name in FILES]


def test_the_test_split_decides_nothing(trained, tmp_path):
    labelled, out, _ = trained
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_bytes((labelled / f"{split}.jsonl").read_bytes())
    lines = [json.loads(line) for line in (labelled / "test.jsonl").read_text().splitlines()]
    swapped = [line | {"prompt": f"Anything else {i}?"} for i, line in enumerate(lines)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, swapped)))
    train.train_safety(tmp_path, tmp_path / "out", "lexical")
    for name in ("lexical.npz", "lexical.json"):
        assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes()


def test_what_is_measured_is_what_is_written(trained):
    _, out, said = trained
    assert json.loads((out / "measures.json").read_text()) == said
    assert set(said["sets"]) == {"train", "dev", "test"}
    named = {"auc", "recall", "false positives", "recall at 1% false positives"}
    assert set(said["lexical"]["test"]["response"]) >= named


def test_figures_of_other_sets_do_not_stand_beside_these(trained, tmp_path, monkeypatch):
    _, out, said = trained
    other, shared = write_small_set(tmp_path), tmp_path / "out"
    shared.mkdir()
    (shared / "measures.json").write_bytes((out / "measures.json").read_bytes())
    monkeypatch.setattr(train, "_fit_embedded_probe", train.fit_lexical)
    assert train.train_safety(other, shared, "probe")["lexical"] == said["lexical"]  # the same texts
    records = (other / "test.jsonl").read_text().splitlines(keepends=True)
    (other / "test.jsonl").write_text("".join(records[:-1]))
    found = train.train_safety(other, shared, "probe")
    assert found["sets"]["test"]["n"] == len(records) - 1
    assert "probe" in found
    assert "lexical" not in found
    assert json.loads((shared / "measures.json").read_text()) == found


def test_the_threshold_keeps_its_promise_on_the_development_split(trained):
    for figures in trained[2]["lexical"]["dev"].values():
        assert figures["false positives"]["value"] <= 0.01


def test_the_probe_is_trained_by_the_same_rules(word_base, tokenizer, tmp_path):
    records = [small_set("train")[::2] + small_set("train")[1::2], small_set("dev")]
    found = [train.fit_probe(*records, tmp_path / name, word_base, tokenizer, "a" * 64, layers=(2,)) for name in "ab"]
    (chosen, classifier), again = found
    assert chosen == again[0]
    assert {place["layers"] for place in chosen.values()} == {2}
    assert (tmp_path / "a" / "probe.npz").read_bytes() == (tmp_path / "b" / "probe.npz").read_bytes()
    assert classifier.thresholds == again[1].thresholds != train.UNCALIBRATED


def test_a_text_in_two_splits_is_an_error():
    splits = {split: small_set(split) for split in ("train", "dev", "test")}
    copied = parse_labelled(vars(splits["train"][0]) | {"id": "copy"})
    with pytest.raises(DataError, match="test: record 'copy' has a text that is in train too"):
        train.check_splits(splits | {"test": [*splits["test"], copied]})


def test_a_split_needs_both_labels():
    splits = {split: small_set(split) for split in ("train", "dev", "test")}
    with pytest.raises(DataError, match="dev: target 'prompt' needs safe and unsafe"):
        train.check_splits(splits | {"dev": [r for r in splits["dev"] if r.unsafe]})


def test_an_unknown_classifier_is_an_error(tmp_path):
    with pytest.raises(SettingError, match="'bert' is not one of all, lexical, probe"):
        train.train_safety(tmp_path, tmp_path, "bert")


@settings(max_examples=40)
@given(SCORES, SCORES)
def test_the_area_is_that_of_scikit_learn(unsafe, safe):
    from sklearn.metrics import roc_auc_score

    labels = [True] * len(unsafe) + [False] * len(safe)
    assert measure.auc(np.array(unsafe), np.array(safe)) == pytest.approx(roc_auc_score(labels, unsafe + safe))


def test_a_figure_lies_in_its_interval():
    rng = np.random.default_rng(0)
    for figure in (measure.area(rng.normal(1, 1, 80), rng.normal(0, 1, 60)), measure.share(7, 30)):
        assert figure["low"] < figure["value"] < figure["high"]


def test_the_interval_of_an_area_covers_as_often_as_it_says():
    """Of 50 samples from a known pair of distributions about 47 intervals should cover the true area."""
    from scipy.stats import norm

    rng, truth = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2))
    measured = [measure.area(rng.normal(1, 1, 40), rng.normal(0, 1, 40)) for _ in range(50)]
    assert 43 <= sum(f["low"] <= truth <= f["high"] for f in measured) <= 50


def test_hard_pairs_are_counted_apart():
    records = [r for r in small_set("dev") if r.target == "prompt"]
    p = np.array([0.9 if r.kind == "contrast" else 0.8 if r.unsafe else 0.1 for r in records])
    found = measure.figures(p, records, 0.5)
    assert found["auc, unsafe against contrast"]["value"] == 0
    assert found["false positives, plain"]["value"] == 0
    assert found["false positives, contrast"]["value"] == 1
    assert found["recall"]["value"] == 1
    assert 0 < found["auc"]["value"] < 1


def test_the_table_shows_every_figure(trained):
    from rich.console import Console

    console = Console(width=200, record=True)
    show(trained[2], console)
    text = console.export_text()
    for target, figures in trained[2]["lexical"]["test"].items():
        assert f"lexical, {target}s" in text
        assert all(f"{name} " in text and f"{figure['value']:.3f}" in text for name, figure in figures.items())
