"""One submission's points, each with its reason.

The learner's process defines the answers; the checks here call them. All visible checks come first and the hidden
tests after them, so that nothing an answer was given by a hidden test can reach what its learner is shown.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from helptune.errors import RunError
from helptune.exercises.grade.key import Key, Question
from helptune.exercises.grade.look import ways_to_the_library
from helptune.exercises.grade.rebuild import Rebuilt
from helptune.exercises.grade.sandbox import Ended, Limits, Sandbox
from helptune.exercises.grade.trial import Found, StandIn, attempt, put_in, raised, undefined_name

RIGHT, WRONG, NOT_WRITTEN, MISSING, TO_BE_READ = "right", "wrong", "not written", "missing", "to be read"
NOT_GRADED = "not graded"
Start = Callable[[], Sandbox]


@dataclass
class Outcome:
    """Of one question. `text` is for the instructor; `told` is for the learner, and gives no hidden test away."""

    question: str
    title: str
    of: float
    status: str = RIGHT
    points: float = 0
    hint: str = ""
    text: str = ""
    told: str = ""
    hidden: bool = False
    seconds: float = 0
    flags: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    """What the learner wrote, to be shown beside."""

    def fail(self, status: str, found: Found, told: str | None = None) -> None:
        self.status, self.hint, self.text, self.points = status, found.hint, found.text, 0
        self.told = found.text if told is None else told


class Process:
    """The learner's process, started again, without the cell that ended it, as often as time allows."""

    def __init__(self, key: Key, answers: dict[str, str], start: Start, limits: Limits):
        self._steps = [(step.name, answers.get(step.name, "") if step.is_answer else step.source) for step in key.steps]
        self._start = start
        self._sandbox: Sandbox | None = None
        self._last = time.monotonic() + limits.total_seconds
        self._limits = limits
        self.failed: dict[str, dict[str, Any]] = {}
        """What cells raised."""
        self.ended: dict[str, Ended] = {}
        """What cells did to the process."""

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """A reply as worker.py tells them. Raises Ended."""
        return self._ask(self._running(), {"call": name, "args": list(args), "kwargs": kwargs})

    def _ask(self, sandbox: Sandbox, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return sandbox.ask(request, max(self._last - time.monotonic(), 0.1))
        except Ended:
            self.close()
            raise

    def _running(self) -> Sandbox:
        """All cells have run."""
        while self._sandbox is None:
            if time.monotonic() > self._last:
                limit = self._limits.total_seconds
                raise Ended("too_slow", f"was not reached: the notebook as a whole took longer than {limit:.3g} s")
            try:
                self._sandbox = self._start()
            except Ended as ended:
                raise RunError(f"the sandbox did not start: {ended}") from ended
            for name, source in self._steps:
                if name in self.ended or not source:
                    continue
                try:
                    reply = self._ask(self._sandbox, {"run": source, "name": name})
                except Ended as ended:
                    self.ended[name] = ended
                    break
                if isinstance(reply.get("raised"), dict):
                    self.failed[name] = reply["raised"]
        return self._sandbox

    def prepare(self) -> None:
        self._running()

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None


def mark(key: Key, built: Rebuilt, start: Start, limits: Limits) -> list[Outcome]:
    """An outcome for each question. Raises RunError when the sandbox cannot be started."""
    outcomes = [_before(question, key, built) for question in key.questions]
    open_ones = [(q, outcome) for q, outcome in zip(key.questions, outcomes, strict=True) if outcome.status == RIGHT]
    if not open_ones:
        return outcomes
    process = Process(key, built.answers, start, limits)
    try:
        tried = []
        for question, outcome in open_ones:
            namespace = dict(question.namespace)
            stand_ins = put_in(namespace, question.functions, process.call)
            tried.append((question, outcome, namespace, stand_ins))
            _try(question, outcome, question.visible, namespace, stand_ins, process)
        for question, outcome, namespace, stand_ins in tried:
            for part in question.hidden:
                if outcome.status == RIGHT:
                    _try(question, outcome, part, namespace, stand_ins, process)
                    outcome.hidden = outcome.status != RIGHT
    finally:
        process.close()
    for question, outcome in open_ones:
        _explain(question, outcome, key, built, process)
        outcome.points = outcome.of if outcome.status == RIGHT else 0
    return outcomes


def _before(question: Question, key: Key, built: Rebuilt) -> Outcome:
    """What can be said without running anything. RIGHT stands for: nothing is wrong so far."""
    outcome = Outcome(question.name, question.title, question.points)
    outcome.answers = [built.answers.get(name, "") for name in question.answers]
    lacking = [built.missing[name] for name in question.answers if name in built.missing]
    empty = [name for name in question.answers if _is_stub(built.answers.get(name, ""), key.stubs[name])]
    if lacking:
        outcome.fail(MISSING, Found("missing", built.reason or lacking[0]))
    elif empty:
        outcome.fail(NOT_WRITTEN, Found("not_written", "nothing is written here yet"))
    elif question.is_read_by_a_person:
        outcome.fail(TO_BE_READ, Found("", "read by a person"), "This answer is read by a person.")
    else:
        for name in question.answers:
            ways = ways_to_the_library(built.answers[name]) - ways_to_the_library(key.answers[name].source)
            if ways:
                text = f"the answer {', '.join(sorted(ways))}: it should do the work itself"
                outcome.fail(WRONG, Found("asks_the_library", text))
                outcome.flags.append("asks the library")
    return outcome


def _is_stub(source: str, stub: str) -> bool:
    return not source.strip() or source.split() == stub.split()


def _try(
    question: Question,
    outcome: Outcome,
    part: Any,
    namespace: dict[str, Any],
    stand_ins: list[StandIn],
    process: Process,
) -> None:
    started = time.monotonic()
    try:
        process.prepare()  # what its cells do to the process is not this question's
        found = attempt(part, namespace, stand_ins)
    except Ended as ended:
        found = Found(ended.hint, f"the answer {ended.text}")
        outcome.flags.append(f"stopped: {ended.hint}")
    if found:
        outcome.fail(NOT_WRITTEN if found.hint == "not_written" else WRONG, found)
    outcome.seconds += time.monotonic() - started


def _explain(question: Question, outcome: Outcome, key: Key, built: Rebuilt, process: Process) -> None:
    """The reason behind the reason; and of a hidden test only what stands in the checks word for word."""
    ended = [process.ended[name] for name in question.answers if name in process.ended]
    failed = [process.failed[name] for name in question.answers if name in process.failed]
    found = Found(outcome.hint, outcome.text)
    if outcome.status == RIGHT:
        return
    if ended:
        outcome.fail(WRONG, Found(ended[0].hint, f"the answer's cell {ended[0].text}"))
        outcome.flags.append(f"stopped: {ended[0].hint}")
    elif found.hint == "not_defined" and failed:
        found = Found("raised", f"the answer's cell raised {raised(failed[0])}")
        outcome.fail(WRONG, found)
    if (name := undefined_name(found)) and name in built.own_names:
        text = (
            f"the answer uses `{name}`, which is defined in a cell of your own. Grading runs the answer cells alone: "
            f"put what defines `{name}` into the answer"
        )
        outcome.fail(WRONG, Found("defined_elsewhere", text))
    if outcome.hidden:
        outcome.told = _of_hidden(outcome, key)


_HIDDEN_WORDS = {
    "wrong_value": "a value is not right",
    "wrong_shape": "a shape is not right",
    "wrong_structure": "the kind of result is not right",
    "not_numbers": "the result is not made of numbers",
    "not_data": "the result is of a kind that cannot be checked",
    "nan": "the result has NaN in it",
    "nothing_returned": "nothing is returned",
    "raised": "the answer raised an error",
    "too_slow": "the answer took too long, and was stopped",
    "too_much_memory": "the answer used too much memory, and was stopped",
    "ended": "the answer ended its own process, or crashed it",
    "not_written": "a part is not written yet",
    "defined_elsewhere": "the answer uses something that is defined in another cell: put it into the answer",
}


def _of_hidden(outcome: Outcome, key: Key) -> str:
    words = outcome.text if outcome.text in key.sentences else _HIDDEN_WORDS.get(outcome.hint, "it is not right")
    return f"In a case that you do not see: {words}."


def as_json(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    return [asdict(outcome) for outcome in outcomes]
