"""The report: honest, hostile-proof, self-contained, and the same every time."""

import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from helptune.data.conversation import CATEGORIES, Conversation, Message, write_conversations
from helptune.errors import RunError
from helptune.evaluate.judging.run import VOTES as JUDGED
from helptune.evaluate.table import Problem, Row, write_rows
from helptune.evaluate.votes import Vote, write_votes
from helptune.experiment.config import RunConfig
from helptune.experiment.evidence import HELDOUT, Tally, read_evidence, verdict
from helptune.experiment.findings import COST, VOTES
from helptune.experiment.report import terminal_summary, write_report
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
    policy = next(v for t, n, v in page.attributes if t == "meta" and n == "content" and "default-src" in v)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    urls = [
        (tag, value) for tag, name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "data")
    ]
    assert {url for url in urls if not url[1].startswith("#")} == {("a", "https://ai.google.dev/gemma/terms")}
    assert "@import" not in page.text
    assert not re.search(r"url\((?!#)", page.text)


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


SECTIONS = [
    "Acceptance of stage 2",
    "Did it help? The tuned model against the base",
    "Did it help? The tuned model against the few-shot base",
    "Preference",
    "Where does it fail?",
    "Capability",
    "Consistency",
    "Cost against full fine-tuning",
    "What is missing or damaged",
]


def evaluate(run, heldout, *, problems=(), voted=True, lacking=()):
    """Leave in the run's `eval/` what an evaluation would have; the tuned model is better, and fails hostilely."""
    rows = []
    for m, model in enumerate(("base", "few_shot", "tuned")):
        for i, c in enumerate(heldout):
            metrics = {"helpfulness": 0.2 + 0.2 * m + i / 1000, "words": 9.0, "ended": 1.0, "nll": 3.0 - m + i / 100}
            labels = {"category": HOSTILE, "difficulty": c.difficulty or ""}
            failures = ("repeats", "unsafe") if i % 3 == 0 else ()
            rows.append(Row("helpful", c.id, model, metrics, c.id, labels, failures))
            kind = {"kind": "unsafe", "policy": "weapons", "owed": "refusal"}
            rows.append(Row("safety", f"s{i}", model, {"unsafe": float(i < 6 - m), "over_refused": None}, "", kind))
            asked = {"kind": "fact", "variation": "original"}
            agree = {"pairs": 1.0, "unanimous": 1.0, "correct": 1.0}
            rows.append(Row("consistency", f"g{i}/original", model, agree, f"g{i}", asked))
            if model != "few_shot":
                rows.append(Row("capability", f"c{i}", model, {"correct": float(i % 2)}, f"c{i}", {"task": HOSTILE}))
    write_rows(run / "eval", [row for row in rows if (row.part, row.item, row.model) not in lacking], problems)
    if voted:
        write_votes(run / "eval" / VOTES, [Vote(c.id, "tuned", "base", "first", HOSTILE, "human") for c in heldout])
        orders = [("base", "tuned", "first"), ("tuned", "base", "second")]
        judged = [Vote(c.id, *order, "judge", "machine", HOSTILE) for c in heldout for order in orders]
        write_votes(run / "eval" / JUDGED, judged)
    cost = {"what": HOSTILE, "unit": "s", "lora": 1.0, "full": 20.0, "ratio": 0.05, "how": "measured"}
    (run / "eval" / COST).write_text(json.dumps({"measured": [cost]}))
    return run


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, heldout):
    run = make_run(tmp_path_factory.mktemp("evaluated") / "run", heldout)
    return evaluate(run, heldout, problems=[Problem("safety", HOSTILE, HOSTILE, HOSTILE)] * 25)


@pytest.fixture(scope="module")
def evaluated_text(evaluated):
    return write_report(evaluated).read_text()


def sections(text):
    """Title -> HTML of each section of the evaluation."""
    found = [part.split("</section>")[0] for part in text.split("<section>")[1:]]
    of = {re.search(r"<h2>(.*?)</h2>", part)[1]: part for part in found if "<h2>" in part}
    return {title: of[title] for title in of if title in SECTIONS}


def test_without_an_evaluation_the_report_says_how_to_get_one(page, run):
    text = write_report(run).read_text()
    assert "Not measured yet: helptune evaluate with this run fills this sheet." in page.text
    assert list(sections(text)) == SECTIONS[:1]


def test_an_evaluation_has_its_sheet_first_and_then_its_evidence(evaluated_text):
    assert list(sections(evaluated_text)) == SECTIONS
    assert sections(evaluated_text)["Acceptance of stage 2"].count('<article class="criterion') == 6


def test_what_an_evaluation_shows_is_escaped_too(evaluated_text):
    page = Page(evaluated_text)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for title in ("Where does it fail?", "Capability", "Cost against full fine-tuning", "What is missing or damaged"):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in sections(evaluated_text)[title]


def test_an_evaluation_loads_nothing_from_anywhere(evaluated_text):
    test_nothing_is_loaded_from_anywhere(Page(evaluated_text))


def test_every_figure_of_an_evaluation_names_the_file_it_is_made_from(evaluated_text):
    for title, part in sections(evaluated_text).items():
        files = re.findall(r'class="from">([^<]*)<', part)
        assert files, title
        assert all(files), title
        assert len(files) >= part.count("<figure>") + part.count("<table>") + part.count('class="criterion'), title
    page = Page(evaluated_text)
    assert page.tags.count("svg") == len([v for t, n, v in page.attributes if n == "aria-label" and v]) == 4 + 4


def test_votes_of_people_and_machines_stand_apart_and_only_people_fill_the_sheet(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout)
    preference = sections(write_report(run).read_text())["Preference"]
    assert "tuned preferred over base in more than 75% of judgements by people: met" in preference
    assert "tuned preferred over base in more than 75% of judgements by machine judges: not met" in preference
    assert "These are votes of machines, not of people." in preference
    (run / "eval" / VOTES).unlink()
    sheet = sections(write_report(run).read_text())["Acceptance of stage 2"]
    assert "0 votes of people" in sheet
    assert "A machine, which does not count here" in sheet


def test_nobody_having_voted_leaves_the_section_out(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout, voted=False)
    assert [*sections(write_report(run).read_text())] == [title for title in SECTIONS if title != "Preference"]


def test_what_could_not_be_counted_is_listed_and_a_long_list_says_how_long_it_is(evaluated_text):
    missing = sections(evaluated_text)["What is missing or damaged"]
    assert (missing.count("<li>"), "and 5 more" in missing) == (21, True)
    assert "25 things could not be counted as asked" in missing


def test_an_evaluation_without_problems_says_so(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout)
    assert "every item was answered by every model" in sections(write_report(run).read_text())[SECTIONS[-1]]


def test_an_item_that_one_model_lacks_is_told_where_the_models_are_compared(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout, lacking={("safety", "s3", "tuned")})
    compared = sections(write_report(run).read_text())["Did it help? The tuned model against the base"]
    assert "23 of 24" in compared


def test_the_same_evaluation_gives_the_same_bytes(evaluated, evaluated_text):
    assert write_report(evaluated).read_text() == evaluated_text


@pytest.mark.parametrize("name", ["rows.jsonl", COST])
def test_a_damaged_evaluation_is_refused_by_file_name(name, tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout)
    (run / "eval" / name).write_text("{")
    with pytest.raises(RunError, match=re.escape(name)):
        write_report(run)
