"""A GGUF file, the format of llama.cpp: quantized tensors, dequantized as they are read, and the tokenizer inside."""

from pathlib import Path

import numpy as np

from helptune.errors import WeightsError
from helptune.gemma.stored import Box, Stored
from helptune.gemma.tokenizer import model_proto

_ROWS_AT_A_TIME = 16_384


def open_gguf(path: Path):
    """The file's index; its tensors stay on disk until read. Raises WeightsError for a truncated or foreign file."""
    import gguf

    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # the reader fails in many ways on a damaged file; all of them mean the same to a user
        raise WeightsError(
            f"{path}: not a complete GGUF file ({type(error).__name__}: {error}); fetch it again"
        ) from error


def gguf_tensors(reader) -> dict[str, Stored]:
    """Every tensor of an opened GGUF file by name, as float32."""
    return {tensor.name: _stored(tensor) for tensor in reader.tensors}


def gguf_tokenizer(reader) -> bytes:
    """The SentencePiece model inside an opened GGUF file."""
    try:
        fields = [reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores", "token_type")]
    except KeyError as error:
        raise WeightsError(f"{reader.data.filename}: no tokenizer inside (metadata {error} is missing)") from error
    return model_proto(*fields)


def _stored(tensor) -> Stored:
    import gguf

    shape = tuple(int(length) for length in reversed(tensor.shape))

    def read(box: Box) -> np.ndarray:
        rows = tensor.data[box[0]]
        values = np.empty((len(rows), *shape[1:]), np.float32)
        for start in range(0, len(rows), _ROWS_AT_A_TIME):  # the intermediate copies of dequantizing stay small
            part = slice(start, start + _ROWS_AT_A_TIME)
            values[part] = gguf.dequantize(rows[part], tensor.tensor_type)
        return values[(slice(None), *box[1:])]

    return Stored(shape, "float32", read, sample=lambda: tensor.data[:1].tobytes())
