"""Laws of the cost table: counts are closed forms, files are what lies on the disk, and the page says what is true."""

import json
import re
import signal
import subprocess
from dataclasses import replace
from io import StringIO
from pathlib import Path

import jax
import pytest
from rich.console import Console
from typer.testing import CliRunner

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import load_adapter
from helptune.adapt.lora import LoraConfig
from helptune.cli import app
from helptune.data.packing import Batch
from helptune.errors import Interrupted, RunError, SettingError
from helptune.experiment import cost
from helptune.experiment.cost import Asked, Cost, cells, compare, computed_costs, counts, measure, measured_costs, show
from helptune.experiment.full import full_gradients, masters_of
from helptune.experiment.steps import random_batch
from helptune.gemma.base import init_base
from helptune.gemma.config import gemma3_270m, gemma_7b, tiny
from helptune.gemma.sharding import abstract_base
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import gradients, init_state

PAGE = Path(__file__).parents[2] / "course" / "lora_cost.md"
ASKED = Asked(batch=2, seq_len=16, steps=2, rank=4, precision="float32")
TINY = tiny(3)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Method -> (its figures, the folder with what was written), really run on a tiny model."""
    found = {}
    for method in cost.METHODS:
        folder = tmp_path_factory.mktemp(method)
        found[method] = measure(method, ASKED, folder, lambda: init_base(TINY, jax.random.key(0))), folder
    return found


@pytest.fixture
def no_processes(measured, monkeypatch):
    monkeypatch.setattr(cost, "_in_a_process_of_its_own", lambda method, asked: measured[method][0])


def page_tables():
    """Rows of cells of every table of the page, as text, without the heading."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [[tuple(c.strip() for c in line.strip("|\n").split("|")) for line in b.splitlines()[2:]] for b in blocks]


def lora_parameters(config, rank):
    """R (in + out) of seven matrices: q and o meet at the query width, k and v at the key width, the rest at M."""
    D, M = config.width, config.mlp_width
    return config.layers * rank * (2 * (D + config.q_width) + 2 * (D + config.kv_width) + 3 * (D + M))


def test_counts_are_the_closed_forms(measured):
    for method, trained in (("lora", lora_parameters(TINY, 4)), ("full", TINY.parameters)):
        found = measured[method][0]
        assert found["trained"] == trained
        assert found["gradient"] == 4 * trained
        assert found["optimizer"] == 8 * trained + 2 * 4  # two moments, and the counts of Adam and of the schedule


def test_a_gradient_has_the_shapes_and_dtypes_of_what_is_trained():
    base, lora = init_base(TINY, jax.random.key(0), "bfloat16"), LoraConfig(rank=2)
    batch = random_batch(TINY.vocab, 2, 16)
    whole: Batch = jax.tree.map(lambda leaf: leaf[0], batch)
    adapters, masters = init_adapters(lora, TINY, jax.random.key(0)), masters_of(base)
    small = jax.eval_shape(lambda: gradients(base, adapters, lora, batch, jax.random.key(0))[2])
    large = jax.eval_shape(lambda: full_gradients(masters, whole, "bfloat16")[2])
    for gradient, trained in ((small, adapters), (large, masters)):
        same = jax.tree.map(lambda g, t: (g.shape, g.dtype) == (t.shape, t.dtype), gradient, trained)
        assert all(jax.tree.leaves(same))


def test_files_are_measured_where_they_lie(measured):
    """A checkpoint holds masters and both moments; what is published holds the weights alone."""
    for found, folder in measured.values():
        files = [path for path in (folder / "checkpoints").rglob("*") if path.is_file()]
        assert found["checkpoint"] == sum(path.stat().st_size for path in files)
        assert found["checkpoint"] > 0.8 * 12 * found["trained"]
        assert found["artifact"] == pytest.approx(4 * found["trained"], abs=6_000)
    adapters, _ = load_adapter(measured["lora"][1] / "artifact", TINY, "0" * 64)
    assert adapters["q"]["b"].any()


def test_what_is_passed_to_the_steps_is_what_xla_counts(measured):
    """Weights and moments; for LoRA the frozen base too."""
    batch, counters = 5 * 4 * 2 * 16, 3 * 4
    for method, held in (("lora", 12 * lora_parameters(TINY, 4) + 4 * TINY.parameters), ("full", 12 * TINY.parameters)):
        assert measured[method][0]["arguments"] == held + batch + counters


def test_both_methods_learn_from_the_same_loss(measured):
    """Before the warmup is over little is learned: the last losses are still close to that of the base."""
    lora, full = (measured[method][0]["last_loss"] for method in cost.METHODS)
    assert lora == pytest.approx(full, rel=0.02)


def test_a_row_says_whether_it_is_below_a_tenth():
    assert cells(Cost("x", "bytes", 99 * 2**20, 1000 * 2**20, "measured")) == (
        "x", "99.0 MiB", "1,000.0 MiB", "9.90%", "yes", "measured",
    )  # fmt: skip
    assert cells(Cost("x", "seconds", 1.0, 10.0, "measured"))[3:5] == ("10.00%", "no")


def test_the_verb_prints_both_tables_as_json(no_processes):
    result = CliRunner().invoke(app, ["bench", "cost", "--steps", "3", "--rank", "4", "--json"])
    found = json.loads(result.stdout)
    assert found["asked"] == {"batch": 4, "seq_len": 256, "steps": 3, "rank": 4, "precision": "bfloat16"}
    for name in ("measured", "computed"):
        for row in found[name]:
            assert row["ratio"] == row["lora"] / row["full"]
            assert row["below_a_tenth"] == (row["ratio"] < 0.1)
            assert row["how"] in ("measured", "counted", "computed")


def test_a_table_for_people_has_every_row(no_processes):
    out = StringIO()
    show(found := compare(ASKED), Console(file=out, width=160))
    assert all(row["what"] in out.getvalue() for name in ("measured", "computed") for row in found[name])


@pytest.mark.parametrize(
    "changes", [{"batch": 0}, {"steps": 0}, {"seq_len": 0}, {"rank": 0}, {"precision": "int8"}], ids=str
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(changes):
    with pytest.raises(SettingError, match=next(iter(changes))):
        replace(ASKED, **changes)


@pytest.mark.parametrize(
    ("code", "message"), [(-signal.SIGKILL, "lack of memory"), (1, "ended with an error")], ids=["killed", "error"]
)
def test_a_process_that_fails_is_an_error_that_says_so(code, message, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, ""))
    with pytest.raises(RunError, match=message):
        compare(ASKED)


def test_ctrl_c_leaves_no_files(monkeypatch):
    folders = []

    def stop(command, **_):
        folders.append(Path(command[-1]))
        assert folders[0].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", stop)
    with pytest.raises(Interrupted):
        compare(ASKED)
    assert not folders[0].exists()


def test_the_figures_of_7b_are_the_closed_forms():
    rows = {row.what: row for row in computed_costs()}
    N, trained = gemma_7b().parameters, lora_parameters(gemma_7b(), 16)
    assert (rows["trained parameters"].lora, rows["trained parameters"].full) == (trained, N)
    assert rows["checkpoint"].full == pytest.approx(12 * N)
    assert rows["checkpoint"].lora == pytest.approx(12 * trained)


def test_the_computed_table_of_the_page_is_true():
    assert page_tables()[1] == [cells(row) for row in computed_costs()]


def test_the_counted_and_computed_rows_of_the_small_model_on_the_page_are_true():
    """What needs no run is made again from the shapes; ratios and verdicts of all rows follow from their cells."""
    config, optimizer, asked = gemma3_270m(), make_optimizer(OptimizerConfig(), 1), Asked()
    lora = counts(jax.eval_shape(lambda: init_state(init_adapters(asked.lora, config, jax.random.key(0)), optimizer)))
    full = counts(jax.eval_shape(lambda base: init_state(base, optimizer), abstract_base(config, "float32")))
    unknown = dict.fromkeys(("checkpoint", "artifact", "peak", "arguments", "temporaries", "step_seconds"), 1.0)
    rows = measured_costs(lora | unknown, full | unknown, config, asked)
    page = page_tables()[0]
    assert [(row[0], row[5]) for row in page] == [(row.what, row.how) for row in rows]
    for shown, row in zip(page, rows, strict=True):
        if row.how == "counted" or row.unit == "FLOP":
            assert shown == cells(row)
        assert shown[4] == ("yes" if float(shown[3].rstrip("%")) < 10 else "no")
