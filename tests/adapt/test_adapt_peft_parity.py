"""Parity with PEFT: the adapters in `known/` are our exports, the answers beside them what PEFT computes with them.

`make_peft_answers.py` wrote both (versions in `answers.st`), so this needs neither torch nor PEFT. Where they are
installed, adapters of other seeds are compared as well.
"""

import jax
import jax.numpy as jnp
import make_peft_answers as maker
import numpy as np
import pytest
import safetensors.numpy

from helptune.adapt.adapters import attach
from helptune.adapt.lora import LoraConfig
from helptune.adapt.merge import merge
from helptune.adapt.peft_format import PEFT_CONFIG, PEFT_WEIGHTS, read_peft
from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.hf_config import config_of
from helptune.gemma.model import forward, logits

TOLERANCE = 1e-5  # of logits up to 4.3 in size; 5.4e-6 measured


_forward = jax.jit(forward)


def scores(base, tokens, adapter=None):
    tokens = jnp.asarray(tokens, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return logits(base, _forward(base, tokens, positions, jnp.ones_like(tokens), adapter)[0])


def apart(folder, name, tokens, theirs):
    """Largest difference to PEFT's logits of the adapter in `folder`, beside the base and merged into it."""
    base = load_checkpoint(maker.BASES / name, config_of(maker.BASES / name), "float32")
    adapters, config = read_peft(folder, base.config)
    assert np.abs(scores(base, tokens) - theirs).max() > 0.1  # the adapter does something
    ours = scores(base, tokens, attach(adapters, config)), scores(merge(base, adapters, config, "float32").base, tokens)
    differences = [float(np.abs(mine - theirs).max()) for mine in ours]
    print(f"\n{name}: beside the base {differences[0]:.1e}, merged {differences[1]:.1e} of {np.abs(theirs).max():.1f}")
    return max(differences)


@pytest.mark.parametrize("name", maker.ADAPTERS)
def test_our_export_is_byte_for_byte_what_peft_has_loaded(name, tmp_path):
    maker.export(tmp_path, name)
    for file in (PEFT_WEIGHTS, PEFT_CONFIG):
        assert (tmp_path / file).read_bytes() == (maker.KNOWN / name / file).read_bytes()


@pytest.mark.parametrize("name", maker.ADAPTERS)
def test_what_peft_has_loaded_comes_back_bit_for_bit(name):
    model, expected = config_of(maker.BASES / name), LoraConfig(**maker.ADAPTERS[name])
    adapters, config = read_peft(maker.KNOWN / name, model)
    assert config == expected
    for site, pair in maker.seeded_adapters(expected, model).items():
        for part, values in pair.items():
            np.testing.assert_array_equal(adapters[site][part], values)


@pytest.mark.parametrize("name", maker.ADAPTERS)
def test_our_logits_are_those_of_peft(name):
    answers = safetensors.numpy.load_file(maker.KNOWN / name / "answers.st")
    assert apart(maker.KNOWN / name, name, answers["tokens"], answers["logits"]) < TOLERANCE


@pytest.mark.parametrize("name", maker.ADAPTERS)
def test_adapters_of_other_seeds_give_the_logits_of_the_installed_peft(name, tmp_path):
    for package in ("torch", "transformers", "peft"):
        pytest.importorskip(package)
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        maker.export(folder, name, seed)
        assert apart(folder, name, *maker.answer(folder, name)) < TOLERANCE
