"""Laws of the precision tables: errors per site are what they say, and fewer bits cost more loss."""

import json
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path

import jax
import pytest
from rich.console import Console
from typer.testing import CliRunner

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import AdapterCard, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.cli import app
from helptune.data.conversation import load_curated
from helptune.errors import AdapterError, SettingError
from helptune.experiment import precision
from helptune.experiment.models import Source
from helptune.experiment.precision import error_report, precision_table, show
from helptune.gemma.base import SITES, Base
from helptune.gemma.quantize import GROUP, base_bytes, quantize_base
from helptune.gemma.tokenizer import Tokenizer

LORA = LoraConfig(rank=2, sites=("q",))


@dataclass(frozen=True)
class InMemory:
    """Stands for a `Source`: a model that is loaded already, in place of weights on a disk."""

    whole: Base
    text: Tokenizer

    def base(self, precision):
        if precision.startswith("int"):
            return quantize_base(self.base("bfloat16"), precision)
        return jax.tree.map(lambda leaf: leaf.astype(precision), self.whole)

    def tokenizer(self, precision):
        return self.text

    def sha256(self):
        return "5ba2" * 16


@pytest.fixture(scope="module")
def source(word_base, tokenizer):
    return InMemory(word_base, tokenizer)


@pytest.fixture(scope="module")
def adapter(word_base, tmp_path_factory):
    """A folder with an adapter that changes what the model says."""
    folder = tmp_path_factory.mktemp("adapter")
    adapters = jax.tree.map(lambda leaf: leaf + 0.2, init_adapters(LORA, word_base.config, jax.random.key(0)))
    save_adapter(folder, adapters, AdapterCard(word_base.config.name, "5ba2" * 16, LORA))
    return folder


@pytest.fixture(scope="module")
def rows(source, adapter):
    return precision_table(source, adapter, load_curated("heldout")[:4])


def test_a_table_has_the_bytes_and_losses_of_every_precision(source, rows):
    assert [row.precision for row in rows] == ["float32", "bfloat16", "int8", "int4"]
    assert [row.nbytes for row in rows] == [base_bytes(source.base(row.precision)) for row in rows]
    for row in rows:
        assert row.loss == pytest.approx(rows[0].loss, rel=0.05)
        assert abs(row.tuned_loss - row.loss) > 1e-3


def test_a_table_shows_each_change_against_the_first_row(rows):
    out = StringIO()
    show([replace(rows[0], loss=3.0), replace(rows[1], loss=3.25)], Console(file=out, width=100))
    assert "3.2500" in out.getvalue()
    assert "+0.2500" in out.getvalue()


def test_without_an_adapter_there_is_no_tuned_column(rows):
    out = StringIO()
    show([replace(row, tuned_loss=None) for row in rows], Console(file=out, width=100))
    assert "tuned" not in out.getvalue()


def test_an_adapter_of_another_base_is_an_error(source, word_base, tmp_path):
    adapters = init_adapters(LORA, word_base.config, jax.random.key(0))
    save_adapter(tmp_path, adapters, AdapterCard(word_base.config.name, "0" * 64, LORA))
    with pytest.raises(AdapterError, match="base weights"):
        precision_table(source, tmp_path, load_curated("heldout")[:1])


def test_four_bits_less_cost_twenty_four_decibels(tiny_base):
    """One bit is 6.02 dB: 16 times fewer codes are 24 dB, at every site."""
    reports = [error_report(tiny_base, quantize_base(tiny_base, precision)) for precision in ("int8", "int4")]
    for eight, four in zip(*reports, strict=True):
        assert eight.snr_db - four.snr_db == pytest.approx(24.6, abs=0.7)
        assert eight.nbytes == pytest.approx(four.nbytes * 34 / 18)
        assert eight.mean == pytest.approx(10 ** (-eight.snr_db / 20), rel=0.1)
    assert [row.site for row in reports[0]] == list(SITES)


def test_the_worst_layer_is_named_with_its_error(tiny_base):
    """One weight a group, far from its neighbours, leaves them few codes."""
    w = tiny_base.blocks["o"].at[1, ::GROUP].set(1.0)
    base = tiny_base.replace(blocks={**tiny_base.blocks, "o": w})
    row = error_report(base, quantize_base(base, "int4"))[SITES.index("o")]
    assert row.worst_layer == 1
    assert row.worst > 1.2 * row.mean > row.mean
    assert row.largest == pytest.approx(1.0 / 7.5 / 2, rel=0.02)


def test_a_report_is_about_a_base_and_its_own_quantized_twin(tiny_base):
    with pytest.raises(SettingError, match="site 'q'"):
        error_report(tiny_base, tiny_base)


def test_the_verb_prints_the_rows_as_json(rows, monkeypatch):
    asked = []
    monkeypatch.setattr(precision, "precision_table", lambda *of: asked.append(of) or rows)
    result = CliRunner().invoke(app, ["precision", "--adapter", "runs/first/adapter", "--json"])
    assert json.loads(result.stdout) == [asdict(row) for row in rows]
    assert asked == [(Source(), Path("runs/first/adapter"))]


@pytest.mark.real
def test_eight_bits_are_nearly_free_and_four_are_not(real_base, tokenizer):
    """Measured on all 72 conversations: +0.003 nats per token for int8, +0.46 for int4, untrained."""
    explained = [c for c in load_curated("heldout") if c.category == "explain"][:6]
    rows = precision_table(InMemory(real_base, tokenizer), heldout=explained)
    cost = {row.precision: row.loss - rows[0].loss for row in rows}
    assert abs(cost["bfloat16"]) < 0.01
    assert abs(cost["int8"]) < 0.02
    assert 0.2 < cost["int4"] < 0.8
