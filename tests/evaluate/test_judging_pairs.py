"""Both orders of every pair, each verdict a line as soon as it is there, and nothing asked or lost twice."""

import os
import signal
import threading
from pathlib import Path

import pytest
from judges import HONEY, Scripted, answers, chat_server, conversation, longer, says

from helptune.errors import DataError, Interrupted, SettingError
from helptune.evaluate.helpfulness import WEIGHTS
from helptune.evaluate.judging.composite import Composite, by_helpfulness
from helptune.evaluate.judging.endpoint import endpoint
from helptune.evaluate.judging.judge import Verdict
from helptune.evaluate.judging.pairs import GIVE_UP, judge_pairs
from helptune.evaluate.votes import Vote, read_votes, vote_line, write_votes

NAMES = ("base", "tuned")
ITEMS = [conversation(id) for id in "abc"]
BASE, TUNED = answers("one", "one two three", "same"), answers("one two", "one", "same")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "eval" / "votes.jsonl"


def winners(votes):
    return {(v.item, v.first): v.winner for v in votes}


def judged(judge, out, items=ITEMS, a=BASE, b=TUNED):
    return judge_pairs(judge, items, a, b, NAMES, out)


def test_each_pair_is_judged_in_both_orders(out):
    votes = judged(Scripted(longer), out)
    assert [(v.item, v.first, v.second) for v in votes] == [
        (item, *order) for item in "abc" for order in (NAMES, NAMES[::-1])
    ]
    assert winners(votes) == {
        ("a", "base"): "second", ("a", "tuned"): "first",
        ("b", "base"): "first", ("b", "tuned"): "second",
        ("c", "base"): "tie", ("c", "tuned"): "tie",
    }  # fmt: skip
    assert {(v.rater, v.kind) for v in votes} == {("scripted", "machine")}


def test_the_file_holds_the_same_votes(out):
    votes = judged(Scripted(longer), out)
    found = read_votes(out, models=NAMES, items=list("abc"))
    assert found.problems == ()
    assert set(found.votes) == set(votes)


def test_answers_of_the_same_text_tie_unasked(out):
    judge = Scripted(longer)
    judged(judge, out)
    assert {item for item, _, _ in judge.asked} == {"a", "b"}


def test_what_was_judged_is_not_asked_again(out):
    first = judged(Scripted(longer), out)
    again = Scripted(longer)
    assert judged(again, out) == first
    assert again.asked == []


@pytest.mark.parametrize(
    ("judge", "a", "items"),
    [
        (Scripted(longer, version="2"), BASE, ITEMS),
        (Scripted(longer), BASE | answers("another text"), ITEMS),
        (Scripted(longer), BASE, [conversation("a", "Another request?"), *ITEMS[1:]]),
    ],
    ids=["judge", "answer", "request"],
)
def test_another_judge_answer_or_request_is_another_question(judge, a, items, out):
    judged(Scripted(longer), out)
    votes = judged(judge, out, items, a)
    assert {item for item, _, _ in judge.asked} == ({"a", "b"} if judge.version == "2" else {"a"})
    assert set(read_votes(out).votes) == set(votes), "the old votes are replaced"


def test_a_missing_answer_is_a_null_vote_that_says_whose(out):
    votes = judged(Scripted(longer), out, a={}, b={"a": TUNED["a"]})
    assert len(votes) == 6
    assert {v.winner for v in votes} == {None}
    assert votes[0].note == "nothing to judge: no answer by base"
    assert votes[-1].note == "nothing to judge: no answer by base and tuned"
    assert len(read_votes(out).problems) == 6


def test_nonsense_and_silence_are_null_votes_that_say_why_and_are_asked_for_again(out):
    def hard(question):
        if question.first.text == "one":
            return Verdict(None, "no verdict: nonsense", raw="\x1b[2J I like A")
        return Verdict(None, "no answer: within 1 s", silent=True)

    votes = judged(Scripted(hard), out)
    assert [v.winner for v in votes] == [None] * 4 + ["tie"] * 2
    assert votes[0].note == "no verdict: nonsense; it wrote: \ufffd[2J I like A"
    assert votes[1].note == "no answer: within 1 s"
    assert len(read_votes(out).problems) == 4
    again = Scripted(longer)
    assert all(v.winner for v in judged(again, out))
    assert len(again.asked) == 4
    assert read_votes(out).problems == ()


def test_a_judge_that_is_silent_is_given_up_and_every_pair_still_has_its_votes(out):
    judge = Scripted(lambda _: Verdict(None, "no answer: connection refused", silent=True))
    texts = [f"text {i}" for i in range(20)]
    items = [conversation(id) for id in answers(*texts)]
    votes = judged(judge, out, items, answers(*texts), answers(*(t + "!" for t in texts)))
    assert len(judge.asked) == GIVE_UP
    assert len(votes) == 40
    assert {v.winner for v in votes} == {None}
    given_up = [v.note for v in votes if v.note.startswith("not asked")]
    assert len(given_up) == 40 - GIVE_UP
    assert "connection refused" in given_up[0]
    assert len(read_votes(out).votes) == 40


def test_a_single_answer_among_silence_keeps_the_judge_asked(out):
    judge = Scripted(None)
    judge.rule = lambda _: Verdict("first", "") if len(judge.asked) % 5 == 0 else Verdict(None, "no", silent=True)
    texts = [f"text {i}" for i in range(20)]
    judged(
        judge, out, [conversation(id) for id in answers(*texts)], answers(*texts), answers(*(t + "!" for t in texts))
    )
    assert len(judge.asked) == 40


@pytest.mark.parametrize("workers", [1, 3])
def test_a_judge_that_cannot_be_used_leaves_what_was_done(workers, out):
    def fails_at_b(question):
        if question.conversation.id == "b" and question.first.text == "one":
            raise SettingError("wrong key")
        return longer(question)

    with pytest.raises(SettingError, match="wrong key"):
        judged(Scripted(fails_at_b, workers=workers), out)
    before = [v for v in read_votes(out).votes if v.item != "c"]
    assert before
    again = Scripted(longer)
    judged(again, out)
    assert len(again.asked) == 4 - len(before)


def test_questions_are_asked_side_by_side(out):
    """Three workers that wait for each other: one alone would wait in vain."""
    together = threading.Barrier(3)

    def meets(question):
        together.wait(timeout=10)
        return longer(question)

    texts = answers("x", "xx", "xxx")
    judged(Scripted(meets, workers=3), out, a=texts, b=answers("y1234", "y1234", "y1234"))


def test_a_judge_takes_as_many_questions_in_a_call_as_it_wants(out):
    sizes = []

    class Batched(Scripted):
        def compare(self, questions):
            sizes.append(len(questions))
            return super().compare(questions)

    judged(Batched(longer, at_once=3), out)
    assert sizes == [3, 1]


def test_who_stops_it_gets_what_was_under_way_and_goes_on_later(out):
    def stops(question):
        os.kill(os.getpid(), signal.SIGINT)
        return longer(question)

    with pytest.raises(Interrupted, match="same command again"):
        judged(Scripted(stops), out)
    done = [v for v in read_votes(out).votes if v.item != "c"]
    assert len(done) == 1
    again = Scripted(longer)
    assert len(judged(again, out)) == 6
    assert len(again.asked) == 3


def test_after_a_kill_the_line_that_was_cut_is_judged_again(out):
    votes = judged(Scripted(longer), out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-25])
    again = Scripted(longer)
    assert judged(again, out) == votes
    assert len(again.asked) == 1
    assert sorted(out.read_bytes().split(b"\n")) == sorted(whole.split(b"\n"))


@pytest.mark.parametrize("line", ["{", '{"item": "a"}', "\xff"])
def test_a_line_that_is_no_vote_is_named_and_nothing_is_overwritten(line, out):
    judged(Scripted(longer), out)
    found = line.encode("latin-1") + b"\n" + out.read_bytes()
    out.write_bytes(found)
    with pytest.raises(DataError, match=r"votes.jsonl:1: .*name another file"):
        judged(Scripted(longer), out)
    assert out.read_bytes() == found


def test_votes_of_others_stay_in_the_file(out):
    others = [
        Vote("a", "base", "tuned", "first", "ann", "human"),
        Vote("a", "base", "few_shot", "first", "scripted", "machine", key="x"),
        Vote("z", "base", "tuned", "first", "scripted", "machine", key="x"),
        Vote("a", "base", "tuned", "second", "composite", "machine", key="x"),
    ]
    out.parent.mkdir()
    write_votes(out, others)
    votes = judged(Scripted(longer), out)
    assert set(read_votes(out).votes) == {*others, *votes}


def test_a_judge_is_not_a_person(out):
    out.parent.mkdir()
    out.write_text(vote_line(Vote("a", "base", "tuned", "first", "scripted", "human")))
    with pytest.raises(SettingError, match="'scripted' is a person here"):
        judged(Scripted(longer), out)


def test_two_models_and_each_conversation_once(out):
    with pytest.raises(SettingError, match="compared with itself"):
        judge_pairs(Scripted(longer), ITEMS, BASE, BASE, ("base", "base"), out)
    with pytest.raises(DataError, match="'a' comes twice"):
        judged(Scripted(longer), out, [ITEMS[0], ITEMS[0]])


def test_no_conversations_are_no_votes(out):
    assert judged(Scripted(longer), out, []) == []


def test_an_endpoint_judges_pairs(out):
    """One that always says A: every pair contradicts itself."""
    with chat_server(lambda *_: (200, {}, says("A"))) as (url, asked):
        votes = judged(endpoint(url, "wise"), out)
    assert len(asked) == 4
    assert [v.winner for v in votes] == ["first"] * 4 + ["tie"] * 2
    assert {v.rater for v in votes} == {"wise"}


def test_the_composite_prefers_the_higher_score_whatever_the_order(out):
    words = Composite(lambda _, answer: len(answer.text.split()) / 10, "words", band=0.1)
    votes = winners(judged(words, out))
    assert votes["a", "base"] == "tie", "a difference of the band itself"
    assert (votes["b", "base"], votes["b", "tuned"]) == ("first", "second")


def test_the_helpfulness_score_is_a_judge(out):
    """An echo against an answer; another weight is another judge, and asks again."""
    a, b = answers(*[HONEY * 5] * 3), answers(*["They dry the nectar of flowers, and keep it in cells of wax."] * 3)
    judges = [by_helpfulness(ITEMS, {}), by_helpfulness(ITEMS, {}, WEIGHTS | {"clarity": 9.0})]
    for judge in judges:
        votes = winners(judged(judge, out, a=a, b=b))
        assert set(votes.values()) == {"first", "second"}
        assert votes["a", "base"] == "second"
    assert len({judge.version for judge in judges}) == 2


def test_an_answer_without_a_score_has_no_verdict(out):
    votes = judged(Composite(lambda *_: None, "nothing"), out)
    assert [v.winner for v in votes] == [None] * 4 + ["tie"] * 2
    assert "no score" in votes[0].note


def test_nothing_but_votes_is_left_behind(out):
    judged(Scripted(longer), out)
    assert os.listdir(out.parent) == [Path(out).name]
