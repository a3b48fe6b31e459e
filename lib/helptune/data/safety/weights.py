"""Weights of a small classifier on disk: arrays as npz without pickle, and beside them JSON that a person can read.

The JSON holds the settings, the thresholds and the checksum of the arrays. Reading checks all of it before anything is
computed: a file that is cut short, altered, or holds Python objects is refused.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.safety.classifier import Thresholds
from helptune.errors import WeightsError
from helptune.files import write_text, write_whole

SHIPPED = Path(__file__).parent / "weights"
_MAX_BYTES = 256 * 2**20
"""Of all arrays together, unpacked: these classifiers are small, and a zip file can claim anything."""


def write_weights(folder: Path, name: str, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """`name.npz` and `name.json`; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{key: arrays[key] for key in sorted(arrays)})
    data = buffer.getvalue()
    write_whole(folder / f"{name}.npz", lambda part: part.write_bytes(data))
    text = json.dumps({**record, "sha256": hashlib.sha256(data).hexdigest()}, indent=1, ensure_ascii=False)
    write_text(folder / f"{name}.json", text + "\n")


def read_weights(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the record of `write_weights`.

    Raises WeightsError for files that are missing, damaged, do not fit each other, or hold anything but numbers.
    """
    path = folder / f"{name}.npz"
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        data = path.read_bytes()
        if not isinstance(record, dict) or record.get("sha256") != hashlib.sha256(data).hexdigest():
            raise ValueError(f"its checksum is not the one in {name}.json")
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(member.file_size for member in packed.infolist()) > _MAX_BYTES:
                raise ValueError(f"it unpacks to more than {_MAX_BYTES >> 20} MiB")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, RecursionError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path}: damaged or altered ({error}); install helptune again, or train the classifier again"
        ) from error
    for key, values in arrays.items():
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise WeightsError(f"{path}: array {key!r} holds something else than finite numbers; train it again")
    return arrays, record


def read_thresholds(record: Mapping[str, Any], path: Path) -> Thresholds:
    try:
        return Thresholds(**{name: float(value) for name, value in record["thresholds"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: 'thresholds' is damaged ({error}); train the classifier again") from error
