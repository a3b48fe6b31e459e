"""lm-evaluation-harness on our models: its own code gives our figures, and its three questions mean what it says."""

import math
from types import SimpleNamespace
from zlib import crc32

import pytest

from helptune.errors import ContextError, SettingError
from helptune.evaluate.capability.items import load_passages
from helptune.evaluate.capability.measure import TEXT, measure_capability, shipped_items
from helptune.evaluate.capability.tasks import CHOICES, NAMES, PROSE, SUMS, write_tasks
from helptune.experiment.models import Loaded

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is missing: pip install -e '.[harness]'")

from helptune.evaluate.likelihood import Likelihood, likelihoods
from helptune.evaluate.score import score_text
from helptune.experiment.harness import HarnessModel, evaluate_tasks
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling


@pytest.fixture(scope="module")
def loaded(word_base, tokenizer):
    return Loaded(word_base, tokenizer, None)


def asking(*args):
    """A request of the harness."""
    return SimpleNamespace(args=args)


def drawn(base, tokenizer, pairs, adapter=None, desc=""):
    """Likelihoods drawn from the very tokens of each pair: a token more or less, and they are others."""
    draws = [crc32(repr((list(before), list(after))).encode()) for before, after in pairs]
    return [Likelihood(-(draw % 10_007) / 100, 1, draw % 3 == 0) for draw in draws]


@pytest.fixture(scope="module")
def measured(loaded, tmp_path_factory):
    """(our rows, the harness's figures, the harness's rows) of all shipped items."""
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder)
    ours = measure_capability("base", loaded.tokenizer, lambda pairs: drawn(loaded.base, loaded.tokenizer, pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helptune.experiment.harness.likelihoods", drawn)
        return ours, *evaluate_tasks(loaded, NAMES, include=folder)


def test_the_harness_finds_the_same_choices_and_sums_right_item_by_item(measured):
    ours, _, theirs = measured
    found = {(row.labels["task"], row.item): row.metrics for row in theirs}
    for task, names in ((CHOICES, ("acc_norm", "acc")), (SUMS, ("acc", None))):
        items = [row for row in ours if row.part != TEXT and ("correct_raw" in row.metrics) == (task == CHOICES)]
        for number, row in enumerate(items):
            metrics = found[task, f"{task}-{number}"]
            assert row.metrics["correct" if task == CHOICES else "strict"] == metrics[names[0]], row
            assert names[1] is None or row.metrics["correct_raw"] == metrics[names[1]], row
        assert sum(task == other for other, _ in found) == len(items)


def test_the_harness_finds_the_prose_as_surprising(measured):
    ours, scores, _ = measured
    nats = sum(row.metrics["nll"] * row.metrics["tokens"] for row in ours if row.part == TEXT)
    size = sum(len(passage.text.encode()) for passage in load_passages())
    (bits,) = (score.value for score in scores if (score.task, score.metric) == (PROSE, "bits_per_byte"))
    assert bits == pytest.approx(nats / size / math.log(2), rel=1e-6)


def test_the_figures_are_means_of_the_rows_and_say_of_how_many(measured):
    _, scores, rows = measured
    for score in scores:
        if score.task == PROSE:
            continue
        own = [row.metrics[score.metric] for row in rows if row.labels["task"] == score.task]
        if score.metric.startswith("acc"):
            assert score.value == pytest.approx(sum(own) / len(own))
            assert score.items == len(own)
    assert {score.task for score in scores} == set(NAMES)
    assert len(shipped_items()) == len(rows)


def test_a_task_that_does_not_exist_is_named(loaded):
    with pytest.raises(SettingError, match="no task 'helptune_magic'"):
        evaluate_tasks(loaded, ["helptune_magic"])


def test_an_empty_context_is_the_beginning_of_a_text(loaded):
    model, text = HarnessModel(loaded), "A text of its own."
    ((alone, _),) = model.loglikelihood([asking("", text)])
    (rolling,) = model.loglikelihood_rolling([asking(text)])
    nll = score_text(loaded.base, loaded.tokenizer, text).sum()
    assert alone == pytest.approx(-nll, rel=1e-4)
    assert rolling == pytest.approx(-nll, rel=1e-4)


def test_a_text_longer_than_the_context_is_scored_once_token_by_token(loaded):
    model = HarnessModel(loaded)
    model.context = 8
    text = "A text that goes on for quite a few more tokens than eight of them, and then some."
    ids = loaded.tokenizer.encode(text)
    assert 16 < len(ids) < 24
    first, second, third = ids[:8], ids[8:16], ids[16:]
    pairs = [([2], first), ([first[-1]], second), (ids[-9 : -len(third)], third)]
    expected = sum(one.logprob for one in likelihoods(loaded.base, loaded.tokenizer, pairs))
    assert model.loglikelihood_rolling([asking(text)]) == pytest.approx([expected], rel=1e-5)


def test_a_long_context_is_cut_at_its_beginning_and_a_long_ending_refused(loaded):
    model = HarnessModel(loaded)
    model.context = 6
    text = "one two three four five six seven eight nine ten"
    ids = loaded.tokenizer.encode(f"{text} eleven")
    (expected,) = likelihoods(loaded.base, loaded.tokenizer, [(ids[-7:-1], ids[-1:])])
    ((found, _),) = model.loglikelihood([asking(text, " eleven")])
    assert found == pytest.approx(expected.logprob, rel=1e-5)
    with pytest.raises(ContextError, match="exceeds the context of 6"):
        model.loglikelihood([asking("one", f" {text}")])


def test_what_is_written_is_what_generate_writes_cut_before_the_first_stop(loaded):
    model, prompts = HarnessModel(loaded), ["Once upon a time", "Question: what?\nAnswer:", "12 + 30 ="]
    ids = [[2, *loaded.tokenizer.encode(prompt)] for prompt in prompts]
    plain = [loaded.tokenizer.decode(one.tokens) for one in generate(loaded.base, ids, Sampling(max_new_tokens=12))]
    rule = {"until": [], "max_gen_toks": 12, "do_sample": False}
    assert model.generate_until([asking(prompt, rule) for prompt in prompts]) == plain
    stop = plain[1][len(plain[1]) // 2 :][:3]
    cut = [text.split(stop)[0] for text in plain]
    assert cut[1] != plain[1]
    requests = [asking(prompt, rule | {"until": ["never", stop]}) for prompt in prompts]
    assert model.generate_until(requests) == cut


def test_requests_of_several_rules_keep_their_order(loaded):
    model = HarnessModel(loaded)
    short, long = ({"until": "\n\n", "max_gen_toks": limit} for limit in (2, 6))
    answers = model.generate_until([asking(p, rule) for p in ("a b c", "d") for rule in (long, short)])
    assert [len(answers[i]) > len(answers[i + 1]) for i in (0, 2)] == [True, True]
    assert all(long_one.startswith(short_one) for long_one, short_one in (answers[:2], answers[2:]))


def test_a_way_to_generate_that_we_do_not_have_is_refused(loaded):
    with pytest.raises(SettingError, match="'num_beams'"):
        HarnessModel(loaded).generate_until([asking("a", {"num_beams": 4})])
