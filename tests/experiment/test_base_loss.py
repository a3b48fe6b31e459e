"""The base model's loss on an answer, in batches of padded rows, is that of one conversation at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.difficulty import shipped_losses
from helptune.errors import ContextError
from helptune.experiment import base_loss
from helptune.experiment.base_loss import answer_losses
from helptune.gemma.model import forward
from helptune.gemma.tokenizer import BOS

pytestmark = pytest.mark.real


def test_it_is_the_mean_over_the_answers_tokens_whatever_stands_beside_it(real_base, tokenizer):
    chosen = [c for c in load_curated("heldout") if len(c.messages) == 2][:60:20]
    found = answer_losses(chosen, "float32")
    for conversation in chosen:
        asked, answered = (m.content for m in conversation.messages)
        head = [BOS, *tokenizer.encode(f"User: {asked}\nAssistant:")]
        ids = jnp.array([[*head, *tokenizer.encode(f" {answered}")]])
        hidden, _ = forward(real_base, ids, jnp.arange(ids.shape[1])[None], jnp.ones_like(ids))
        logp = jax.nn.log_softmax(hidden[0] @ jnp.asarray(real_base.embedding).T)
        nll = -logp[jnp.arange(ids.shape[1] - 1), ids[0, 1:]]
        assert found[conversation.id] == pytest.approx(float(np.mean(nll[len(head) - 1 :])), abs=2e-3)


def test_the_shipped_losses_are_these():
    chosen = load_curated("heldout")[::54]
    shipped = shipped_losses()
    for id, loss in answer_losses(chosen).items():
        assert loss == pytest.approx(shipped[id], abs=0.02)


def test_a_prompt_that_fills_the_context_is_named():
    long = Conversation("long", "t", "l", (Message("user", "word " * 40_000), Message("assistant", "no")))
    with pytest.raises(ContextError, match="long: its"):
        answer_losses([long])


def test_its_memory_does_not_grow_with_the_answers(real_base):
    """Full logits of one answer of 3,072 tokens would take 3 GiB, twice."""

    def temporaries(rows, tokens, answer):
        shapes = [jax.ShapeDtypeStruct((rows, size), jnp.int32) for size in (tokens, tokens, answer, answer)]
        return base_loss._nll.lower(real_base, *shapes).compile().memory_analysis().temp_size_in_bytes / 2**30

    short, long = (temporaries(1, 3_136, answer) for answer in (64, 3_072))
    assert long < short + 0.1


@pytest.mark.parametrize(("longest", "rows"), [(1, 8), (3_072, 8), (3_073, 7), (12_000, 2), (32_768, 1)])
def test_long_texts_stand_beside_fewer_others(longest, rows):
    assert base_loss._rows(longest) == rows
