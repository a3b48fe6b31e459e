"""Balance: caps hold, proportions hold to within one record, and one more record changes next to nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.data.balance import KEPT, OVER_CELL, OVER_SOURCE, OVER_WEIGHT, Pool, Rules, choose, quotas
from helptune.errors import DataError, SettingError

SOURCES, CATEGORIES, LEVELS = ("a", "b", "c"), ("code", "facts", ""), ("easy", "hard", "")
RECORD = st.tuples(st.sampled_from(SOURCES), st.sampled_from(CATEGORIES), st.sampled_from(LEVELS), st.integers(0, 4))
RECORDS = st.lists(RECORD, min_size=1, max_size=60)
WEIGHTS = st.fixed_dictionaries({name: st.floats(0.05, 5) for name in SOURCES})
CAPS = st.one_of(st.none(), st.integers(0, 8))
SEEDS = st.integers(0, 3)


def pool(records, order=None):
    """Record i is called r<i>, wherever it stands."""
    order = range(len(records)) if order is None else order
    columns = [[records[i][k] for i in order] for k in range(4)]
    return Pool([f"r{i}" for i in order], *columns[:3], quality=np.array(columns[3], float))


def kept(p, rules):
    return {id for id, v in zip(p.ids, choose(p, rules), strict=True) if v == KEPT}


@given(RECORDS, CAPS, st.dictionaries(st.sampled_from(SOURCES), st.integers(0, 8)), SEEDS)
def test_caps_hold_and_are_used_up(records, cell_cap, source_caps, seed):
    p = pool(records)
    verdict = choose(p, Rules(cell_cap=cell_cap, source_caps=source_caps, seed=seed))
    cells = list(zip(p.categories, p.difficulties, strict=True))
    after_cells = Counter(c for c, v in zip(cells, verdict, strict=True) if v != OVER_CELL)
    assert after_cells == {
        c: k for c, n in Counter(cells).items() if (k := n if cell_cap is None else min(n, cell_cap))
    }
    left = Counter(s for s, v in zip(p.sources, verdict, strict=True) if v != OVER_CELL)
    last = Counter(s for s, v in zip(p.sources, verdict, strict=True) if v == KEPT)
    assert last == {s: k for s, n in left.items() if (k := min(n, source_caps.get(s, n)))}
    assert OVER_WEIGHT not in verdict


@given(st.dictionaries(st.sampled_from(SOURCES), st.integers(1, 500), min_size=1), WEIGHTS)
def test_sources_come_in_their_proportions_within_one_record(have, weights):
    weights = {name: weights[name] for name in have}
    got = quotas(have, weights)
    total = sum(got.values())
    for name, n in got.items():
        assert abs(n - total * weights[name] / sum(weights.values())) < 1 + 1e-6
        assert n <= have[name]


@given(st.dictionaries(st.sampled_from(SOURCES), st.integers(1, 500), min_size=1), WEIGHTS)
def test_the_total_is_the_largest_that_no_source_is_too_small_for(have, weights):
    weights = {name: weights[name] for name in have}
    total = sum(quotas(have, weights).values())
    bound = min(n * sum(weights.values()) / weights[name] for name, n in have.items())
    assert bound - 1 - 1e-6 <= total <= bound + 1e-6
    for size in (0, 1, total // 2, total):
        if size <= total:
            got = quotas(have, weights, size)
            assert sum(got.values()) == size
            assert all(n <= have[name] for name, n in got.items())
    with pytest.raises(SettingError, match=f"at most {total:,}"):
        quotas(have, weights, total + 1)


@given(RECORDS, WEIGHTS, CAPS, SEEDS, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_makes_no_difference(records, weights, cell_cap, seed, best_first, rng):
    order = list(range(len(records)))
    rng.shuffle(order)
    weights = {name: weights[name] for name in {r[0] for r in records}}
    rules = Rules(cell_cap=cell_cap, weights=weights if cell_cap is None else None, seed=seed, best_first=best_first)
    assert kept(pool(records), rules) == kept(pool(records, order), rules)


@given(RECORDS, RECORD, SEEDS)
def test_another_record_moves_at_most_one_out(records, another, seed):
    rules = Rules(cell_cap=3, seed=seed)
    before, after = kept(pool(records), rules), kept(pool([*records, another]), rules)
    assert len(before - after) <= 1
    assert after - before <= {f"r{len(records)}"}


@given(RECORDS, RECORD, WEIGHTS, SEEDS)
def test_another_record_of_a_source_does_not_reshuffle_the_others(records, another, weights, seed):
    """What is kept of each of them before and after begins alike: one is part of the other."""
    records = [*records, *((name, "code", "easy", 1) for name in SOURCES)]
    rules = Rules(weights=weights, seed=seed)
    more = [*records, another]
    before, after = kept(pool(records), rules), kept(pool(more), rules)
    for name in set(SOURCES) - {another[0]}:
        of = {f"r{i}" for i, r in enumerate(more) if r[0] == name}
        assert before & of <= after & of or after & of <= before & of


@given(RECORDS, st.integers(1, 20))
def test_best_first_keeps_none_that_is_worse_than_one_left_out(records, cap):
    p = pool([("a", *r[1:]) for r in records])
    verdict = choose(p, Rules(source_caps={"a": cap}, best_first=True))
    out = p.quality[verdict == OVER_SOURCE]
    assert not out.size or p.quality[verdict == KEPT].min() >= out.max()


def test_the_unrated_come_after_the_rated():
    p = replace(pool([("a", "", "", 0)] * 4), quality=np.array([np.nan, 0.1, np.nan, 0.9]))
    assert kept(p, Rules(source_caps={"a": 2}, best_first=True)) == {"r1", "r3"}


def test_a_seed_gives_one_choice_and_another_seed_another():
    p = pool([("a", "code", "easy", 0)] * 100)
    choices = [kept(p, Rules(source_caps={"a": 50}, seed=seed)) for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]
    assert 15 < len(choices[0] & choices[2]) < 35


@pytest.mark.parametrize(
    ("weights", "size", "error", "says"),
    [
        ({"a": 1}, None, DataError, "'b' has no weight"),
        ({"a": 1, "b": -1}, None, SettingError, "-1"),
        ({"a": 1, "b": float("nan")}, None, SettingError, "nan"),
        ({"a": 0, "b": 0}, None, SettingError, "all weights are 0"),
        ({"a": 1, "b": 1, "z": 1}, None, DataError, "'z' has a weight and no record"),
        ({"a": 1, "b": 1}, 50, SettingError, "source 'b' has 2; at most 4"),
    ],
)
def test_weights_that_cannot_be_followed_are_an_error(weights, size, error, says):
    with pytest.raises(error, match=says):
        quotas({"a": 10, "b": 2}, weights, size)


def test_an_id_that_comes_twice_is_an_error():
    p = pool([("a", "", "", 0)] * 3)
    with pytest.raises(DataError, match="'r1' comes twice"):
        choose(replace(p, ids=["r1", "r0", "r1"]), Rules())


def test_what_is_missing_for_a_rule_is_said():
    p = replace(pool([("a", "", "", 0)]), quality=None)
    with pytest.raises(SettingError, match="best_first needs"):
        choose(p, Rules(best_first=True))
    with pytest.raises(SettingError, match="give weights too"):
        choose(p, Rules(size=3))
