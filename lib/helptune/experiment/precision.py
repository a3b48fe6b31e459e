"""What fewer bits cost: the error of each site's weights, and the held-out loss of the same model in each precision.

Weight errors are told as in signal processing, in decibels: 6 dB more is one bit more. What counts is the loss; the
errors say where it comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from helptune.adapt.adapters import Adapters, init_adapters
from helptune.adapt.artifact import load_adapter
from helptune.adapt.lora import LoraConfig
from helptune.data.conversation import Conversation, load_curated
from helptune.errors import SettingError
from helptune.experiment.finetune import heldout_loss
from helptune.experiment.models import Source
from helptune.gemma.base import SITES, Base
from helptune.gemma.quantize import Quantized, base_bytes, dequantize
from helptune.train.config import TrainConfig


@dataclass(frozen=True)
class SiteError:
    """What quantization did to one site. Errors are relative Frobenius norms, |W - W'| / |W|.

    `mean` and `worst` are over layers, `worst_layer` is where the latter is. `largest` is the largest change of any
    weight, `snr_db` that of the site as a whole, `nbytes` its codes and scales.
    """

    site: str
    mean: float
    worst: float
    worst_layer: int
    largest: float
    snr_db: float
    nbytes: int


@dataclass(frozen=True)
class PrecisionRow:
    """Bytes of a base in one precision, and held-out loss in nats per response token, without and with the adapter."""

    precision: str
    nbytes: int
    loss: float
    tuned_loss: float | None


FROM_BEST = ("float32", "bfloat16", "int8", "int4")


def precision_table(
    source: Source, adapter: Path | None = None, heldout: Sequence[Conversation] | None = None
) -> list[PrecisionRow]:
    """The same model in every precision, on the same held-out conversations (the curated ones unless given).

    Raises AdapterError for an adapter of another base, and whatever loading the weights raises.
    """
    heldout = load_curated("heldout") if heldout is None else heldout
    return [_row(source, precision, adapter, heldout) for precision in FROM_BEST]


def _row(source: Source, precision: str, adapter: Path | None, heldout: Sequence[Conversation]) -> PrecisionRow:
    base, tokenizer = source.base(precision), source.tokenizer(precision)
    tuned = None if adapter is None else load_adapter(adapter, base.config, source.sha256())
    method, train = LoraConfig() if tuned is None else tuned[1].method, TrainConfig()

    def loss(adapters: Adapters) -> float:
        return heldout_loss(base, tokenizer, adapters, method, train, heldout)["overall"]

    untrained = init_adapters(method, base.config, jax.random.key(0))
    return PrecisionRow(precision, base_bytes(base), loss(untrained), None if tuned is None else loss(tuned[0]))


def show(rows: Sequence[PrecisionRow], console: Console) -> None:
    """The table in a terminal; changes are against the first row."""
    table = Table(title="Held-out loss, nats per response token")
    for title in ("base", "GB", "loss", "change", *(("tuned", "change") if rows[0].tuned_loss is not None else ())):
        table.add_column(title, justify="left" if title == "base" else "right")
    for row in rows:
        cells = [row.precision, f"{row.nbytes / 1e9:.3f}", f"{row.loss:.4f}", f"{row.loss - rows[0].loss:+.4f}"]
        if row.tuned_loss is not None and rows[0].tuned_loss is not None:
            cells += [f"{row.tuned_loss:.4f}", f"{row.tuned_loss - rows[0].tuned_loss:+.4f}"]
        table.add_row(*cells)
    console.print(table)


def error_report(base: Base, quantized: Base) -> list[SiteError]:
    """One row a site of a quantized base, against the base it was made from. Raises SettingError when it is not one."""
    rows = []
    for site in SITES:
        codes = quantized.blocks[site]
        if not isinstance(codes, Quantized) or codes.shape != base.blocks[site].shape:
            raise SettingError(f"site {site!r}: the second base is not the first one quantized; see quantize_base")
        rows.append(_site_error(site, base.blocks[site], codes))
    return rows


def _site_error(site: str, weights: Any, codes: Quantized) -> SiteError:
    signal, noise, largest = [], [], 0.0
    for i, layer in enumerate(np.asarray(weights)):
        w = layer.astype(np.float32)
        change = np.asarray(dequantize(jax.tree.map(itemgetter(i), codes), np.float32)) - w
        signal.append(float(np.sum(np.square(w), dtype=np.float64)))
        noise.append(float(np.sum(np.square(change), dtype=np.float64)))
        largest = max(largest, float(np.max(np.abs(change))))
    errors = np.sqrt(np.divide(noise, signal))
    snr_db = 10 * float(np.log10(sum(signal) / sum(noise)))
    nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(codes))
    worst = int(np.argmax(errors))
    return SiteError(site, float(errors.mean()), float(errors[worst]), worst, largest, snr_db, nbytes)
