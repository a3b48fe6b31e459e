"""The difficulty pass: the base model's loss moves estimates and no labels, once, where it can be computed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mixtures import UNJUDGED, different_texts, messages_file

from helptune.data.conversation import DIFFICULTIES, load_curated, read_conversations
from helptune.data.filters import FILTERS
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Recipe, SourceSpec
from helptune.errors import DataError, Interrupted, SettingError


def test_with_the_base_models_loss_estimates_change_and_labels_stay(tmp_path):
    """The loss weighs something in the fit, so a surprising answer makes a request look harder than a likely one."""
    texts = [(c.messages[0].content, c.messages[1].content) for c in load_curated("train")[:60]]
    messages_file(tmp_path / "a.jsonl", texts[:40])
    messages_file(tmp_path / "b.jsonl", texts[40:], difficulty="easy")
    sources = tuple(SourceSpec("messages", id=n, path=f"{n}.jsonl") for n in "ab")
    recipe = Recipe("x", sources, safety=UNJUDGED, difficulty="loss")
    asked = []

    def mean_level(nats, name):
        def losses(conversations):
            asked.extend(c.id for c in conversations)
            return {c.id: nats for c in conversations}

        build(recipe, tmp_path, tmp_path / name, workers=1, losses=losses)
        kept = list(read_conversations(tmp_path / name / "train.jsonl"))
        assert {c.difficulty for c in kept if c.id.startswith("b")} == {"easy"}
        return np.mean([DIFFICULTIES.index(c.difficulty) for c in kept if c.id.startswith("a")])

    assert mean_level(0.5, "likely") != mean_level(6.0, "surprising")
    assert {id[0] for id in asked} == {"a"}
    with pytest.raises(SettingError, match="hand `losses`"):
        build(recipe, tmp_path, tmp_path / "nobody")


def test_a_loss_that_was_computed_before_a_stop_is_not_computed_again(tmp_path):
    different_texts(tmp_path / "a.jsonl", 20)
    different_texts(tmp_path / "b.jsonl", 40)
    sources = tuple(SourceSpec("messages", id=n, path=f"{n}.jsonl") for n in "ab")
    recipe, calls = Recipe("x", sources, safety=UNJUDGED, difficulty="loss"), []

    def losses(conversations):
        calls.append(len(conversations))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {c.id: 2.0 for c in conversations}

    with pytest.raises(Interrupted):
        build(recipe, tmp_path, tmp_path / "out", losses=losses)
    build(recipe, tmp_path, tmp_path / "out", losses=losses)
    assert calls == [20, 20, 20]  # the first 20 of b are those of a


def test_of_what_is_too_long_for_the_base_model_the_first_estimate_stays(tmp_path):
    """A hieroglyph is four bytes and as many tokens, and each turn has a speaker's name before it."""
    drawn = ("Read me these signs.", "\U00013000 " * 3_000)
    messages_file(tmp_path / "a.jsonl", [("Why is the sky blue?", "Air scatters blue light most."), drawn])
    turns = [{"role": ("user", "assistant")[i % 2], "content": f"{i}"} for i in range(800)]
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(json.dumps({"id": "a-2", "license": "MIT", "source": "s", "messages": turns}) + "\n")
    asked = []

    def losses(conversations):
        asked.extend(c.id for c in conversations)
        return {c.id: 2.0 for c in conversations}

    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED, difficulty="loss")
    build(replace(recipe, skip=tuple(FILTERS)), tmp_path, tmp_path / "out", workers=1, losses=losses)
    assert asked == ["a-0"]
    assert len(list(read_conversations(tmp_path / "out" / "train.jsonl"))) == 3


def test_when_nothing_is_left_nobody_computes_a_loss(tmp_path):
    (tmp_path / "a.jsonl").write_text("{\n")
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED, difficulty="loss")
    with pytest.raises(DataError, match="no conversation is left: malformed 1 of messages"):
        build(recipe, tmp_path, tmp_path / "out", workers=1, losses=lambda _: {})
