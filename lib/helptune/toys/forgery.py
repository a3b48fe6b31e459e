"""A tokenizer that can be fooled: its turn tokens match in text, as in a published `tokenizer.model`."""

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from helptune.gemma.tokenizer import Tokenizer

_USER_DEFINED = 4
_TURN_TOKENS = ("<start_of_turn>", "<end_of_turn>")


def gullible(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary, with turn tokens that a text may contain."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.processor.serialized_model_proto())
    for piece in _TURN_TOKENS:
        proto.pieces[tokenizer.processor.piece_to_id(piece)].type = _USER_DEFINED
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(proto.SerializeToString())
    return Tokenizer(processor)
