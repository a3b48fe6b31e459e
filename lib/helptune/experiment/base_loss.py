"""How surprised the base model is by the answers of conversations: one of the signs of a difficult request."""

from collections.abc import Iterable

from tqdm import tqdm

from helptune.data.conversation import Conversation
from helptune.evaluate.answers import transcript
from helptune.evaluate.score import score_text
from helptune.experiment.models import Source


def answer_losses(conversations: Iterable[Conversation], precision: str = "float32") -> dict[str, float]:
    """id -> nats per token of the last answer under the embedded base, after the others as a plain transcript.

    A base model knows transcripts and has seen no chat format; rounded to four decimals.
    """
    source = Source()
    base, tokenizer = source.base(precision), source.tokenizer(precision)
    found = {}
    for conversation in tqdm(list(conversations), desc="base loss", unit=" conversations"):
        asked = f"{transcript(conversation.prompt)}Assistant:"
        nll = score_text(base, tokenizer, f"{asked} {conversation.reference}")
        found[conversation.id] = round(float(nll[len(tokenizer.encode(asked)) :].mean()), 4)
    return found
