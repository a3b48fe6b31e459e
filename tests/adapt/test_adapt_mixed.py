"""Laws of mixing: a batch of the base and several adapters is each of them alone, and a new one compiles nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import empty_rack, hang, mixed, rack_of, side_by_side
from helptune.errors import AdapterError
from helptune.gemma.generate import generate
from helptune.gemma.model import forward
from helptune.gemma.sampling import Sampling

CONFIGS = {
    "plain": LoraConfig(rank=4, alpha=8.0),
    "narrow": LoraConfig(rank=2, alpha=6.0, sites=("q", "down")),
    "stable": LoraConfig(rank=4, alpha=4.0, rank_stabilized=True),
    "values": LoraConfig(rank=3, alpha=3.0, sites=("v", "o")),
}
ORDER = ["stable", "base", "narrow", "plain", "values", "plain"]


@pytest.fixture
def named(tiny_base, trained):
    return {name: (trained(c, tiny_base.config, seed), c) for seed, (name, c) in enumerate(CONFIGS.items())}


def batch(rows):
    tokens = jax.random.randint(jax.random.key(1), (rows, 12), 3, 512)
    return tokens, jnp.broadcast_to(jnp.arange(12), (rows, 12)), jnp.ones((rows, 12), jnp.int32)


def alone(name, named):
    return None if name == "base" else attach(*named[name])


def test_a_batch_of_the_base_and_four_adapters_equals_each_alone(tiny_base, named):
    rack = rack_of(named, tiny_base.config, jnp.float32)
    together = forward(tiny_base, *batch(len(ORDER)), mixed(rack, ORDER))[0]
    for row, name in enumerate(ORDER):
        text = (leaf[row : row + 1] for leaf in batch(len(ORDER)))
        np.testing.assert_allclose(
            together[row : row + 1], forward(tiny_base, *text, alone(name, named))[0], rtol=2e-4, atol=2e-4
        )


def test_a_row_of_the_base_has_the_bits_of_the_base(tiny_base, named):
    rack = rack_of(named, tiny_base.config, jnp.float32)
    text = batch(4)
    run = jax.jit(forward, compiler_options={"xla_backend_optimization_level": 3})  # as it is compiled for people
    np.testing.assert_array_equal(run(tiny_base, *text, mixed(rack, ["base"] * 4))[0], run(tiny_base, *text)[0])


def test_answers_written_side_by_side_are_those_written_alone(tiny_base, named):
    rack, prompts = rack_of(named, tiny_base.config, jnp.float32), [[2, 7 + i, 30 + i] for i in range(len(ORDER))]
    brief = Sampling(max_new_tokens=8, ignore_stops=True)
    together = generate(tiny_base, prompts, brief, mixed(rack, ORDER))
    for name, prompt, completion in zip(ORDER, prompts, together, strict=True):
        assert generate(tiny_base, [prompt], brief, alone(name, named)) == [completion]


def test_another_adapter_another_name_and_another_order_compile_nothing(tiny_base, named):
    compiled = []

    @jax.jit
    def hidden(base, text, adapter):
        compiled.append(1)
        return forward(base, *text, adapter)[0]

    rack = empty_rack(tiny_base.config, size=4, rank=4, dtype=jnp.float32)
    first = hidden(tiny_base, batch(3), mixed(rack, ["base"] * 3))
    for name in named:
        rack = hang(rack, name, *named[name])
        changed = hidden(tiny_base, batch(3), mixed(rack, [name, "base", name]))
        np.testing.assert_array_equal(changed[1], first[1])
        assert not np.array_equal(changed[0], first[0])
    assert len(compiled) == 1


def test_an_adapter_hung_up_again_replaces_the_older_one_whole(tiny_base, named):
    """A narrow one leaves nothing behind of the wide one whose place it takes."""
    rack = empty_rack(tiny_base.config, 2, 4, jnp.float32)
    once = hang(rack, "it", *named["narrow"])
    twice = hang(hang(rack, "it", *named["plain"]), "it", *named["narrow"])
    jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_adapters_side_by_side_give_each_its_own_gradient(tiny_base, trained):
    config = CONFIGS["plain"]
    pair = [trained(config, tiny_base.config, seed) for seed in (3, 4)]
    text = batch(2)

    def squares(adapter, text):
        return jnp.sum(forward(tiny_base, *text, adapter)[0] ** 2)

    together = jax.grad(lambda pair: squares(side_by_side(pair, config, np.array([1, 2])), text))(pair)
    for row in (0, 1):
        own = [leaf[row : row + 1] for leaf in text]
        expected = jax.grad(lambda one, own=own: squares(attach(one, config), own))(pair[row])
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
        jax.tree.map(
            lambda a, b, s=scale: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * s), together[row], expected
        )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda rack, named: mixed(hang(rack, "a", *named["plain"]), ["b"]), "adapter 'b' is not one of base, a"),
        (
            lambda rack, named: hang(rack, "a", named["plain"][0], LoraConfig(rank=8)),
            "has rank 8, this rack holds up to 4",
        ),
        (lambda rack, named: hang(rack, "base", *named["plain"]), "'base' is what the base itself is called"),
        (lambda rack, named: hang(rack, "a", {}, BottleneckConfig(4)), "'a' is a bottleneck: only LoRA"),
        (
            lambda rack, named: hang(hang(rack, "a", *named["plain"]), "b", *named["plain"]),
            "adapter 'b' finds no place: a fill this rack of 1",
        ),
    ],
    ids=["unknown", "rank", "base", "bottleneck", "full"],
)
def test_what_does_not_fit_the_rack_is_refused(tiny_base, named, act, message):
    with pytest.raises(AdapterError, match=message):
        act(empty_rack(tiny_base.config, 1, 4), named)
