"""The whole evaluation, start to finish: did it help, is it still safe, what can it still do, is it consistent?

Every part leaves its rows in the run's `eval/` and is skipped when they are there and were made from the same models,
questions and answers; so the same command continues after any interruption. What is to be measured, and what would
count as success, is written down before anything is measured.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from helptune.data.conversation import Conversation, load_curated, read_conversations, write_conversations
from helptune.data.safety import find
from helptune.errors import ContextError, DataError, RunError
from helptune.evaluate.answers import Answer, chat_prompt
from helptune.evaluate.capability.measure import Item, measure_capability, shipped_items
from helptune.evaluate.consistency import MAX_NEW_TOKENS, measure_consistency, rounds
from helptune.evaluate.failures.counts import with_failures
from helptune.evaluate.failures.detectors import Case, checked
from helptune.evaluate.helpfulness import checked_answer, own_text
from helptune.evaluate.likelihood import Likelihood, Pair, likelihoods
from helptune.evaluate.quality import measure_quality
from helptune.evaluate.safety.prompts import safety_prompts
from helptune.evaluate.safety.rows import measure_safety
from helptune.evaluate.safety.screen import measured_error
from helptune.evaluate.sets import load_groups
from helptune.evaluate.table import ROWS, Problem, Row, parse_row, write_rows
from helptune.experiment.checks import checks_of
from helptune.experiment.cost import Asked as Step
from helptune.experiment.cost import compare as compare_costs
from helptune.experiment.environment import environment
from helptune.experiment.evidence import FEW_SHOT, HELDOUT
from helptune.experiment.findings import COST, SCREEN, VOTES, Findings, read_findings, write_findings
from helptune.experiment.heed import heed_stop
from helptune.experiment.protocol import write_protocol
from helptune.experiment.subject import Subject, subject_of_models, subject_of_run
from helptune.files import write_text, write_whole
from helptune.gemma.model import Adapter
from helptune.lock import working_alone
from helptune.train.stop import withdraw_stop

VERSION = 2
"""Of what is measured and how: rows of another version are made again."""
SAFETY_TOKENS = 48
"""New tokens of an answer to a safety prompt: whether it complies shows by then."""

MEASURES = {"version": VERSION, "tokens": {"safety prompts": SAFETY_TOKENS, "consistency groups": MAX_NEW_TOKENS}}
"""What decides how the sets are measured, beside the rule of answering."""


@dataclass(frozen=True)
class Asked:
    """What the user chose: files of votes, the stage 1 classifier, and whether to measure full fine-tuning too."""

    votes: tuple[Path, ...] = ()
    classifier: str = "probe"
    cost: bool = True


type Measured = tuple[list[Row], list[Problem]]


def evaluate(subject: Subject, heldout: Sequence[Conversation], folder: Path, asked: Asked) -> Findings:
    """Measure every model of `subject`, write `folder`'s rows, problems, votes and costs, and what they show.

    Raises DataError, SettingError, WeightsError or RunError before any work is lost, Interrupted where it was asked to
    stop.
    """
    classifier, votes = find(asked.classifier), [_bytes(path) for path in asked.votes]
    groups, prompts, checks, items = load_groups(), safety_prompts(), checks_of(heldout), shipped_items()
    if both := {c.id for c in prompts} & {c.id for c in heldout}:
        raise DataError(f"held-out conversation {min(both)!r} has the id of a safety prompt: give it another one")
    references = reference_pairs(subject, heldout)  # what does not fit is found before any work
    sets = {"held-out conversations": heldout, "checks": checks, "safety prompts": prompts, "capability items": items,
            "consistency groups": groups}  # fmt: skip
    write_protocol(folder, subject, classifier, sets, MEASURES)
    parts = _Parts(folder, subject.folder)
    answers = subject.answer(heldout, folder)
    helpful = parts.measure("helpful", [heldout, answers, checks], lambda: measure_quality(heldout, answers, checks))
    losses = parts.measure(
        "references", [subject.identity, heldout], lambda: reference_losses(subject, heldout, references)
    )
    to_prompts = subject.answer(prompts, folder / "safety", max_new_tokens=SAFETY_TOKENS)
    together = {model: to_prompts[model] | answers[model] for model in answers}
    safety = parts.measure(
        "safety",
        [prompts, heldout, together, classifier.name, classifier.version, asdict(classifier.thresholds)],
        lambda: measure_safety([*prompts, *heldout], together, classifier),
    )
    capability = parts.measure("capability", [subject.identity, items], lambda: (capabilities(subject, items), []))
    same = consistency_answers(subject, groups, folder)
    consistency = parts.measure("consistency", [groups, same], lambda: measure_consistency(groups, same))
    rows = with_failures(with_losses(helpful[0], losses[0]), cases(heldout, answers, checks, safety[0]))
    everything = [helpful, safety, capability, consistency]
    rows += [row for part in everything[1:] for row in part[0]]
    if asked.cost and subject.embedded:
        parts.cost(folder / COST)
    error = measured_error(classifier)
    if error is not None:
        write_text(folder / SCREEN, json.dumps(asdict(error), indent=2) + "\n")
    else:
        (folder / SCREEN).unlink(missing_ok=True)
    write_rows(folder, rows, [problem for part in [*everything, losses] for problem in part[1]])
    if votes:
        write_whole(folder / VOTES, lambda part: part.write_bytes(b"".join(votes)))
    found = read_findings(folder)
    write_findings(folder, found)
    return found


def _bytes(path: Path) -> bytes:
    """A file of votes as it is, damaged lines included: they are told where votes are counted."""
    try:
        found = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return found if found.endswith(b"\n") or not found else found + b"\n"


def reference_losses(subject: Subject, heldout: Sequence[Conversation], pairs: Sequence[Pair]) -> Measured:
    """Mean nats per token of each reference after its chat prompt; the few-shot base, which sees none, is left out."""
    rows, problems = list[Row](), list[Problem]()
    for model in subject.models:
        if model == FEW_SHOT:
            continue
        found = likelihoods(subject.base, subject.tokenizer, pairs, subject.adapter(model), f"references: {model}")
        for c, one in zip(heldout, found, strict=True):
            known = math.isfinite(one.logprob)
            rows.append(Row("references", c.id, model, {"nll": -one.logprob / one.tokens if known else None}))
            if not known:
                problems.append(Problem("helpful", c.id, "the loss of its reference is not finite", model))
    return rows, problems


def reference_pairs(subject: Subject, heldout: Sequence[Conversation]) -> list[Pair]:
    """Each chat prompt with its reference. Raises ContextError for a reference that does not fit after its prompt."""
    config, encode = subject.base.config, subject.tokenizer.encode
    pairs: list[Pair] = [
        (chat_prompt(c, config, subject.tokenizer), [*encode(c.reference), config.turn_end]) for c in heldout
    ]
    for c, (prompt, reference) in zip(heldout, pairs, strict=True):
        if len(prompt) + len(reference) > config.context:
            raise ContextError(
                f"conversation {c.id!r}: its prompt of {len(prompt)} tokens and reference of {len(reference)} exceed "
                f"the context of {config.context}: shorten it, or leave it out"
            )
    return pairs


def with_losses(rows: Sequence[Row], losses: Sequence[Row]) -> list[Row]:
    """The rows of the helpful part with the loss of their reference beside what they have."""
    nll = {(row.model, row.item): row.metrics["nll"] for row in losses}
    return [replace(row, metrics={**row.metrics, "nll": nll.get((row.model, row.item))}) for row in rows]


def capabilities(subject: Subject, items: Sequence[Item]) -> list[Row]:
    """Of the base and each adapter: the few-shot base has the same weights and is asked the same plain texts."""
    rows = []
    for model in subject.models:
        if model != FEW_SHOT:
            score = partial(_likelihoods, subject, subject.adapter(model), f"capability: {model}")
            rows += measure_capability(model, subject.tokenizer, score, items)
    return rows


def _likelihoods(subject: Subject, adapter: Adapter | None, desc: str, pairs: Sequence[Pair]) -> list[Likelihood]:
    return likelihoods(subject.base, subject.tokenizer, pairs, adapter, desc)


def consistency_answers(subject: Subject, groups: Sequence[Any], folder: Path) -> dict[str, dict[str, Answer]]:
    """Model -> id -> answer of all rounds: greedily in every wording, and the originals sampled with each seed."""
    found: dict[str, dict[str, Answer]] = {model: {} for model in subject.models}
    for i, part in enumerate(rounds(groups)):
        answers = subject.answer(
            part.conversations, folder / f"consistency-{i}", max_new_tokens=MAX_NEW_TOKENS,
            temperature=part.temperature, seed=part.seed,
        )  # fmt: skip
        for model, own in answers.items():
            found[model] |= own
    return found


def cases(
    heldout: Sequence[Conversation],
    answers: Mapping[str, Mapping[str, Answer]],
    checks: Mapping[str, Any],
    safety: Sequence[Row],
) -> dict[tuple[str, str], Case]:
    """What the detectors of failures look at, by model and item."""
    unsafe = {(row.model, row.item): row.metrics["unsafe"] for row in safety}
    found = {}
    for model, given in answers.items():
        for c in heldout:
            if c.id in given:
                answer, verdict = given[c.id], unsafe.get((model, c.id))
                outcomes = checked_answer(answer, checks.get(c.id, ()), own_text(c, answer))
                kinds = [(one.check.kind, one.passed) for one in outcomes]
                found[model, c.id] = checked(c, answer, kinds, None if verdict is None else bool(verdict))
    return found


class _Parts:
    """Rows of finished parts, each in a file with the hash of what it was made from, and how long each took.

    Between two of them a request to stop, in the directory `run`, is heeded.
    """

    def __init__(self, folder: Path, run: Path):
        self.folder, self.run = folder / "parts", run

    def measure(self, name: str, made_from: Sequence[Any], work: Callable[[], Measured]) -> Measured:
        """What `work` gives, or what it gave when it was made from the same."""
        key = hashlib.sha256(json.dumps([VERSION, *made_from], default=_plain, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{name}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == key:
                return [parse_row(row) for row in kept["rows"]], [Problem(**one) for one in kept["problems"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, of another time, or damaged: it is made again
        rows, problems = self.timed(name, work)
        kept = {"key": key, "rows": [asdict(row) for row in rows], "problems": [asdict(one) for one in problems]}
        write_text(path, json.dumps(kept, ensure_ascii=False) + "\n")
        return rows, problems

    def cost(self, path: Path) -> None:
        """Measure a step of LoRA and of full fine-tuning, once on a machine and for a version of the packages."""
        step, here = Step(steps=2), environment()
        here.pop("date", None)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["asked"] == asdict(step) and all(
                kept["environment"].get(name) == value for name, value in here.items()
            ):
                return
        except (OSError, ValueError, KeyError, AttributeError):
            pass  # not there, or damaged
        self.timed("cost", lambda: write_text(path, json.dumps(compare_costs(step), indent=2) + "\n"))

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        heed_stop(self.run)
        started = time.perf_counter()
        result = work()
        path = self.folder.parent / "evaluation_seconds.json"
        try:
            seconds = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):  # not there yet, or damaged: it says how long, and decides nothing
            seconds = {}
        seconds[name] = round(time.perf_counter() - started, 1)
        write_text(path, json.dumps(seconds, indent=2) + "\n")
        return result


def _plain(value: Any) -> Any:
    return asdict(value)


def evaluate_run(run: Path, asked: Asked) -> Findings:
    """Evaluate a finished run in its own `eval/`, and write its report anew."""
    from helptune.experiment.report import write_report

    if not (run / "eval" / "summary.json").exists():
        raise RunError(f"{run}: not a finished run; `helptune finetune --run {run}` finishes it")
    with working_alone(run):
        withdraw_stop(run)
        found = evaluate(subject_of_run(run), list(read_conversations(run / HELDOUT)), run / "eval", asked)
        write_report(run)
    return found


def told_again(run: Path) -> None:
    """`evaluation.json` and the report anew, where there are any: after a machine has voted, say."""
    from helptune.experiment.report import REPORT, write_report

    if (run / "eval" / ROWS).exists():
        write_findings(run / "eval", read_findings(run / "eval"))
        if (run / REPORT).exists():
            write_report(run)


def evaluate_models(
    out: Path, adapter: Path | None, model: str | None, checkpoint: str, precision: str, asked: Asked
) -> Findings:
    """Evaluate a base and adapters over it that are not of a run, on the curated held-out set, in `out`/eval."""
    folder = out / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    with working_alone(out):
        withdraw_stop(out)
        heldout = load_curated("heldout")
        write_conversations(out / HELDOUT, heldout)
        subject = subject_of_models(out, adapter, model, checkpoint, precision)
        return evaluate(subject, heldout, folder, asked)
