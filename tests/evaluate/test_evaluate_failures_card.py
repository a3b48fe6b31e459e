"""The cards of the failures and of the safety prompts say what the files say."""

from pathlib import Path

from helptune.evaluate.failures.labelled import agreement, agreement_table, read_labelled
from helptune.evaluate.failures.taxonomy import CATEGORIES
from helptune.evaluate.safety.prompts import safety_prompts

CARDS = Path(__file__).parents[2] / "data_cards"
FAILURES, SAFETY = ((CARDS / f"{name}.md").read_text(encoding="utf-8") for name in ("failures", "safety_evaluation"))


def test_the_measured_agreement_is_that_of_the_detectors_as_they_are():
    assert agreement_table(agreement(read_labelled())) in FAILURES


def test_the_card_has_the_words_of_the_taxonomy():
    assert all(f"| `{name}` | {words} |" in FAILURES for name, words in CATEGORIES.items())


def test_the_card_lists_the_prompts_in_their_order():
    listed = SAFETY.split("## The prompts")[1].replace("\n", " ")
    for kind in ("unsafe", "contrast", "plain"):
        ids = [c.id for c in safety_prompts() if c.meta["kind"] == kind]
        assert f"{kind} ({len(ids)}): {', '.join(ids)}" in listed
