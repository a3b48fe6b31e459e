"""The pile of notebook 05 holds what it says, and a build accounts for all of it."""

import json

import pytest

from helptune.data.conversation import parse_conversation
from helptune.data.decontaminate import hash_curated, index_sets, matches
from helptune.data.filters import FILTERS
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Decontamination, Recipe, Safety, SourceSpec
from helptune.toys.messy import KEPT, SOUND, fates, messy, write_messy

OF_FORM = {"personal data", "another model's voice", "chat markup", "other language", "stuck in a loop", "says nothing",
           "rated low", "cut off"}  # fmt: skip


@pytest.fixture(scope="module")
def pile():
    return messy()


def conversations(pile, fault):
    return [parse_conversation(json.loads(planted.line)) for planted in pile if planted.fault == fault]


def faults(conversation):
    return [name for name, test in FILTERS.items() if test(conversation)]


def test_the_pile_is_the_same_each_time_and_no_id_comes_twice(pile):
    assert messy() == pile
    ids = [planted.id for planted in pile if planted.id]
    assert len(set(ids)) == len(ids)


def test_sound_conversations_pass_every_filter(pile):
    assert [c.id for c in conversations(pile, SOUND) if faults(c)] == []


@pytest.mark.parametrize("fault", sorted(OF_FORM))
def test_a_written_fault_is_the_only_one_its_conversation_has(pile, fault):
    """Two filters may see it; a street address is seen by none."""
    unseen = [c.reference for c in conversations(pile, fault) if not faults(c)]
    assert all("14 Quarry Lane" in text for text in unseen)


def test_what_should_leave_later_passes_the_filters(pile):
    others = {planted.fault for planted in pile if planted.id} - OF_FORM
    assert [c.id for fault in others for c in conversations(pile, fault) if faults(c)] == []


def test_wrapped_evaluation_prompts_match_and_reworded_ones_do_not(pile):
    index = index_sets([hash_curated()])
    assert all(matches(c, index) for c in conversations(pile, "evaluation prompt"))
    assert not any(matches(c, index) for c in conversations(pile, "reworded evaluation prompt"))


def test_every_planted_line_has_a_fate(pile, tmp_path):
    write_messy(tmp_path / "pile.jsonl", pile)
    recipe = Recipe(
        "pile",
        (SourceSpec("messages", path="pile.jsonl"),),
        decontamination=Decontamination(on_match="drop"),
        safety=Safety("none"),
    )
    build(recipe, tmp_path, tmp_path / "out", workers=1)
    counts = fates(tmp_path / "out", pile)
    assert sum(counts.values()) == len(pile)
    assert counts["exact copy", "exact_duplicate"] == 12
    assert counts["copy, one word changed", "near_duplicate"] == 12
    assert counts["copy, every 6th word changed", KEPT] == 6
    assert counts["broken line", "malformed"] == 4
