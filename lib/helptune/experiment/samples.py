"""Sample answers, written as a run trains: the same few prompts at every measurement, for whoever watches.

They say nothing a loss does not say better, but people read them: a loss of 2.4 is a number, an answer that begins to
end where it should is something learned.
"""

from collections.abc import Callable, Sequence

from helptune.adapt.adapters import AdapterConfig, Adapters, attach
from helptune.data.conversation import Conversation
from helptune.evaluate.answers import chat_prompt
from helptune.gemma.base import Base
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import Tokenizer

SAMPLES, NEW_TOKENS = 3, 48
"""How many answers, and of how many tokens at most: a few seconds for the embedded model on two cores."""

SAMPLE_IDS = ("facts-easy-10", "code-easy-10", "advice-easy-10")
"""Of the curated set: short questions that need nothing said before them."""


def sampler(
    base: Base,
    tokenizer: Tokenizer,
    held_back: Sequence[Conversation],
    method: AdapterConfig,
    repetition_penalty: float,
) -> Callable[[Adapters], list[dict]]:
    """adapters -> greedy answers to three held-back prompts, always the same, as `fit` logs them.

    Each is {"id", "prompt" (its last turn), "answer", "ended" (by itself, before the limit of new tokens)}.
    """
    prompts = {c.id: chat_prompt(c, base.config, tokenizer) for c in held_back}
    chosen = choose([c for c in held_back if len(prompts[c.id]) + NEW_TOKENS <= base.config.context])
    sampling = Sampling(max_new_tokens=NEW_TOKENS, repetition_penalty=repetition_penalty)

    def sample(adapters: Adapters) -> list[dict]:
        if not chosen:
            return []
        written = generate(base, [prompts[c.id] for c in chosen], sampling, attach(adapters, method))
        return [
            {
                "id": c.id,
                "prompt": c.prompt[-1].content,
                "answer": tokenizer.decode(completion.tokens).strip(),
                "ended": completion.ended,
            }
            for c, completion in zip(chosen, written, strict=True)
        ]

    return sample


def choose(held_back: Sequence[Conversation]) -> list[Conversation]:
    """Those of `SAMPLE_IDS`; of other data the first of each of three categories, or the first three without any."""
    if len(known := [c for c in held_back if c.id in SAMPLE_IDS]) == SAMPLES:
        return known
    first = {c.category or c.id: c for c in reversed(held_back)}
    return [c for c in held_back if first[c.category or c.id] is c][:SAMPLES]
