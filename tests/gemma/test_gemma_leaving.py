"""Rows that have stopped leave the batch: the others never notice, and their steps cost less."""

from dataclasses import replace

import jax
import pytest

from helptune.adapt.adapters import init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import mixed, rack_of
from helptune.gemma import generate as station
from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.gemma.generate import generate, generate_until
from helptune.gemma.sampling import GREEDY

NEW = 12
BRIEF = replace(GREEDY, max_new_tokens=NEW)


def gemma(generation):
    """A model with a stop token that it never says."""
    return init_base(replace(tiny(generation), turn_end=-1), jax.random.key(0), "float32")


@pytest.fixture(scope="module", params=[1, 3], ids=["gemma1", "gemma3"])
def either(request):
    return gemma(request.param)


@pytest.fixture(scope="module")
def base():
    return gemma(3)


@pytest.fixture
def sizes(monkeypatch):
    """How many rows each step computes."""
    seen, step = [], station._decode

    def decode(base, adapter, cache, token, *rest):
        seen.append(len(token))
        return step(base, adapter, cache, token, *rest)

    monkeypatch.setattr(station, "_decode", decode)
    return seen


MANY = [[2, *range(3, 3 + n % 7), 20 + n] for n in range(19)]


@pytest.mark.parametrize("sampling", [BRIEF, replace(BRIEF, temperature=1.0), replace(BRIEF, repetition_penalty=1.3)])
@pytest.mark.parametrize("left", [1, 7, 12])
def test_rows_that_have_stopped_leave_the_batch_and_the_others_do_not_notice(either, sizes, sampling, left):
    """Every size is a program: a batch is halved, and not below eight rows."""
    whole = generate(either, MANY, sampling)
    assert set(sizes) == {len(MANY)}
    sizes.clear()
    cut = generate_until(either, MANY, lambda row, tokens: row >= left and len(tokens) == 2, sampling)
    assert cut[:left] == whole[:left]
    assert [one.tokens for one in cut[left:]] == [one.tokens[:2] for one in whole[left:]]
    assert sizes == [19, *[8 if left <= 8 else 19] * (NEW - 2)]


def test_a_batch_is_halved_as_often_as_what_runs_allows(base, sizes):
    generate_until(base, MANY, lambda row, tokens: len(tokens) > row // 3, BRIEF)
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) == {19, 10, 8}


def test_each_row_keeps_its_adapter_when_others_leave(base):
    """The mixed batch remembers, by row, whose features it takes."""
    config = LoraConfig(rank=2)
    keys = jax.random.split(jax.random.key(5))
    named = {
        name: (
            jax.tree.map(lambda x, k=key: jax.random.normal(k, x.shape), init_adapters(config, base.config, key)),
            config,
        )
        for name, key in zip("ab", keys, strict=True)
    }
    names = ["a", "base", "b"] * 6 + ["a"]
    adapter = mixed(rack_of(named, base.config, base.dtype), names)
    whole = generate(base, MANY, BRIEF, adapter)
    cut = generate_until(base, MANY, lambda row, tokens: row % 5 != 0 and len(tokens) == 2, BRIEF, adapter)
    assert cut[::5] == whole[::5]
    assert len({whole[i].tokens for i in (0, 5, 10)}) == 3
