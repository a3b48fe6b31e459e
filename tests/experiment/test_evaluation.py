"""The whole evaluation in miniature: a tiny run, few questions, every part; continued, and made again where it must."""

import json
import shutil
from dataclasses import asdict, replace
from itertools import groupby

import pytest

from helptune.adapt.artifact import load_adapter, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.errors import DataError, Interrupted, RunError, SettingError
from helptune.evaluate import generations
from helptune.evaluate.answers import read_answers
from helptune.evaluate.capability.measure import shipped_items
from helptune.evaluate.consistency import SEEDS
from helptune.evaluate.safety.prompts import safety_prompts
from helptune.evaluate.sets import load_groups
from helptune.evaluate.table import read_rows
from helptune.experiment import evaluation as station
from helptune.experiment import models
from helptune.experiment.acceptance import NOT_HERE
from helptune.experiment.config import RunConfig
from helptune.experiment.environment import environment
from helptune.experiment.evaluation import Asked, evaluate_models, evaluate_run
from helptune.experiment.finetune import finetune
from helptune.experiment.report import write_report
from helptune.lock import working_alone
from helptune.train.config import TrainConfig
from helptune.train.stop import request_stop, stop_requested

ASKED = Asked(classifier="lexical", cost=False)
MODELS = ["base", "few_shot", "tuned"]
HELDOUT = ["facts-1", "facts-2", "write-1"]
PARTS = ["helpful", "references", "safety", "capability", "consistency"]


def record(name, category, question, answer):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    labels = {"category": category, "difficulty": "easy"}
    return {"id": name, "source": "test", "license": "Apache-2.0", "messages": messages, **labels}


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return str(path)


def first_of_each(things, kind, count=1):
    return [one for _, own in groupby(things, kind) for one in list(own)[:count]]


QUESTIONS = {
    "load_groups": load_groups()[:2],
    "safety_prompts": first_of_each(safety_prompts(), lambda c: c.meta["kind"], 2),
    "shipped_items": first_of_each(shipped_items(), type, 2),
}
"""The same questions as always, but few of them."""


def make_tiny(patch, word_base):
    """A tiny base, few questions and short answers."""
    patch.setattr(models, "load_base", lambda dtype: word_base)
    for name, few in QUESTIONS.items():
        patch.setattr(station, name, lambda few=few: few)
    for limit in ("SAFETY_TOKENS", "MAX_NEW_TOKENS"):
        patch.setattr(station, limit, 4)


@pytest.fixture(autouse=True)
def _tiny_world(monkeypatch, word_base):
    make_tiny(monkeypatch, word_base)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, word_base):
    """The directory of a run that was not evaluated."""
    folder = tmp_path_factory.mktemp("data")
    train = [record(f"t{i}", "facts", f"What is {i} + {i}?", f"It is {2 * i}.") for i in range(12)]
    heldout = [record(name, name.split("-")[0], f"Tell me about {name}.", "It is short.") for name in HELDOUT]
    config = RunConfig(
        precision="float32",
        train_file=write_lines(folder / "train.jsonl", train),
        heldout_file=write_lines(folder / "heldout.jsonl", heldout),
        max_new_tokens=4,
        lora=LoraConfig(rank=2, alpha=4.0),
        train=TrainConfig(seq_len=64, batch_rows=1, epochs=1, eval_every=2),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_base", lambda dtype: word_base)
        finetune(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def whole(finished, word_base, tmp_path_factory):
    """(directory, findings) of an evaluation that was never interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(finished, run)
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch, word_base)
        return run, evaluate_run(run, ASKED)


@pytest.fixture
def copied(whole, tmp_path):
    """A directory that was evaluated, to be damaged."""
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def made(monkeypatch):
    """What is made during a test: names of parts, and how many answers in each batch."""
    parts, answers = [], []
    timed, answered = station._Parts.timed, generations._answered

    def watched(self, name, work):
        parts.append(name)
        return timed(self, name, work)

    def counted(model, base, batch, *others):
        answers.append(len(batch))
        return answered(model, base, batch, *others)

    monkeypatch.setattr(station._Parts, "timed", watched)
    monkeypatch.setattr(generations, "_answered", counted)
    return parts, answers


def contents(run):
    """Every file of the evaluation but times and dates."""
    files = [path for path in sorted((run / "eval").rglob("*.json*")) if "seconds" not in path.name]
    return {str(p.relative_to(run)): p.read_text() for p in files if p.name not in ("protocol.json", "stages.json")}


def test_every_model_is_measured_in_every_part(whole):
    run, found = whole
    rows = read_rows(run / "eval")
    assert [*found.rows] == rows
    asked = [c.id for c in QUESTIONS["safety_prompts"]] + HELDOUT
    for model in MODELS:
        own = [row for row in rows if row.model == model]
        assert [row.item for row in own if row.part == "helpful"] == HELDOUT
        assert sorted(row.item for row in own if row.part == "safety") == sorted(asked)
        assert {row.cluster for row in own if row.part == "consistency"} == {g.id for g in QUESTIONS["load_groups"]}
        tasks = {row.item for row in own if row.part in ("capability", "text")}
        assert tasks == ({i.id for i in QUESTIONS["shipped_items"]} if model != "few_shot" else set())
    assert {problem.what for problem in found.problems} <= {"lexical abstains from its answer"}


def test_the_loss_of_references_is_that_of_the_model_in_chat_and_none_of_the_transcript(whole):
    nll = {(r.model, r.item): r.metrics["nll"] for r in whole[1].rows if r.part == "helpful"}
    assert all(nll["few_shot", item] is None for item in HELDOUT)
    assert all(nll["base", item] > 0 for item in HELDOUT)
    assert any(nll["base", item] != nll["tuned", item] for item in HELDOUT)


def test_the_tuned_model_is_set_beside_its_base_and_the_base_with_examples(whole):
    _, found = whole
    assert [(one.a, one.b) for one in found.compared] == [("base", "tuned"), ("few-shot base", "tuned")]
    assert len(found.sheet) == 6
    status = {c.name: c.status for c in found.sheet}
    assert status["Preferred by people"] == status["Cheaper than full fine-tuning"] == NOT_HERE
    assert json.loads((whole[0] / "eval" / "evaluation.json").read_text())["sheet"][0]["status"] == NOT_HERE


def test_the_answers_of_the_run_itself_are_evaluated_and_not_made_again(finished, tmp_path, made):
    shutil.copytree(finished, tmp_path / "run")
    evaluate_run(tmp_path / "run", ASKED)
    parts, answers = made
    wordings = sum(len(group.texts) + len(SEEDS) for group in QUESTIONS["load_groups"])
    assert sum(answers) == len(MODELS) * (len(QUESTIONS["safety_prompts"]) + wordings)
    assert parts == PARTS
    for model in MODELS:
        assert read_answers(tmp_path / "run/eval" / f"{model}.jsonl") == read_answers(finished / f"eval/{model}.jsonl")


def test_the_second_time_nothing_is_made_and_nothing_changes(copied, whole, made):
    before = contents(copied), (copied / "eval" / "protocol.json").read_text()
    assert evaluate_run(copied, ASKED) == whole[1]
    assert made == ([], [])
    assert (contents(copied), (copied / "eval" / "protocol.json").read_text()) == before


@pytest.mark.parametrize("stage", ["references", "consistency"])
def test_an_evaluation_that_was_killed_goes_on_where_it_was(stage, finished, whole, tmp_path, monkeypatch):
    """And ends with the same files."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    timed, started = station._Parts.timed, []

    def killed(self, name, work):
        if name == stage:
            raise KeyboardInterrupt
        return timed(self, name, work)

    def watched(self, name, work):
        started.append(name)
        return timed(self, name, work)

    monkeypatch.setattr(station._Parts, "timed", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, ASKED)
    assert not (run / "eval" / "rows.jsonl").exists()
    monkeypatch.setattr(station._Parts, "timed", watched)
    assert evaluate_run(run, ASKED) == whole[1]
    assert started == PARTS[PARTS.index(stage) :]
    assert contents(run) == contents(whole[0])


def test_a_request_to_stop_is_heeded_between_batches_and_between_parts(copied, made, monkeypatch):
    (copied / "eval" / "parts" / "capability.json").unlink()
    shutil.rmtree(copied / "eval" / "safety")
    parts, answers = made
    batch, likely = generations._answered, station.measure_quality

    def asked_to_stop(*arguments):
        request_stop(copied)
        return batch(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="run the same command again"):
        patch.setattr(generations, "_answered", asked_to_stop)
        evaluate_run(copied, ASKED)
    assert (len(answers), parts, stop_requested(copied)) == (1, [], False)
    (copied / "eval" / "parts" / "helpful.json").unlink()

    def stopped_while_measuring(*arguments):
        request_stop(copied)
        return likely(*arguments)

    monkeypatch.setattr(station, "measure_quality", stopped_while_measuring)
    with pytest.raises(Interrupted):
        evaluate_run(copied, ASKED)
    assert parts == ["helpful", "capability"], "what was finished is kept, and the next part not begun"
    assert (copied / "eval" / "parts" / "helpful.json").exists()
    assert not (copied / "eval" / "parts" / "capability.json").exists()


def test_an_older_request_to_stop_is_not_meant_for_this_evaluation(copied):
    request_stop(copied)
    evaluate_run(copied, ASKED)
    assert not stop_requested(copied)


def test_other_weights_are_asked_and_measured_again(copied, word_base, made):
    """Those of the tuned model alone: the answers of the base stay, also those that share a batch with others."""
    weights, card = load_adapter(copied / "adapter", word_base.config, models.Source("gemma-3-270m", "").sha256())
    other = {site: {name: leaf + 0.5 for name, leaf in own.items()} for site, own in weights.items()}
    shutil.rmtree(copied / "adapter")
    save_adapter(copied / "adapter", other, card)
    before = contents(copied)
    evaluate_run(copied, ASKED)
    assert made[0] == PARTS
    after = contents(copied)
    stay = [name for name in before if name.endswith(("base.jsonl", "few_shot.jsonl"))]
    assert {name for name in stay if before[name] != after[name]} == set()
    assert before["eval/tuned.jsonl"] != after["eval/tuned.jsonl"]


CHANGED = {
    "safety_prompts": (["safety"], lambda few: few[:-1]),
    "load_groups": (["consistency"], lambda few: [replace(few[0], answer=[*few[0].options][-1]), few[1]]),
    "shipped_items": (["capability"], lambda few: few[:-1]),
}


@pytest.mark.parametrize("name", CHANGED)
def test_other_questions_are_measured_again_even_where_the_answers_are_the_same(name, copied, made, monkeypatch):
    parts, change = CHANGED[name]
    few = change(QUESTIONS[name])
    assert few != QUESTIONS[name]
    monkeypatch.setattr(station, name, lambda: few)
    evaluate_run(copied, ASKED)
    assert made == (parts, [])


@pytest.mark.parametrize("damage", ["cut short", "not an object", "another version", "missing"])
def test_a_damaged_part_is_made_again(damage, copied, whole, made):
    path = copied / "eval" / "parts" / "safety.json"
    text = path.read_text()
    kept = json.loads(text)
    kept["rows"][0].pop("model")
    changed = {"cut short": text[:-9], "not an object": "[]", "another version": json.dumps(kept)}
    path.write_text(changed[damage]) if damage in changed else path.unlink()
    assert evaluate_run(copied, ASKED) == whole[1]
    assert made == (["safety"], [])
    assert path.read_text() == text


def test_the_protocol_is_written_before_the_first_answer(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "run")

    def seen(*arguments, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(station.Subject, "answer", seen)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(tmp_path / "run", ASKED)
    protocol = json.loads((tmp_path / "run" / "eval" / "protocol.json").read_text())
    assert (protocol["primary"], protocol["sets"]["held-out conversations"]["n"]) == ("helpfulness", len(HELDOUT))
    assert protocol["examples"]["few_shot"]
    assert protocol["before"] == []
    assert protocol["rule"]["max_new_tokens"] == 4
    assert list(protocol["models"]) == MODELS


def test_an_evaluation_of_something_else_is_told_from_its_protocol(copied):
    """The one before stays, with its date, and the report says so: nobody can choose a target after the figures."""
    path = copied / "eval" / "protocol.json"
    first = json.loads(path.read_text())
    first = {name: value for name, value in first.items() if name != "before"} | {"alpha": 0.2, "date": "long ago"}
    path.write_text(json.dumps(first | {"before": [first | {"date": "longer ago"}]}))
    evaluate_run(copied, ASKED)
    again = json.loads(path.read_text())
    assert again["alpha"] == 0.05
    assert [(one["date"], one["alpha"]) for one in again["before"]] == [("longer ago", 0.2), ("long ago", 0.2)]
    assert "written down otherwise 2 times before, first on longer ago" in (copied / "report.html").read_text()


def test_a_damaged_protocol_is_not_written_over(copied):
    path = copied / "eval" / "protocol.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(RunError, match=r"protocol.json: missing or damaged .* move it away"):
        evaluate_run(copied, ASKED)


def test_a_run_is_evaluated_without_the_file_it_was_trained_on(copied, whole):
    """The solved examples of the few-shot base are kept with its answers."""
    path = copied / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train_file": str(copied / "gone.jsonl")}))
    assert evaluate_run(copied, ASKED).rows == whole[1].rows


def test_votes_are_kept_with_the_run_and_a_damaged_line_is_told(copied, tmp_path):
    vote = {"item": "facts-1", "first": "tuned", "second": "base", "winner": "first", "rater": "ann", "kind": "human"}
    (tmp_path / "ann.jsonl").write_bytes(json.dumps(vote).encode() + b"\n{half \xff")
    (tmp_path / "eve.jsonl").write_text(json.dumps(vote | {"rater": "eve", "winner": "second"}))
    found = evaluate_run(copied, replace(ASKED, votes=(tmp_path / "ann.jsonl", tmp_path / "eve.jsonl")))
    assert (found.people.wins, found.people.losses, found.people.missing, found.machines) == (1, 1, 3, ())
    assert [p.where for p in found.problems if "votes" in p.where] == [f"{copied / 'eval' / 'votes.jsonl'}:2"]
    assert evaluate_run(copied, ASKED).people == found.people, "they need not be given twice"


def test_the_cost_is_measured_once_and_only_where_it_is_asked_for(copied, monkeypatch, made):
    measured = {"what": "time", "lora": 1.0, "full": 20.0, "unit": "s", "ratio": 0.05, "how": "measured"}
    made_from = {"environment": environment()}
    monkeypatch.setattr(
        station, "compare_costs", lambda step: {"measured": [measured], "asked": asdict(step)} | made_from
    )
    found = [evaluate_run(copied, replace(ASKED, cost=True)) for _ in range(2)]
    assert made == (["cost"], [])
    assert found[0].costs[0]["ratio"] == 0.05
    assert found[1] == found[0]


def test_a_run_that_is_not_finished_is_refused(copied, tmp_path):
    (copied / "eval" / "summary.json").unlink()
    for folder in (copied, tmp_path / "none"):
        with pytest.raises(RunError, match=r"not a finished run; `helptune finetune --run .*` finishes it"):
            evaluate_run(folder, ASKED)


def test_an_unknown_classifier_or_a_missing_file_of_votes_is_refused_before_any_work(copied, made):
    with pytest.raises(SettingError, match="nonesuch"):
        evaluate_run(copied, replace(ASKED, classifier="nonesuch"))
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        evaluate_run(copied, replace(ASKED, votes=(copied / "none.jsonl",)))
    assert made == ([], [])


def test_two_do_not_evaluate_the_same_run_at_once(copied):
    with working_alone(copied), pytest.raises(RunError, match="another process is working on"):
        evaluate_run(copied, ASKED)


def test_the_report_is_written_anew_with_the_sheet(whole):
    run, _ = whole
    text = (run / "report.html").read_text()
    assert "Acceptance of stage 2" in text
    assert write_report(run).read_text() == text, "and can be made again from the files alone"


@pytest.fixture
def curated(monkeypatch, finished):
    """Held-out conversations of the run, in place of all curated ones."""
    from helptune.data.conversation import read_conversations

    heldout = list(read_conversations(finished / "eval" / "heldout.jsonl"))
    monkeypatch.setattr(station, "load_curated", lambda split: heldout)
    return heldout


@pytest.fixture
def short(monkeypatch):
    """Answers of four tokens, as a run with this rule would make them."""
    monkeypatch.setattr("helptune.experiment.subject.Rule", lambda limit, penalty: generations.Rule(4, penalty))


@pytest.mark.usefixtures("curated", "short")
def test_a_base_alone_is_measured_and_compared_with_nothing(tmp_path):
    found = evaluate_models(tmp_path / "out", None, None, "", "float32", ASKED)
    assert (found.models, found.compared, found.sheet) == (("base", "few_shot"), (), ())
    assert {row.part for row in found.of("base")} == {"helpful", "safety", "capability", "text", "consistency"}


@pytest.mark.usefixtures("curated", "short")
def test_adapters_of_one_base_are_evaluated_together_each_under_its_name(tmp_path, finished, whole):
    """And each answers as it does alone."""
    for name in ("first", "second"):
        shutil.copytree(finished / "adapter", tmp_path / "several" / name)
    found = evaluate_models(tmp_path / "out", tmp_path / "several", None, "", "float32", ASKED)
    assert found.models == ("base", "few_shot", "first", "second")
    tuned = {a.id: a.text for a in read_answers(whole[0] / "eval" / "tuned.jsonl")}
    for name in ("first", "second"):
        assert {a.id: a.text for a in read_answers(tmp_path / "out" / "eval" / f"{name}.jsonl")} == tuned


def test_an_adapter_cannot_be_called_like_the_few_shot_base(tmp_path, finished):
    shutil.copytree(finished / "adapter", tmp_path / "several" / "few_shot")
    shutil.copytree(finished / "adapter", tmp_path / "several" / "other")
    with pytest.raises(SettingError, match="cannot be called 'few_shot'"):
        evaluate_models(tmp_path / "out", tmp_path / "several", None, "", "float32", ASKED)
