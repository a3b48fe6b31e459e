"""The estimate of difficulty: what it reads, that its coefficients are what a fit gives, and how far to trust it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.data.conversation import DIFFICULTIES, Conversation, Message, load_curated
from helptune.data.difficulty import (
    SHIPPED,
    agreement,
    compare,
    estimate,
    features,
    fit,
    load,
    refit,
    shipped_losses,
)
from helptune.errors import DataError

TRAIN, HELDOUT = load_curated("train"), load_curated("heldout")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def chat(asked, answer="Yes.", **labels):
    return Conversation("id", "test", "l", (Message("user", asked), Message("assistant", answer)), **labels)


def test_features_count_what_they_are_named_after():
    found = features(chat("Write at most 3 lines, without rhyme. Why?", "- a\n- b"), loss=2.5)
    assert found["prompt words"] == pytest.approx(np.log1p(8))
    assert found["prompt numbers"] == found["prompt questions"] == np.log1p(1)
    assert found["prompt sentences"] == pytest.approx(np.log1p(2))
    assert found["prompt constraints"] == pytest.approx(np.log1p(2))
    assert found["answer items"] == pytest.approx(np.log1p(2))
    assert (found["turns"], found["loss"]) == (1, 2.5)
    assert not any(name.startswith("category") for name in found)


@given(TEXT, TEXT)
def test_any_text_has_finite_features_and_probabilities_of_one(asked, answer):
    found = features(chat(asked, answer))
    assert np.isfinite(list(found.values())).all()
    assert load().probabilities(found).sum() == pytest.approx(1)


@pytest.mark.parametrize("with_loss", [False, True])
def test_the_shipped_coefficients_are_those_of_a_fit_on_the_current_training_set(with_loss):
    """When it has changed: `refit(losses)` with the losses of all curated conversations."""
    fitted, shipped = fit(TRAIN, shipped_losses() if with_loss else None), load(with_loss=with_loss)
    assert fitted.names == shipped.names
    for part in ("mean", "scale", "coefficients", "intercepts"):
        np.testing.assert_allclose(getattr(shipped, part), getattr(fitted, part), atol=2e-4)


def test_the_fit_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    model = fit(TRAIN, only=["prompt words", "turns"])
    x = np.array([[features(c)[name] for name in model.names] for c in TRAIN])
    theirs = LogisticRegression(C=0.3, max_iter=2_000, tol=1e-8)
    theirs.fit((x - x.mean(0)) / x.std(0), [DIFFICULTIES.index(c.difficulty) for c in TRAIN])
    expected = theirs.predict_proba((x - x.mean(0)) / x.std(0))
    np.testing.assert_allclose([model.probabilities(features(c)) for c in TRAIN], expected, atol=1e-9)


def test_on_heldout_conversations_it_agrees_better_than_chance_and_than_length_alone():
    found = compare(TRAIN, HELDOUT, shipped_losses())
    assert found["prompt words alone"].kappa < found["features"].kappa
    assert found["features, category unknown"].kappa > 0.4
    assert found["features"].accuracy > 0.55 > 1 / 3
    assert found["features and loss"].kappa > 0.4


def test_agreement_is_one_with_itself_and_none_without_information():
    model = fit(TRAIN)
    itself = [replace(c, difficulty=estimate(c)) for c in HELDOUT]
    assert agreement(model, itself).kappa == pytest.approx(1)
    nothing = fit([replace(c, messages=HELDOUT[0].messages) for c in TRAIN], only=["prompt words"])
    assert agreement(nothing, HELDOUT).kappa == 0


def test_an_unknown_category_counts_as_the_average_one():
    c, model = HELDOUT[0], load()
    average = features(c) | dict(zip(model.names, model.mean, strict=True))
    known = {name: value for name, value in features(c).items() if not name.startswith("category")}
    expected = {name: known.get(name, average[name]) for name in model.names}
    np.testing.assert_allclose(
        model.probabilities(features(replace(c, category=""))), model.probabilities(expected), atol=1e-12
    )


def test_a_longer_request_with_more_constraints_is_not_easier():
    easy = chat("What is the capital of Norway?", "Oslo.")
    hard = chat(
        "Plan a dinner for 6 people under 40 dollars, without nuts, using only one pot, with each step timed, and "
        "then rewrite it so that it also works for 12, but keep the cost of every dish between 5 and 9 dollars.",
        "1. Rice: 5 dollars, 20 minutes.\n2. Beans: 6 dollars, 40 minutes.\n3. Salad: 7 dollars, 10 minutes.",
    )
    assert DIFFICULTIES.index(estimate(easy)) < DIFFICULTIES.index(estimate(hard))


def test_refit_writes_what_load_reads_and_says_how_good_it_is(tmp_path, monkeypatch):
    path = tmp_path / "difficulty.json"
    found = refit(shipped_losses(), path)
    assert json.loads(path.read_text()).keys() == json.loads(SHIPPED.read_text()).keys()
    assert found["features"] == compare(TRAIN, HELDOUT)["features"]
    with pytest.raises(DataError, match=f"{TRAIN[0].id!r} has no loss"):
        refit({}, path)


def test_a_conversation_without_a_label_is_an_error():
    with pytest.raises(DataError, match="'id' has no difficulty"):
        fit([chat("Hi")])
