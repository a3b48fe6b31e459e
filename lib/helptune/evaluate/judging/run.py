"""A judge on the answers of a run: what `helptune evaluate judge` does."""

from collections.abc import Sequence
from pathlib import Path

from helptune.data.conversation import Conversation, read_conversations
from helptune.errors import RunError
from helptune.evaluate.answers import Answer, read_answers
from helptune.evaluate.judging.judge import Judge
from helptune.evaluate.judging.pairs import judge_pairs
from helptune.evaluate.judging.report import JudgeReport, judge_report
from helptune.evaluate.votes import Vote

HELDOUT, VOTES = "heldout.jsonl", "judge_votes.jsonl"
"""Their names in a run's `eval/`; the votes of all judges and pairs are in one file."""


def judge_run(
    run: Path,
    judge: Judge,
    a: str = "base",
    b: str = "tuned",
    human_votes: Sequence[Vote] = (),
    *,
    own: str = "",
    out: Path | None = None,
) -> JudgeReport:
    """`judge_pairs` on the answers of models `a` and `b` in `run`/eval, and `judge_report` on the votes.

    Votes go to eval/judge_votes.jsonl, or `out`. Raises RunError where the run has no answers of a model, and as these
    two do.
    """
    folder, conversations = run / "eval", heldout_of(run)
    of_a, of_b = answers_of(folder, a), answers_of(folder, b)
    votes = judge_pairs(judge, conversations, of_a, of_b, (a, b), out or folder / VOTES)
    return judge_report(votes, a, b, human_votes, own=own)


def heldout_of(run: Path) -> list[Conversation]:
    """The conversations that a run was measured on. Raises RunError where it has none."""
    path = run / "eval" / HELDOUT
    if not path.is_file():
        raise RunError(f"{path}: is not there; `helptune finetune` writes it, and the answers beside it")
    return list(read_conversations(path))


def answers_of(folder: Path, model: str) -> dict[str, Answer]:
    """By id, of one model in a run's `eval/`. Raises RunError where it has none."""
    path = folder / f"{model}.jsonl"
    if path.parent != folder or not path.is_file():
        raise RunError(f"{path}: no answers of {model!r} in this run; base, few_shot and tuned are the usual ones")
    return {answer.id: answer for answer in read_answers(path)}
