"""Two models of a run side by side, with all votes on them, for whoever wants to look: as LLM Comparator reads them.

A figure says how often an answer was preferred, and not what it is like. So prompts, answers and votes go into one
file, with category and difficulty as tags (Kahng et al. 2024, arXiv:2402.10524).
"""

from dataclasses import dataclass
from pathlib import Path

from helptune.data.conversation import Conversation
from helptune.errors import RunError, SettingError
from helptune.evaluate.comparator import SideBySide, write_comparator
from helptune.evaluate.judging.rubric import request_text
from helptune.evaluate.judging.run import answers_of, heldout_of
from helptune.evaluate.table import Problem
from helptune.experiment.findings import votes_about


@dataclass(frozen=True)
class Exported:
    """How many prompts and votes the file holds; `problems` are missing answers, and votes that do not count."""

    prompts: int
    votes: int
    problems: tuple[Problem, ...] = ()


def export_sides(run: Path, out: Path, a: str = "base", b: str = "tuned") -> Exported:
    """Write the prompts of `run` that both models answered, people's votes on the two, and machines'.

    Raises SettingError where `out` exists or `a` is `b`, RunError where the run has no answers of a model.
    """
    if out.exists():
        raise SettingError(f"{out}: exists; name a new file, or remove this one first")
    if a == b:
        raise SettingError(f"--a and --b both name {a!r}; two different models are set side by side")
    folder, conversations = run / "eval", heldout_of(run)
    of_a, of_b = answers_of(folder, a), answers_of(folder, b)
    both = [c for c in conversations if c.id in of_a and c.id in of_b]
    if not both:
        raise RunError(f"{folder}: no held-out prompt has an answer of {a} and one of {b}; `helptune evaluate` asks")
    missing = [
        Problem("helpful", c.id, f"{c.id}: the answer is missing", model)
        for c in conversations
        for model, own in ((a, of_a), (b, of_b))
        if c.id not in own
    ]
    models = {path.stem for path in folder.glob("*.jsonl")}  # whoever may have been voted on, other files beside
    votes = votes_about(folder, models, {c.id for c in both})
    sides = [SideBySide(c.id, request_text(c.prompt), of_a[c.id].text, of_b[c.id].text, _tags(c)) for c in both]
    write_comparator(out, (a, b), sides, votes)
    counted = sum({vote.first, vote.second} == {a, b} for vote in votes.votes)
    return Exported(len(sides), counted, (*missing, *votes.problems))


def _tags(conversation: Conversation) -> tuple[str, ...]:
    """None for what a conversation of another source does not say."""
    return tuple(tag for tag in (conversation.category, conversation.difficulty) if tag)
