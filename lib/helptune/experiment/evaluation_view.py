"""What an evaluation found, laid out to be read: as sections of the report, and as a table in the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from helptune import plots
from helptune.compare.engine import headline, sentences
from helptune.data.conversation import Conversation
from helptune.evaluate.answers import Answer
from helptune.evaluate.calibration import Calibration
from helptune.evaluate.claim import cautions, claim
from helptune.evaluate.consistency import VARIATIONS
from helptune.evaluate.failures.clusters import cluster
from helptune.evaluate.failures.counts import changes, counts, counts_by, unnamed, worst
from helptune.evaluate.failures.taxonomy import CATEGORIES
from helptune.evaluate.preference import Preference
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import clustered_proportion
from helptune.evaluate.table import Problem, Row
from helptune.experiment.comparison_table import ROWS_FILE, Figures, comparison_table, effects, p_value
from helptune.experiment.cost import METHODS
from helptune.experiment.evidence import MODELS, TUNED
from helptune.experiment.findings import Findings
from helptune.experiment.likeness import likeness
from helptune.text import printable

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN_PROBLEMS, _WORST = 20, 5


@dataclass(frozen=True)
class Example:
    """One answer that is shown, and why it was chosen."""

    id: str
    title: str
    prompt: str
    model: str
    label: str
    text: str
    why: str


@dataclass(frozen=True)
class Section:
    title: str
    words: Sequence[str] = ()
    picture: str = ""
    caption: str = ""
    file: str = ROWS_FILE
    tables: Sequence[Figures] = ()
    examples_title: str = ""
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class View:
    """What the template shows. `pictures` maps a name to what was drawn, and to the same in words."""

    sheet: Sequence[Any]
    compared: Sequence[Mapping[str, Any]]
    sections: Sequence[Section]
    problems: Sequence[Problem]
    problem_count: int
    written: str
    pictures: Mapping[str, Any] = field(default_factory=dict)


def view(
    found: Findings,
    heldout: Sequence[Conversation],
    answers: Mapping[str, Mapping[str, Answer]],
    protocols: Sequence[str],
) -> tuple[View, dict[str, tuple[Axes, str]]]:
    """The sections, and the pictures they name, still to be made into SVG. `protocols` are the dates of `protocol`."""
    pictures: dict[str, tuple[Axes, str]] = {}
    compared = []
    for one in found.compared:
        name = f"effects, {one.a}, {one.b}"
        pictures[name] = effects(one)
        compared.append(
            {
                "title": f"Did it help? {'The tuned model' if one.b == MODELS[TUNED] else one.b} against the {one.a}",
                "headline": headline(one),
                "sentences": sentences(one),
                "picture": name,
                "b": one.b,
                "table": comparison_table(one),
            }
        )
    sections = [_preference(found, pictures), _failures(found, heldout, answers, pictures)]
    words = ["A right answer in other words is unlike its reference: read these beside the rest, and not alone."]
    sections.append(Section("Likeness to the references", words, tables=[likeness(heldout, answers)]))
    sections += [_capability(found), _consistency(found), _cost(found)]
    shown = found.problems[:_SHOWN_PROBLEMS]
    made = View(
        found.sheet, compared, [one for one in sections if one], shown, len(found.problems), _written(protocols)
    )
    return made, pictures


def _written(protocols: Sequence[str]) -> str:
    """When it was decided what counts, and whether that changed."""
    if not protocols:
        return "When it was written down what counts as success is not known: the file is missing."
    *before, last = protocols
    said = f"What is measured, and what counts as success, was written down on {last}, before it was measured."
    if not before:
        return said
    times = "once" if len(before) == 1 else f"{len(before)} times"
    return f"{said} It had been written down otherwise {times} before, first on {before[0]}: read what changed."


def _preference(found: Findings, pictures: dict[str, tuple[Axes, str]]) -> Section | None:
    """Votes of people and of machines, side by side and never added up."""
    kinds = [*([found.people] if found.people else []), *found.machines]
    if not kinds:
        return None
    pictures["votes"] = (plots.win_rates(plots.blank(width=5.5, height=2.8), kinds), _votes_in_words(kinds))
    words = [sentence for one in kinds for sentence in (f"{claim(one).words}.", *cautions(one))]
    if found.calibration is not None:
        words.append(_calibrated(found.calibration))
    caption = "Win rate of the tuned model over the base. Votes of machines are not votes of people."
    return Section("Preference", words, "votes", caption, "eval/votes.jsonl")


def _calibrated(found: Calibration) -> str:
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in found.weights.items())
    return (
        f"The helpfulness score prefers what people do in {_share(found.before)} of decisive votes on {found.items} "
        f"prompts; with weights fitted to other prompts ({weights}) in {_share(found.after)}. No figure here uses them."
    )


def _votes_in_words(kinds: Sequence[Preference]) -> str:
    whose = {"human": "people", "machine": "machines"}
    return "; ".join(f"{whose[one.kind]}: {_share(one.win_rate)}, n = {one.judged}" for one in kinds)


def _failures(
    found: Findings,
    heldout: Sequence[Conversation],
    answers: Mapping[str, Mapping[str, Answer]],
    pictures: dict[str, tuple[Axes, str]],
) -> Section | None:
    rows = [row for row in found.rows if row.part == "helpful"]
    if not rows or TUNED not in found.models:
        return None
    shares = {model: counts(rows, model) for model in found.models}
    told = {
        name: ", ".join(f"{MODELS.get(model, model)} {_share(own[name])}" for model, own in shares.items())
        for name in shares[TUNED]
    }
    in_words = "; ".join(f"{_spelled(name)}: {said}" for name, said in told.items())
    pictures["failures"] = (plots.failure_shares(plots.blank(width=6.2, height=4.6), shares), in_words)
    p = {change.category: change.holm for change in changes(rows, "base", TUNED)}
    kinds = Figures(
        ["kind of failure", *(MODELS.get(m, m) for m in found.models), "base → tuned, p"],
        [
            [_spelled(name), *(_share(own[name]) for own in shares.values()), p_value(p.get(name))]
            for name in shares[TUNED]
        ],
        "An answer may fail in several ways; a detector for each, with measured error (data_cards/failures.md). "
        "p: McNemar, Holm over the kinds.",
    )
    by = [_by(rows, label) for label in ("category", "difficulty")]
    prompts = {c.id: c for c in heldout}
    shown = [_example(row, prompts, answers) for row in worst(rows, TUNED, _WORST) if row.item in prompts]
    words = ["The kinds of failure that have a name, and how often each was found in the answers of each model."]
    return Section(
        "Where does it fail?", [*words, *_unnamed(rows, answers)], "failures",
        "Share of answers in each kind, with 95% intervals.", ROWS_FILE, [kinds, *by],
        f"The {len(shown)} worst answers of the tuned model: the lowest helpfulness score, then the most kinds of "
        "failure, then the id", shown,
    )  # fmt: skip


def _by(rows: Sequence[Row], label: str) -> Figures:
    of = {model: counts_by(rows, model, label) for model in ("base", TUNED)}
    table = []
    for value, own in of[TUNED].items():
        before = of["base"].get(value, {})
        table.append([value or "(none)", *(_change(before, own, name) for name in CATEGORIES)])
    return Figures(
        [label, *map(_spelled, CATEGORIES)], table, f"Answers in each kind by {label}, base → tuned, in counts."
    )


def _change(before: Mapping[str, Estimate], after: Mapping[str, Estimate], name: str) -> str:
    def count(own: Mapping[str, Estimate]) -> str:
        one = own.get(name)
        return "–" if one is None or one.value is None else str(round(one.value * one.n))

    return f"{count(before)} → {count(after)}"


def _unnamed(rows: Sequence[Row], answers: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    left = [row for row in unnamed(rows, TUNED) if row.item in answers.get(TUNED, {})]
    if not left:
        return []
    groups = cluster([answers[TUNED][row.item].text for row in left])
    said = f"{len(left)} answers of the tuned model score below 0.5 and have no such kind."
    if groups:
        named = "; ".join(f"{printable(one.name)} ({len(one.members)})" for one in groups)
        said += f" Grouped by their words: {named}."
    return [said]


def _example(row: Row, prompts: Mapping[str, Conversation], answers: Mapping[str, Mapping[str, Answer]]) -> Example:
    c, score = prompts[row.item], row.metrics.get("helpfulness")
    failures = ", ".join(map(_spelled, row.failures)) or "no kind of failure found"
    return Example(
        row.item, c.category or "prompt", c.prompt[-1].content, row.model, MODELS.get(row.model, row.model),
        answers[row.model][row.item].text, f"helpfulness {score or 0:.2f}; {failures}",
    )  # fmt: skip


def _capability(found: Findings) -> Section | None:
    rows = [row for row in found.rows if row.part == "capability"]
    if not rows:
        return None
    models = [model for model in found.models if any(row.model == model for row in rows)]
    tasks = list(dict.fromkeys(row.labels["task"] for row in rows))
    table = []
    for task in tasks:
        about = [row for row in rows if row.labels["task"] == task]
        own = [[row.metrics["correct"] for row in about if row.model == model] for model in models]
        table.append([_spelled(task), str(len(own[0])), *(_share(clustered_proportion(one)) for one in own)])
    head = ["task", "items", *(MODELS.get(m, m) for m in models)]
    note = "Written for the project (data_cards/capability.md), asked as plain text, the same for every model."
    words = ["Small tasks that the base can partly do: what tuning must not take away. They are no public benchmark."]
    return Section("Capability", words, tables=[Figures(head, table, note)])


def _consistency(found: Findings) -> Section | None:
    own = {model: one for model, one in found.consistency.items() if one.pairs.value is not None}
    if not own:
        return None
    changed = [f"other {_spelled(variation)}" for variation in VARIATIONS]
    head = ["model", "pairs that agree", *changed, "all agree", "right"]
    table = []
    for model, one in own.items():
        shares = (one.pairs, *(one.by_variation[v] for v in VARIATIONS), one.unanimous, one.correct)
        table.append([MODELS.get(model, model), *map(_share, shares)])
    words = [
        "The same short question in other words, in another order, and sampled with another seed. An answer that does "
        "not end, or decides nothing, agrees with nothing. Consistent is not right: the last column tells that."
    ]
    return Section("Consistency", words, tables=[Figures(head, table, "Share with its 95% interval, over groups.")])


def _cost(found: Findings) -> Section | None:
    if not found.costs:
        return None
    table = [
        [row["what"], *(f"{row[way]:,.4g} {row['unit']}" for way in METHODS), f"{row['ratio']:.1%}", row["how"]]
        for row in found.costs
    ]
    head = ["", "LoRA", "full fine-tuning", "LoRA / full", "how known"]
    note = "One optimizer step of 4 x 256 tokens on this machine, twice after a first one."
    return Section("Cost against full fine-tuning", (), tables=[Figures(head, table, note, "eval/cost.json")])


def _share(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    interval = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:.0%}–{estimate.high:.0%})"
    return f"{estimate.value:.1%}{interval}"


def _spelled(name: str) -> str:
    return printable(name).replace("_", " ")


def terminal(found: Findings, console: "Console") -> None:
    """The sheet, and the headline of each comparison."""
    from rich.table import Table
    from rich.text import Text

    for one in found.compared:
        console.print(Text(printable(headline(one))))
    table = Table("acceptance of stage 2", "target", "measured", "")
    colours = {"met": "green", "not met": "red"}
    for c in found.sheet:
        status = Text(c.status, style=colours.get(c.status, "yellow"))
        table.add_row(*(Text(printable(cell)) for cell in (c.name, c.target, c.measured)), status)
    if found.sheet:
        console.print(table)
    if found.problems:
        console.print(
            Text(f"{len(found.problems)} problems, listed in problems.jsonl and in the report", style="yellow")
        )
