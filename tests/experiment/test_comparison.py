"""Evaluated runs side by side: only what was asked the same, each named once, and no name or text is run as markup."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from helptune.errors import RunError, SettingError
from helptune.evaluate.table import Problem, Row, write_rows
from helptune.experiment.comparison import compare_runs, show, write
from helptune.experiment.findings import to_json

ASKED = {
    "date": "2026-01-01", "sets": {"held-out conversations": {"n": 40, "sha256": "abc"}},
    "rule": {"max_new_tokens": 160}, "classifier": {"name": "probe", "version": "1"}, "measures": {"version": 1},
}  # fmt: skip
HOSTILE = "[red]$x^$<script>alert(1)<"


def make_run(folder, shift=0.0, models=("base", "tuned"), problems=(), seed=0, noise=0.03, **asked):
    """An evaluated run; its tuned model scores `shift` more than the base."""
    noise = np.random.default_rng(seed).normal(0, noise, (len(models), 40))
    rows = [
        Row("helpful", f"q{i}", model, {"helpfulness": 0.3 + (model == "tuned") * shift + noise[m, i]}, f"q{i}")
        for m, model in enumerate(models)
        for i in range(40)
    ]
    write_rows(folder / "eval", rows, problems)
    (folder / "eval" / "protocol.json").write_text(json.dumps(ASKED | asked))
    return folder


@pytest.fixture
def first(tmp_path):
    return make_run(tmp_path / "first", 0.1)


@pytest.fixture
def second(tmp_path):
    return make_run(tmp_path / "second", 0.3, seed=1)


def shown(found):
    console = Console(width=300)
    with console.capture() as captured:
        show(found, console)
    return captured.get()


def tags(text):
    found = []

    class Page(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend([tag, *(name for name, _ in attrs)])

    Page().feed(text)
    return {*found}


def test_two_runs_are_compared_in_their_tuned_models(first, second):
    found = compare_runs([str(first), str(second)])
    assert found.names == (f"{first}:tuned", f"{second}:tuned")
    assert found.compared.lines[0].verdict == "better"
    assert found.compared.lines[0].comparison.difference.value == pytest.approx(0.2, abs=0.03)
    assert f"{second}:tuned is better than {first}:tuned in helpfulness" in shown(found)
    assert json.loads(to_json(found))["ranked"] is None


def test_models_of_one_run_may_be_compared_by_name(first):
    found = compare_runs([f"{first}:base", f"{first}:tuned"])
    assert found.names == (f"{first}:base", f"{first}:tuned")
    assert found.compared.lines[0].verdict == "better"


def test_more_than_two_are_ranked_and_those_not_told_apart_say_so(tmp_path):
    runs = [make_run(tmp_path / f"run{i}", shift, seed=i, noise=0.15) for i, shift in enumerate((0.3, 0.31))]
    found = compare_runs([f"{runs[0]}:base", *map(str, runs)])
    assert found.compared is None
    order = [one.model for one in found.ranked.ranking.strengths]
    assert order[-1] == f"{runs[0]}:base"
    assert {*found.names} == {*order}
    text = shown(found)
    assert re.search(r":tuned = .*:tuned > .*:base", text)
    assert "mean helpfulness" in text
    assert "told apart" in text
    assert json.loads(to_json(found))["compared"] is None


def test_a_folder_with_a_colon_in_its_name_is_a_folder(first, tmp_path):
    odd = make_run(tmp_path / "a:b", 0.2)
    assert compare_runs([str(first), str(odd)]).names[1] == f"{odd}:tuned"
    assert compare_runs([str(first), f"{odd}:base"]).names[1] == f"{odd}:base"


@pytest.mark.parametrize("again", ["{0}", "{0}/", "{0}/.", "{0}:tuned", "{0}/:tuned", "{0}/../first:tuned"])
def test_the_same_model_cannot_be_named_twice_however_it_is_spelled(again, first):
    with pytest.raises(SettingError, match="is named twice"):
        compare_runs([str(first), again.format(first)])


@pytest.mark.parametrize("names", [[], ["runs/first"]])
def test_one_run_has_nothing_to_be_compared_with(names):
    with pytest.raises(SettingError, match="name two runs at least"):
        compare_runs(names)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"sets": {"held-out conversations": {"n": 40, "sha256": "other"}}}, "set of held-out conversations"),
        ({"rule": {"max_new_tokens": 80}}, "rule of answering"),
        ({"classifier": {"name": "lexical", "version": "1"}}, "classifier"),
        ({"measures": {"version": 2}}, "way of measuring"),
    ],
)
def test_runs_that_were_asked_otherwise_are_refused(asked, what, first, tmp_path):
    other = make_run(tmp_path / "other", **asked)
    with pytest.raises(RunError, match=f"was evaluated with another {what} than"):
        compare_runs([str(first), str(other)])


def test_an_unknown_model_and_a_run_without_a_tuned_one_name_what_there_is(first, tmp_path):
    several = make_run(tmp_path / "several", models=("base", "mine"))
    for spec in (f"{first}:none", str(several)):
        with pytest.raises(SettingError, match=r"which model\? This evaluation has base, (tuned|mine): name one as"):
            compare_runs([str(first), spec])


@pytest.mark.parametrize("name", ["rows.jsonl", "problems.jsonl", "protocol.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_run_that_was_not_evaluated_is_refused_by_file_name(name, damage, first, second):
    path = second / "eval" / name
    path.unlink() if damage == "missing" else path.write_text("{")
    with pytest.raises(RunError, match=re.escape(name)):
        compare_runs([str(first), str(second)])


def test_what_one_of_them_lacks_is_told_in_the_page(first, tmp_path):
    lacking = make_run(tmp_path / "lacking", problems=[Problem("safety", "s9", "no answer", "tuned")])
    write(compare_runs([str(first), str(lacking)]), tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert "What is missing or damaged" in text
    assert "safety, s9: no answer" in text


@pytest.mark.parametrize("count", [2, 3])
def test_a_hostile_name_or_text_is_shown_and_not_run(count, first, second, tmp_path):
    """In the page, in its picture, and in the terminal."""
    problems = [Problem("safety", f"<img src=x onerror=alert(2)>{HOSTILE}", f"{HOSTILE}\x1b[31m", "tuned")]
    odd = make_run(tmp_path / f"{HOSTILE}[/blue]\x1b[31m", 0.2, problems=problems, seed=2)
    found = compare_runs([str(first), str(odd), str(second)][:count])
    write(found, tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert not {"script", "img", "onerror", "src", "href", "link", "iframe"} & tags(text.replace("xlink:href", "xlink"))
    assert not re.search(r"(?<!xmlns=\")(?<!xmlns:xlink=\")https?://", text)
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert "default-src 'none'" in text
    printed = shown(found)
    assert "\x1b[31m" not in printed
    assert "[red]" in printed
    assert "[/blue]" in printed


def test_the_same_comparison_gives_the_same_bytes(first, second, tmp_path):
    for name in "ab":
        write(compare_runs([str(first), str(second)]), tmp_path / name)
    for file in ("comparison.html", "comparison.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_ranking_without_finite_strengths_is_told_and_drawn(first, tmp_path):
    """One that beats the others on every item is stronger without bound."""
    far = make_run(tmp_path / "far", 0.9)
    found = compare_runs([f"{first}:base", str(first), str(far)])
    write(found, tmp_path / "out")
    assert "the strengths are infinite" in shown(found)
    assert "undefined" in (tmp_path / "out" / "comparison.html").read_text()
