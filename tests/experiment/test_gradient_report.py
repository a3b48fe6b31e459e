"""What the report says about gradients follows from the figures, and is left out where there are none."""

import json

import numpy as np
import pytest
from test_report import Page, conversations, make_run

from helptune import plots
from helptune.experiment.evidence import read_evidence
from helptune.experiment.gradient_report import gradient_section
from helptune.experiment.report import write_report

SITES, LAYERS = ("q", "down"), 3


def analysis(step, *, noise=(40.0, 2.0), lora=True):
    def flat(value):
        return {site: [value] * LAYERS for site in SITES}

    trace, squared = noise
    found = {
        "norm": {"q": [0.1, 0.1, 0.1], "down": [0.1, 0.6, 0.1]},
        "parameter_ratio": flat(1e-3),
        "noise": {"trace": trace, "squared": squared, "tokens": 40.0, "rows": 4},
    }
    ranks = {"effective_rank": {"q": [9.0, 9.0, 5.0], "down": [9.0] * 3}, "stable_rank": flat(3.0)}
    return found | ({"moved": flat(1e-3 * step), "step_ratio": flat(2e-4 * step), **ranks} if lora else {})


def analysed(folder, *, tasks=True, **how):
    run = make_run(folder, conversations())
    with (run / "metrics.jsonl").open("a") as file:
        for step in (0, 1, 2):
            file.write(json.dumps({"step": step, "gradients": analysis(step, **how)}) + "\n")
    if tasks:
        summary = json.loads((run / "eval" / "summary.json").read_text())
        cosines = [[1.0, 0.3, -0.2], [0.3, 1.0, None], [-0.2, None, 1.0]]
        found = {"tasks": ["facts", "<b>code", "write"], "cosines": cosines, "halves": [None] * 3, "tokens": [20] * 3}
        (run / "eval" / "summary.json").write_text(json.dumps(summary | {"task_gradients": found}))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return analysed(tmp_path_factory.mktemp("runs") / "run")


def words(run):
    return gradient_section(read_evidence(run)).words


EXPECTED = {
    "norms": "At step 2, down holds 93% and q holds 7% of the squared gradient norm. The single largest norm is that "
    "of down in layer 1 of 0 to 2, with 87.8% of it.",
    "updates": "All steps up to step 2 moved the typical matrix by 0.20% of its norm. The largest of the single "
    "steps looked at, the one after step 2, moves it by 0.04% (medians over layers and sites).",
    "ranks": "At step 2 the update of the typical matrix has an effective rank of 9.0 of 16; the lowest is 5.0, q in "
    "layer 2.",
    "noise": "Signal and noise are equal in a batch of about 2 rows of 10 supervised tokens (90% interval 2 to 2, "
    "from 3 measurements). The run had 4 rows: more, so a smaller one would learn nearly as much in a step.",
    "cosines": "1 of 2 pairs of categories has a cosine below zero; the median is 0.05, the lowest -0.20 (facts, "
    "write), the highest 0.30 (facts, <b>code). Each gradient is that of 20 supervised tokens in the mean; by the "
    "noise scale of the whole run, two random samples of that size from all the data would have a cosine of about "
    "0.50.",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_sentence_is_computed_from_the_figures(run, name):
    assert words(run)[name] == EXPECTED[name]


@pytest.mark.parametrize(
    ("noise", "said"),
    [((400.0, 2.0), "fewer, so its gradients are mostly noise"), ((80.0, 2.0), "4 rows: not clearly different")],
)
def test_the_advice_on_the_batch_follows_the_interval(tmp_path, noise, said):
    assert said in words(analysed(tmp_path / "run", noise=noise))["noise"]


def test_a_signal_that_cannot_be_told_from_noise_gives_no_picture_and_no_batch(tmp_path):
    found = words(analysed(tmp_path / "run", noise=(40.0, -1.0)))
    assert "noise" not in found
    assert "random samples" not in found["cosines"]


def test_of_a_bottleneck_the_report_shows_what_was_measured(tmp_path):
    section = gradient_section(read_evidence(analysed(tmp_path / "run", lora=False)))
    assert set(section.words) == {"norms", "noise", "cosines"}
    assert section.columns == ["share of squared norm", "step of A or down"]


def test_the_report_shows_pictures_with_words_and_no_image_that_its_policy_would_not_load(run):
    text = write_report(run).read_text()
    page = Page(text)
    assert page.tags.count("svg") == 4 + 5
    assert len([v for t, n, v in page.attributes if n == "aria-label" and v]) == 4 + 5
    assert "image" not in page.tags
    assert "What the gradients say" in page.text
    assert "<b>code" not in text
    assert write_report(run).read_text() == text


def test_a_run_without_such_figures_has_no_such_section(tmp_path):
    run = make_run(tmp_path / "run", conversations())
    assert gradient_section(read_evidence(run)) is None
    assert "What the gradients say" not in write_report(run).read_text()


def test_of_one_category_there_is_nothing_to_compare(tmp_path):
    assert "cosines" not in words(analysed(tmp_path / "run", tasks=False))


def test_the_diagonal_of_a_cosine_matrix_has_no_part_in_its_colours():
    ax = plots.cosine_matrix(plots.blank(), ["a", "b"], [[1.0, 0.2], [0.2, 1.0]])
    (mesh,) = ax.collections
    assert mesh.get_clim() == pytest.approx((-0.2, 0.2))
    assert np.ma.getmaskarray(mesh.get_array()).diagonal().all()
    assert [text.get_text() for text in ax.texts] == [".20", ".20"]
