"""Parity with transformers: checkpoints it saved and what it computes from them, in `known/`; made anew where it is.

The folders in `known/` were written by `known/make_known.py` (the versions stand in `answers.st`), so this comparison
needs neither torch nor transformers. Where they are installed, models of other seeds are compared as well.
"""

import importlib.util
from pathlib import Path

import jax.numpy as jnp
import pytest
import safetensors.numpy
from gemma_golden import first_layers, relative_difference

from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.hf_config import config_of
from helptune.gemma.layers import rms_norm
from helptune.gemma.model import embed, forward, logits

KNOWN = Path(__file__).parent / "known"
MODELS = ["gemma1", "gemma1_shared_keys", "gemma3"]
TOLERANCE = 1e-6  # relative, for hidden states and logits; 2.0e-7 to 4.3e-7 measured


def compare(folder):
    """Largest relative difference over the embedding, every layer (with the final norm) and the logits."""
    base = load_checkpoint(folder, config_of(folder), "float32")
    answers = safetensors.numpy.load_file(folder / "answers.st")
    tokens = jnp.array(answers["tokens"], jnp.int32)
    embedding, *between, last = answers["hidden"]
    theirs = [rms_norm(h, base.final_norm) for h in map(jnp.asarray, between)] + [last]

    def final_hidden(base):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        return forward(base, tokens, positions, jnp.ones_like(tokens))[0]

    pairs = {f"layer {n}": (final_hidden(first_layers(base, n)), h) for n, h in enumerate(theirs, start=1)}
    pairs |= {"embedding": (embed(base, tokens), embedding)}
    pairs |= {"logits": (logits(base, final_hidden(base)), answers["logits"])}
    differences = {name: relative_difference(*pair) for name, pair in pairs.items()}
    print(f"\n{folder.name}: " + ", ".join(f"{name} {value:.1e}" for name, value in differences.items()))
    return max(differences.values())


@pytest.mark.parametrize("model", MODELS)
def test_a_folder_saved_by_transformers_gives_its_logits(model):
    assert compare(KNOWN / model) < TOLERANCE


@pytest.mark.parametrize("model", MODELS)
def test_models_of_other_seeds_give_the_logits_of_the_installed_transformers(model, tmp_path):
    for name in ("torch", "transformers"):
        pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location("make_known", KNOWN / "make_known.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for seed in (1, 2):
        maker.make(tmp_path / str(seed), model, seed)
        assert compare(tmp_path / str(seed)) < TOLERANCE
