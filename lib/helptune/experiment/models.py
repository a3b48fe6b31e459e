"""Which base a command works on: the embedded Gemma 3 270M, or a checkpoint folder in a published layout."""

from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh

from helptune.adapt.adapters import attach
from helptune.adapt.artifact import load_adapter
from helptune.adapt.collection import is_collection, load_collection
from helptune.adapt.mixed import Rack, rack_of
from helptune.errors import SettingError, WeightsError
from helptune.gemma.base import Base
from helptune.gemma.checkpoints import (
    checkpoint_sha256,
    embedded_sha256,
    load_base,
    load_checkpoint,
    load_checkpoint_tokenizer,
    load_embedded_tokenizer,
    open_checkpoint,
)
from helptune.gemma.config import GemmaConfig, gemma3_270m, named
from helptune.gemma.hf_config import config_of
from helptune.gemma.model import Adapter
from helptune.gemma.quantize import BITS, check_precision, dtype_of, quantize_base
from helptune.gemma.sharding import shard_base
from helptune.gemma.tokenizer import Tokenizer

EMBEDDED = gemma3_270m().name
FROM_FOLDER = "config.json"
"""In place of a model's name: the shape that the checkpoint's own config.json states."""


@dataclass(frozen=True)
class Source:
    """A model by name, and the folder of its weights; without a folder it is the embedded Gemma 3 270M."""

    model: str = EMBEDDED
    checkpoint: str = ""

    def config(self) -> GemmaConfig:
        """Raises SettingError for an unknown name, or one without weights."""
        if not self.checkpoint and self.model != EMBEDDED:
            raise SettingError(
                f"model {self.model!r} is not embedded: name the folder of its weights with --checkpoint"
            )
        return config_of(self.checkpoint) if self.model == FROM_FOLDER else named(self.model)

    def check(self) -> None:
        """Raises WeightsError for a folder that is incomplete, damaged, or holds another model, reading no weights."""
        if self.checkpoint:
            open_checkpoint(self.checkpoint, self.config())

    def tokenizer(self, precision: str) -> Tokenizer:
        """The tokenizer of a base that will have this precision: a first start prepares the embedded model once.

        Raises WeightsError when it is not the tokenizer of this model.
        """
        if not self.checkpoint:
            return load_embedded_tokenizer(dtype_of(precision))
        tokenizer, config = load_checkpoint_tokenizer(self.checkpoint), self.config()
        turns = [tokenizer.piece(token) for token in (config.turn_start, config.turn_end) if token < tokenizer.vocab]
        if tokenizer.vocab > config.vocab or turns != ["<start_of_turn>", "<end_of_turn>"]:
            raise WeightsError(
                f"{self.checkpoint}: its tokenizer has {tokenizer.vocab} pieces, {turns} at {config.turn_start} and "
                f"{config.turn_end}; {config.name} needs at most {config.vocab}, and <start_of_turn> and <end_of_turn> "
                "there. It belongs to another model"
            )
        return tokenizer

    def sha256(self) -> str:
        """The identity of the weights that an adapter belongs to."""
        return checkpoint_sha256(self.checkpoint) if self.checkpoint else embedded_sha256()

    def base(self, precision: str, mesh: Mesh | None = None) -> Base:
        """The weights, each part read straight to its place on the mesh.

        Raises WeightsError for damaged files, SettingError for an unknown precision or a name without weights.
        """
        check_precision(precision)
        config = self.config()
        if self.checkpoint:
            return load_checkpoint(self.checkpoint, config, precision, mesh)
        base = load_base(dtype_of(precision))
        base = quantize_base(base, precision) if precision in BITS else base
        return base if mesh is None else shard_base(base, mesh)


def source_of(model: str | None, checkpoint: str) -> Source:
    """The model named; else, of a folder, the one that its config.json states."""
    return Source(model or (FROM_FOLDER if checkpoint else EMBEDDED), checkpoint)


@dataclass(frozen=True)
class Loaded:
    """What answers: a base, its tokenizer, and an adapter if there is one; or several on a rack, to choose from."""

    base: Base
    tokenizer: Tokenizer
    adapter: Adapter | None
    rack: Rack | None = None


def load(source: Source, precision: str, adapter: Path | None = None) -> Loaded:
    """`adapter` is a folder of one or a directory of several. Raises AdapterError for an adapter of another base."""
    base, attached = source.base(precision), None
    if adapter is not None and is_collection(adapter):
        found = load_collection(adapter, base.config, source.sha256())
        if len(found) == 1:
            ((weights, card),) = found.values()
            return Loaded(base, source.tokenizer(precision), attach(weights, card.method))
        named = {name: (weights, card.method) for name, (weights, card) in found.items()}
        return Loaded(base, source.tokenizer(precision), None, rack_of(named, base.config, base.dtype))
    if adapter is not None:
        weights, card = load_adapter(adapter, base.config, source.sha256())
        attached = attach(weights, card.method)
    return Loaded(base, source.tokenizer(precision), attached)
