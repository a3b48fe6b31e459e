"""Parity: our forward pass on the real weights against the reference implementation of Gemma's authors, in float32.

A loss that looks right proves little (`test_gemma_mistakes.py`); equality with the reference, layer by layer, proves
much. The text is longer than the sliding window, so that local layers really forget something.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from gemma_golden import DEPTHS, GOLDEN_TOLERANCE, first_layers, hidden_states, relative_difference

import helptune.data.curated
from helptune.gemma.layers import rms_norm
from helptune.gemma.model import logits
from helptune.gemma.reference import reference_states
from helptune.gemma.tokenizer import BOS

pytestmark = pytest.mark.real

TOKENS = 640
LOGITS_TOLERANCE = 5e-4  # of logits that reach 47; 1.2e-4 measured


@pytest.fixture(scope="module")
def ids(tokenizer):
    """The first conversations of each curated file, joined and cut."""
    folder = Path(helptune.data.curated.__path__[0]) / "train"
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()[:3]]
    text = "\n\n".join(message["content"] for line in lines for message in json.loads(line)["messages"])
    return [BOS, *tokenizer.encode(text)][:TOKENS]


@pytest.fixture(scope="module")
def reference(real_base, ids):
    return reference_states(real_base, ids)


def test_the_file_holds_268_098_176_parameters(real_base):
    assert sum(leaf.size for leaf in jax.tree.leaves(real_base)) == real_base.config.parameters == 268_098_176


def test_logits_equal_the_reference_implementation(real_base, ids, reference):
    """All positions, compared in blocks: 640 x 262,144 scores of two models would not fit a small machine."""
    assert len(ids) == TOKENS > real_base.config.window
    ours, worst = hidden_states(real_base, ids), 0.0
    for start in range(0, TOKENS, 128):
        block = slice(start, start + 128)
        theirs = jnp.einsum("TD,VD->TV", reference.hidden[block], real_base.embedding)
        worst = max(worst, float(jnp.abs(logits(real_base, ours[block]) - theirs).max()))
    last = float(jnp.abs(logits(real_base, ours[-1]) - reference.last).max())
    print(f"\nlargest difference of a logit: {worst:.2e} over {TOKENS} positions, {last:.2e} at the last")
    assert max(worst, last) < LOGITS_TOLERANCE


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_layer_equals_the_reference_implementation(real_base, ids, reference, depth):
    """Our cut model ends with the final norm, so theirs gets it too."""
    ours = hidden_states(first_layers(real_base, depth), ids)
    theirs = rms_norm(reference.blocks[depth - 1], real_base.final_norm)
    difference = relative_difference(ours, theirs)
    print(f"\nafter {depth} layers: relative difference {difference:.1e}")
    assert difference < GOLDEN_TOLERANCE
