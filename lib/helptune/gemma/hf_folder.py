"""A model written as a Hugging Face folder: the inverse of what `checkpoints` reads, by the same table.

Weights are made and written one tensor at a time and leave memory with each shard, so that a model can be written that
fits into memory only once.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from helptune.errors import WeightsError
from helptune.files import write_text
from helptune.gemma.config import GemmaConfig
from helptune.gemma.safetensors_files import INDEX, SINGLE
from helptune.gemma.table import HUGGING_FACE, LEAF_AXES, Row, groups, names, rows_for
from helptune.gemma.tokenizer import BOS, EOS, PAD

SHARD_BYTES = 2 * 2**30
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.model", "tokenizer_config.json"
_OTHER_VOCABULARY = ("tokenizer.json", "added_tokens.json", "special_tokens_map.json")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% set lead, turns = messages[0]['content'] | trim + '\n\n', messages[1:] %}"
    "{% else %}"
    "{% set lead, turns = '', messages %}"
    "{% endif %}"
    "{% for message in turns %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) or message['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('A chat has user and assistant turns by turns, and one system message first.') }}"
    "{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}"
    "{{ (lead if loop.first else '') + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""What `chat.render` does, as the Jinja template that transformers and vLLM run. Unlike there, a turn token written in
a user's text is taken for one: other software finds these tokens by their text.
"""


def write_weights(
    folder: Path,
    config: GemmaConfig,
    leaf: Callable[[str, int | None], np.ndarray],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """`model.safetensors`, or shards of at most `shard_bytes` (or one tensor) and their index.

    `leaf(name, layer)` makes one leaf of one layer in the model's own axes; `layer` is None where there are no layers.
    """
    shards = _write_shards(folder, config, leaf, shard_bytes)
    if len(shards) == 1:
        (folder / _shard(1)).rename(folder / SINGLE)
        return
    places: dict[str, str] = {}
    total = 0
    for number, (stored, size) in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / _shard(number)).rename(folder / name)
        places |= dict.fromkeys(stored, name)
        total += size
    index = {"metadata": {"total_size": total}, "weight_map": places}
    write_text(folder / INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")


def _write_shards(folder, config, leaf, shard_bytes) -> list[tuple[list[str], int]]:
    """Names and bytes of each shard written, in order."""
    shards: list[tuple[list[str], int]] = []
    pending: dict[str, np.ndarray] = {}

    def flush():
        size = sum(values.nbytes for values in pending.values())
        safetensors.numpy.save_file(pending, folder / _shard(len(shards) + 1), metadata={"format": "pt"})
        shards.append((list(pending), size))
        pending.clear()

    for row, layer, name in _tensors(config):
        values = _stored_axes(leaf(row.leaf, layer), row)
        if pending and sum(v.nbytes for v in pending.values()) + values.nbytes > shard_bytes:
            flush()
        pending[name] = values
    flush()
    return shards


def _shard(number: int) -> str:
    return f"model-{number:05}.safetensors"  # how many there will be is not known yet


def _tensors(config: GemmaConfig) -> Iterator[tuple[Row, int | None, str]]:
    """Row, layer and name of every tensor, layer by layer."""
    rows = rows_for(HUGGING_FACE, config).values()
    stacked = [(row, names(row, config)) for row in rows if "{i}" in row.name]
    for row in rows:
        if "{i}" not in row.name:
            yield row, None, row.name
    for layer in range(config.layers):
        for row, stored in stacked:
            yield row, layer, stored[layer]


def _stored_axes(values: np.ndarray, row: Row) -> np.ndarray:
    ours, theirs = groups(LEAF_AXES[row.leaf]), groups(row.axes)
    return np.ascontiguousarray(values.transpose([ours.index(group) for group in theirs]))


def write_generation_config(folder: Path, config: GemmaConfig) -> None:
    """An answer ends at <eos> or, as in the chat format, at <end_of_turn>."""
    fields = {"bos_token_id": BOS, "eos_token_id": [EOS, config.turn_end], "pad_token_id": PAD}
    write_text(folder / "generation_config.json", json.dumps(fields, indent=2) + "\n")


def write_tokenizer(folder: Path, model: bytes, beside: Path | None = None) -> None:
    """`tokenizer.model` as given, other forms of it that lie in the folder `beside`, and the chat format.

    The format goes into `tokenizer_config.json`, after the fields that such a file `beside` has.
    """
    (folder / TOKENIZER).write_bytes(model)
    fields = {
        "tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False,
        "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False,
    }  # fmt: skip
    if beside is not None:
        for name in _OTHER_VOCABULARY:
            if (beside / name).is_file():
                shutil.copyfile(beside / name, folder / name)
        if (beside / TOKENIZER_CONFIG).is_file():
            fields = _read_fields(beside / TOKENIZER_CONFIG)
    fields["chat_template"] = CHAT_TEMPLATE
    write_text(folder / TOKENIZER_CONFIG, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def _read_fields(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: not a JSON object ({error}); fetch the checkpoint's folder again") from error
