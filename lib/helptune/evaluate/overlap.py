"""Likeness to a reference: BLEU, chrF and ROUGE, by the libraries whose figures others quote.

BLEU (Papineni et al. 2002) and chrF (Popović 2015) by sacrebleu, ROUGE (Lin 2004) by rouge-score. For one answer all
are shares of 1. Over a whole set BLEU is not the mean of its answers: n-grams are counted over the corpus (Post 2018),
so its interval draws whole items anew and counts again.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import bootstrap

_ROUGE = ("rouge1", "rouge2", "rougeL")


def overlap(text: str, reference: str) -> dict[str, float]:
    """{"bleu", "chrf", "rouge1", "rouge2", "rougeL"} of one answer; ROUGE is its F1, with Porter's stems.

    Sentence BLEU uses the effective order and exponential smoothing, sacrebleu's defaults for a sentence.
    """
    found = _rouge().score(reference, text)
    return {
        "bleu": _bleu(True).sentence_score(text, [reference]).score / 100,
        "chrf": _chrf().sentence_score(text, [reference]).score / 100,
        **{name: found[name].fmeasure for name in _ROUGE},
    }


def corpus_overlap(
    texts: Sequence[str], references: Sequence[str], clusters: Sequence[str] | None = None, seed: int = 0
) -> Mapping[str, Estimate]:
    """Corpus BLEU and chrF (0 to 100, as papers quote them), with bootstrap intervals over clusters."""
    found = {}
    for name, metric in (("bleu", _bleu(False)), ("chrf", _chrf())):
        if not texts:
            found[name] = Estimate(None, why="nothing was observed")
            continue
        # What sacrebleu itself resamples: the counts of each segment, from which a corpus score is made.
        counts = np.array(metric._extract_corpus_statistics(list(texts), [list(references)]), float)

        def score(*columns: np.ndarray, metric: Any = metric) -> float:
            return float(metric._compute_score_from_stats([sum(column) for column in columns]).score)

        found[name] = bootstrap(score, list(counts.T), clusters, resamples=1000, seed=seed)
    return found


@cache
def _bleu(sentence: bool) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=sentence)


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(_ROUGE), use_stemmer=True)
