"""How like their references the answers of a model are, over the whole set and in the figures that papers quote."""

from collections.abc import Mapping, Sequence

from helptune.data.conversation import Conversation
from helptune.evaluate.answers import Answer
from helptune.evaluate.overlap import corpus_overlap
from helptune.evaluate.statistics.estimate import Estimate
from helptune.experiment.comparison_table import Figures
from helptune.experiment.evidence import MODELS


def likeness(heldout: Sequence[Conversation], answers: Mapping[str, Mapping[str, Answer]]) -> Figures:
    """Corpus BLEU and chrF of each model that has answers, with how many answers they are about."""
    table = []
    for model, own in answers.items():
        about = [c for c in heldout if c.id in own]
        found = corpus_overlap([own[c.id].text for c in about], [c.reference for c in about])
        table.append([MODELS.get(model, model), str(len(about)), _told(found["bleu"]), _told(found["chrf"])])
    note = (
        "Corpus scores from 0 to 100 by sacrebleu's defaults, with 95% intervals over prompts drawn anew. Counted over "
        "all answers together, so they are not the means of BLEU and chrF above."
    )
    return Figures(["model", "answers", "BLEU", "chrF"], table, note, "eval/heldout.jsonl and the answers beside it")


def _told(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"{estimate.value:.1f} ({estimate.low:.1f}–{estimate.high:.1f})"
