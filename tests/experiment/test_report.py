"""The report: honest, hostile-proof, self-contained, and the same every time."""

import re

import pytest
from reports import KINDS, Page, conversations, loads_nothing, make_run
from rich.console import Console

from helptune.data.conversation import Conversation, write_conversations
from helptune.errors import RunError
from helptune.experiment.config import RunConfig
from helptune.experiment.evidence import HELDOUT, Tally, read_evidence, verdict
from helptune.experiment.report import terminal_summary, write_report


def terminal(run):
    console = Console(width=200)
    with console.capture() as captured:
        console.print(terminal_summary(run))
    return captured.get()


@pytest.fixture(scope="module")
def heldout():
    return conversations()


@pytest.fixture(scope="module")
def run(tmp_path_factory, heldout):
    return make_run(tmp_path_factory.mktemp("runs") / "a [run] <b>", heldout)


@pytest.fixture(scope="module")
def page(run):
    return Page(write_report(run).read_text())


def test_hostile_text_is_shown_and_not_run(page):
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") == 24 * 5
    assert "{{ 7 * 7 }}" in page.text


def test_the_report_says_why_training_stopped_early(tmp_path, heldout):
    text = write_report(make_run(tmp_path / "run", heldout, stopped="the loss rose <b>")).read_text()
    assert "best at step 2, stopped early: the loss rose &lt;b&gt;." in text


def test_nothing_is_loaded_from_anywhere(page):
    loads_nothing(page)


def test_one_prompt_of_each_category_is_shown_openly_easy_and_hard_in_turn(run, heldout):
    shown, folded = write_report(run).read_text().split("<summary>The other 12 held-out prompts")
    turn = [int(k % 3 == 2) for k in range(len(KINDS))]  # no medium ones here: the first, easy one stands in
    assert re.findall(r'class="note">(\S+-\d), \w+<', shown) == [f"{c}-{n}" for c, n in zip(KINDS, turn, strict=True)]
    assert len(re.findall(r'class="note">(\S+-\d), \w+<', folded)) == len(KINDS)


def test_records_without_categories_still_give_twelve_prompts(tmp_path):
    plain = [Conversation(c.id, c.source, c.license, c.messages) for c in conversations()]
    shown = write_report(make_run(tmp_path / "run", plain)).read_text().split("<summary>The other 12")[0]
    assert shown.count('class="example"') == 12


def test_every_answer_says_whether_it_ended(page):
    assert (page.count("ended"), page.count("cut")) == (1 + 20 + 23, 23 + 4 + 1)


def test_every_picture_has_words(page):
    assert page.tags.count("svg") == 4
    assert len([v for t, n, v in page.attributes if n == "aria-label" and v]) == 4


@pytest.mark.parametrize(
    ("tuned", "ended", "expected"),
    [
        (2.0, 23, "Held-out loss fell by 33.3%, and more answers end by themselves"),
        (3.3, 23, "Held-out loss rose by 10.0%, but more answers end by themselves"),
        (2.0, 13, "Held-out loss fell by 33.3%, with no clear change in how many answers end by themselves"),
        (2.0, 2, "Held-out loss fell by 33.3%, but fewer answers end by themselves"),
        (3.3, 2, "Held-out loss rose by 10.0%, and fewer answers end by themselves"),
        (
            2.9999,
            12,
            "Held-out loss changed by less than 0.1%, with no clear change in how many answers end by themselves",
        ),
        (float("nan"), 23, "Held-out loss is no longer a number, but more answers end by themselves"),
    ],
)
def test_verdict_follows_the_figures(tmp_path, heldout, tuned, ended, expected):
    counts = {"base": 12 if ended < 23 else 1, "few_shot": 12, "tuned": ended}
    run = make_run(tmp_path / "run", heldout, tuned=tuned, ended=counts)
    assert verdict(read_evidence(run))[0] == expected


def test_report_and_terminal_carry_the_verdict_of_a_failed_run(tmp_path, heldout):
    run = make_run(tmp_path / "run", heldout, tuned=3.3, ended={"base": 12, "few_shot": 12, "tuned": 2})
    expected = "Held-out loss rose by 10.0%, and fewer answers end by themselves"
    assert f"<h1>{expected}</h1>" in write_report(run).read_text()
    assert expected in terminal(run)


def test_a_report_claims_nothing_of_the_embedded_model_for_another(tmp_path, heldout):
    other = RunConfig(model="gemma-7b-it", checkpoint="/models/gemma-7b-it", precision="int8")
    shown = Page(write_report(make_run(tmp_path / "7b", heldout, config=other, device_gib=14.6)).read_text()).text
    assert "The base is gemma-7b-it before this run" in shown
    assert "read from /models/gemma-7b-it" in shown
    assert "quantized to int8 for this run" in shown
    assert "14.60 GiB on each accelerator" in shown
    assert not re.search("270m|Q4_K_M", shown, re.IGNORECASE)
    embedded = Page(write_report(make_run(tmp_path / "270m", heldout)).read_text()).text
    assert "not bit for bit google/gemma-3-270m" in embedded
    assert "accelerator" not in embedded


def test_an_untrained_adapter_is_called_one(tmp_path, heldout):
    run = make_run(tmp_path / "run", heldout, tuned=3.0, best_step=0)
    assert "the adapter kept is the untrained one" in write_report(run).read_text()


def test_rebuilding_gives_the_same_bytes_and_leaves_nothing_behind(run, heldout):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.glob(".report*"))


def test_terminal_summary_names_counts_and_report(run):
    text = terminal(run)
    for expected in (
        "3.000 -> 2.000",
        "-33.3%",
        "23 of 24",
        "1.00%",
        "1.0 MiB",
        "20 tokens/s",
        "1.50 GiB",
        "a [run] <b>",
    ):
        assert expected in text


@pytest.mark.parametrize("name", ["eval/summary.json", "metrics.jsonl", "eval/tuned.jsonl", "adapter/adapter.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_unfinished_run_is_refused_by_file_name(tmp_path, heldout, name, damage):
    path = make_run(tmp_path / "run", heldout) / name
    path.write_text(path.read_text()[:-5]) if damage == "cut short" else path.unlink()
    for make in (lambda: write_report(tmp_path / "run"), lambda: terminal_summary(tmp_path / "run")):
        with pytest.raises(RunError, match=re.escape(path.name)):
            make()
    assert not (tmp_path / "run" / "report.html").exists()


def test_foreign_files_are_refused(tmp_path, heldout):
    run = make_run(tmp_path / "run", heldout)
    other = [Conversation("other", "test", "CC0-1.0", heldout[0].messages)]
    write_conversations(run / HELDOUT, other)
    with pytest.raises(RunError, match="other held-out conversations"):
        write_report(run)
    (run / "eval" / "summary.json").write_text("[]")
    with pytest.raises(RunError, match="not as expected"):
        terminal_summary(run)


def test_wilson_interval_has_a_width_where_the_normal_one_has_none():
    assert Tally("", 0, 72, 0, ()).interval == pytest.approx((0.0, 0.0507), abs=1e-4)
    assert Tally("", 10, 20, 0, ()).interval == pytest.approx((0.2993, 0.7007), abs=1e-4)
