"""Text to token ids and back: Gemma's SentencePiece model, from a `tokenizer.model` file or from inside a GGUF file.

Kudo and Richardson 2018, arXiv:1808.06226. Control tokens (`<bos>`, `<start_of_turn>`, ...) stay typed as control,
which SentencePiece never matches in text: they enter only by id, so no user text can forge a turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from helptune.errors import DataError, WeightsError

PAD, EOS, BOS, UNK = 0, 1, 2, 3
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6
_TURN_TOKENS = ("<start_of_turn>", "<end_of_turn>")


@dataclass(frozen=True)
class Tokenizer:
    """A loaded SentencePiece model. `encode` never adds special tokens; `chat` does, by id."""

    processor: sentencepiece.SentencePieceProcessor

    @property
    def vocab(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Raises DataError for a text that is not valid Unicode, as a JSON file can hold."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"a text has half of a character at position {error.start} ({error.reason})") from error
        return self.processor.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.processor.decode([int(i) for i in ids])

    def piece(self, token: int) -> str:
        """The token as it is written in the vocabulary, for pictures."""
        return self.processor.id_to_piece(int(token))


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Read a `tokenizer.model`. Raises WeightsError when it is missing or not a SentencePiece model.

    The published ones type the turn tokens as user-defined, which text would match; here they are control tokens.
    """
    processor = sentencepiece.SentencePieceProcessor()
    try:
        data = Path(path).read_bytes()
        processor.LoadFromSerializedProto(data)  # the constructor would take an empty file silently
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: not a readable SentencePiece tokenizer.model ({error}); fetch the file of this model again"
        ) from error
    turns = [processor.piece_to_id(piece) for piece in _TURN_TOKENS]
    if open_to_text := [token for token in turns if token != UNK and not processor.is_control(token)]:
        processor.LoadFromSerializedProto(_as_control(data, open_to_text))
    return Tokenizer(processor)


def _as_control(data: bytes, tokens: Sequence[int]) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(data)
    for token in tokens:
        proto.pieces[token].type = _CONTROL
    return proto.SerializeToString()


def model_proto(pieces: Sequence[str], scores: Sequence[float], types: Sequence[int]) -> bytes:
    """A `tokenizer.model` from the vocabulary that a GGUF file carries in its metadata.

    Repairs: user-defined pieces are stored there with literal spaces, SentencePiece writes them as U+2581; the turn
    tokens are made control tokens whatever the file says, and `<unk>` is typed as unknown.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    for index, (piece, score, kind) in enumerate(zip(pieces, scores, types, strict=True)):
        if kind == _USER_DEFINED:
            piece = piece.replace(" ", "▁")
        if index == UNK or piece in _TURN_TOKENS:
            kind = _UNKNOWN if index == UNK else _CONTROL
        proto.pieces.add(piece=piece, score=float(score), type=int(kind))
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type, trainer.vocab_size = trainer.BPE, len(pieces)
    trainer.byte_fallback = any(kind == _BYTE for kind in types)
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = PAD, EOS, BOS, UNK
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = pieces[:4]
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    return proto.SerializeToString()
