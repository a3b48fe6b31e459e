"""Every pair of answers before a judge, in both orders, and its verdicts as votes in a file that grows as they come.

A judge costs time or money, so no verdict is lost: each is a line of the file as soon as it is there, and is found
again by the hash of what the judge was shown. What has no verdict is a null vote that says why, and the next call asks
for it again.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import batched
from pathlib import Path
from queue import Queue
from threading import Thread

from tqdm import tqdm

from helptune.data.conversation import Conversation
from helptune.errors import DataError, Interrupted, SettingError
from helptune.evaluate.answers import Answer
from helptune.evaluate.judging.judge import Judge, Question, Verdict, question_key
from helptune.evaluate.judging.rubric import kept
from helptune.evaluate.votes import Vote, answers_hash, parse_vote, vote_line, write_votes
from helptune.lock import working_alone
from helptune.train.stop import stop_signals

GIVE_UP = 8
"""Questions in a row that got no answer at all, after which the judge is asked no more."""

_Place = tuple[str, str, str]


def judge_pairs(
    judge: Judge,
    conversations: Sequence[Conversation],
    answers_a: Mapping[str, Answer],
    answers_b: Mapping[str, Answer],
    names: tuple[str, str],
    out: Path,
) -> list[Vote]:
    """Two votes a conversation, first with `names[0]` in front and then with `names[1]`. Answers are found by its id.

    Where an answer is missing there is nothing to judge, and both votes are null; two answers of the same text are a
    tie that needs no judge. Votes in `out` that this judge gave to these very texts are taken from it, its others on
    this pair and these items are replaced, and everything else in the file stays.

    Raises DataError for a file with a line that is no vote, SettingError where the judge cannot be used at all, and
    Interrupted when the user stops it; votes until then are in the file.
    """
    a, b = names
    if a == b:
        raise SettingError(f"{a!r} is compared with itself: name two models")
    if repeated := [item for item, count in Counter(c.id for c in conversations).items() if count > 1]:
        raise DataError(f"conversation {repeated[0]!r} comes twice; a vote names its conversation by the id alone")
    questions, votes = dict[_Place, Question](), dict[_Place, Vote]()
    for conversation in conversations:
        given = {a: answers_a.get(conversation.id), b: answers_b.get(conversation.id)}
        for first, second in ((a, b), (b, a)):
            place = (conversation.id, first, second)
            one, other = given[first], given[second]
            if one is None or other is None:
                absent = " and ".join(name for name in names if given[name] is None)
                votes[place] = _vote(judge, place, Verdict(None, f"nothing to judge: no answer by {absent}"))
            elif one.text == other.text:
                votes[place] = _vote(judge, place, Verdict("tie", "the two answers are the same"), one, other)
            else:
                questions[place] = Question(conversation, one, other)
    places = [(c.id, *order) for c in conversations for order in ((a, b), (b, a))]
    keys = {place: question_key(judge, question) for place, question in questions.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with working_alone(out.parent):
        found = _read(out, judge)
        usable = {p: v for v in found if (p := _place(v)) in keys and v.rater == judge.name and v.key == keys[p]}
        votes |= {place: vote for place, vote in usable.items() if vote.winner is not None}
        elsewhere = [vote for vote in found if vote.rater != judge.name or _place(vote) not in set(places)]
        write_votes(out, [*elsewhere, *(votes[place] for place in places if place in votes)])
        waiting = {place: question for place, question in questions.items() if place not in votes}
        with (
            out.open("a", encoding="utf-8") as file,
            tqdm(total=len(places), initial=len(votes), desc=f"{judge.name} judges", unit="vote") as bar,
        ):

            def record(place: _Place, verdict: Verdict) -> None:
                question = questions[place]
                votes[place] = _vote(judge, place, verdict, question.first, question.second, keys[place])
                file.write(vote_line(votes[place]))
                file.flush()
                bar.update()

            _ask(judge, waiting, record)
    return [votes[place] for place in places]


def _ask(judge: Judge, waiting: Mapping[_Place, Question], record: Callable[[_Place, Verdict], None]) -> None:
    """Each question once, some at the same time. Who stops it still gets the verdicts that are under way.

    The threads are daemons: who stops it twice does not wait for a server.
    """
    calls = batched(_by_length(waiting), judge.at_once)
    jobs, done = Queue[tuple[_Place, ...]](), Queue[tuple[tuple[_Place, ...], list[Verdict] | BaseException]]()

    def work() -> None:
        while places := jobs.get():
            try:
                done.put((places, judge.compare([waiting[place] for place in places])))
            except BaseException as error:
                done.put((places, error))

    for _ in range(judge.workers):
        Thread(target=work, daemon=True).start()
    running, silent, last, error = 0, 0, "", None
    with stop_signals() as stop:
        while True:
            while running < judge.workers and silent < GIVE_UP and not (error or stop.is_set()):
                if not (places := next(calls, ())):
                    break
                jobs.put(places)
                running += 1
            if not running:
                break
            places, found = done.get()
            running -= 1
            if isinstance(found, BaseException):
                error = error or found
                continue
            for place, verdict in zip(places, found, strict=True):
                silent, last = (silent + 1, verdict.reason) if verdict.silent else (0, "")
                record(place, verdict)
        stopped = stop.is_set()
    for _ in range(judge.workers):
        jobs.put(())
    if error:
        raise error
    if stopped:
        raise Interrupted("stopped; run the same command again to go on from the last vote")
    for place in (place for places in calls for place in places):
        record(place, Verdict(None, f"not asked: {GIVE_UP} questions in a row got no answer; the last: {last}"))


def _by_length(waiting: Mapping[_Place, Question]) -> Iterator[_Place]:
    """The long ones first, so that what runs side by side is alike; the two orders of a pair stay together."""
    return iter(sorted(waiting, key=lambda place: -len(waiting[place].first.text) - len(waiting[place].second.text)))


def _vote(
    judge: Judge,
    place: _Place,
    verdict: Verdict,
    one: Answer | None = None,
    other: Answer | None = None,
    key: str = "",
) -> Vote:
    """Beside the reason, the note of a null vote holds what the judge wrote instead of a verdict."""
    note = verdict.reason
    if verdict.winner is None and verdict.raw:
        note = f"{note}; it wrote: {verdict.raw}"
    item, first, second = place
    answers = answers_hash(one.text, other.text) if one and other else ""
    return Vote(item, first, second, verdict.winner, judge.name, "machine", kept(note), key, answers)


def _place(vote: Vote) -> _Place:
    return vote.item, vote.first, vote.second


def _read(path: Path, judge: Judge) -> list[Vote]:
    """The votes that are there. A last line that a kill cut short is left out; nothing else is."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    votes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            vote = parse_vote(json.loads(line))
        except (ValueError, RecursionError, DataError) as error:
            if number == len(lines):
                break
            raise DataError(
                f"{path}:{number}: {error}; mend or remove the line, or name another file for the votes"
            ) from error
        if vote.kind == "human" and vote.rater == judge.name:
            raise SettingError(f"{path}:{number}: {judge.name!r} is a person here; give the judge another name or file")
        votes.append(vote)
    return votes
