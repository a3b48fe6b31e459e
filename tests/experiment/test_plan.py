"""Plans: a verdict that can be trusted, the smallest change that would fit, figures from the really compiled step, real
steps at full width, and a table that can be made anew.
"""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import jax
import pytest

from helptune import options
from helptune.adapt.lora import LoraConfig
from helptune.errors import DataError, SettingError
from helptune.experiment import capacity as table_maker
from helptune.experiment import plan as planner
from helptune.experiment.advice import USABLE, Settings, advice, as_options, more_devices, nearest
from helptune.experiment.capacity import BEGIN, END, Case, capacity, table
from helptune.experiment.plan import compile_step, mesh_shape, plan
from helptune.experiment.presets import named_preset
from helptune.experiment.rehearse import random_base, rehearse
from helptune.gemma.base import block_shapes
from helptune.gemma.config import gemma_7b, tiny
from helptune.gemma.quantize import dequantize, precision_of
from helptune.train.config import TrainConfig
from helptune.train.memory import step_memory
from helptune.train.topology import Topology, parse_topology

SEVEN, LORA, ONE = gemma_7b(), LoraConfig(dropout=0.1), (1, 1, 1)
TRAIN = TrainConfig(batch_rows=8, seq_len=1024, remat="full")
ASKED = Settings(ONE, TRAIN, "bfloat16")
GIB = 2**30


def need(settings: Settings) -> int:
    return step_memory(SEVEN, LORA, settings.mesh, settings.train, settings.precision).total


def just_enough_for(settings: Settings) -> int:
    """Memory of a device that `settings` fill to the allowed share."""
    return int(need(settings) / USABLE) + 1


def with_train(**changes) -> Settings:
    return replace(ASKED, train=replace(TRAIN, **changes))


@pytest.mark.parametrize(("spare", "verdict"), [(0, "fits"), (-GIB // 100, "fits with")])
def test_a_plan_fits_when_it_needs_at_most_the_allowed_share(spare, verdict):
    assert advice(SEVEN, LORA, ASKED, just_enough_for(ASKED) + spare)["verdict"] == verdict


@pytest.mark.parametrize(
    ("asked", "enough", "options"),
    [
        (with_train(remat="none"), ASKED, "--remat full"),
        (ASKED, with_train(accumulate=4), "--accumulate 4"),
        (ASKED, replace(with_train(accumulate=8), precision="int8"), "--accumulate 8 --base int8"),
        (ASKED, replace(with_train(accumulate=8, seq_len=512), precision="int4"),
         "--accumulate 8 --base int4 --seq-len 512"),
    ],
)  # fmt: skip
def test_the_smallest_change_that_fits_is_advised(asked, enough, options):
    """First what leaves the result as it is, then fewer bits, then shorter rows."""
    found = advice(SEVEN, LORA, asked, just_enough_for(enough))
    assert found["verdict"] == "fits with"
    assert as_options(found["settings"]) == options


@pytest.mark.parametrize("gib", [8, 10, 12, 16, 20, 24, 40])
def test_what_is_advised_fits_and_is_really_other_than_what_was_asked(gib):
    asked = with_train(remat="none")
    found = nearest(SEVEN, LORA, asked, USABLE * gib * GIB)
    assert need(found) <= USABLE * gib * GIB < need(asked)
    assert found.changes(asked)
    assert found.train.batch_rows == asked.train.batch_rows


def test_on_many_devices_cutting_the_base_is_advised_before_fewer_bits():
    asked = replace(ASKED, mesh=(8, 1, 1))
    found = nearest(SEVEN, LORA, asked, 12 * GIB)
    assert found.precision == "bfloat16"
    assert found.mesh[1] > 1


def test_what_fits_nowhere_here_says_how_many_devices_would_do():
    memory = 3 * GIB
    found = advice(SEVEN, LORA, ASKED, memory)
    more = more_devices(SEVEN, LORA, ASKED, USABLE * memory)
    assert found["verdict"] == "does not fit"
    assert f"{more.mesh[0] * more.mesh[1] * more.mesh[2]} such devices would do" in found["advice"]
    assert need(more) <= USABLE * memory
    assert more.precision == ASKED.precision


def test_what_fits_on_no_number_of_devices_says_so():
    """Adapters and optimizer are whole on every device."""
    assert "devices with more memory are needed" in advice(SEVEN, LORA, ASKED, GIB // 2)["advice"]


def test_a_step_that_took_more_than_computed_is_judged_by_what_it_took():
    memory = just_enough_for(ASKED)
    found = advice(SEVEN, LORA, ASKED, memory, excess=1.1)
    assert found["verdict"] == "fits with"


def run_config(**train):
    preset = named_preset("gemma-7b-it")
    return replace(preset, train=replace(preset.train, **{"batch_rows": 8, "accumulate": 1, **train}))


def test_without_a_mesh_all_devices_are_fsdp():
    assert mesh_shape(SEVEN, run_config(), parse_topology("h100:8")) == (1, 8, 1)


@pytest.mark.parametrize(
    ("mesh", "train", "message"),
    [
        ((1, 4, 1), {}, "has 4 devices and h100:8 has 8: .* as in 1,8,1"),
        ((1, 8, 1), {"batch_rows": 12}, "12 rows for data x fsdp = 8 devices: use a batch that is a multiple of 8"),
        ((1, 8, 1), {"batch_rows": 8, "accumulate": 2}, "4 rows for data x fsdp = 8"),
    ],
)
def test_a_mesh_that_does_not_suit_devices_or_batch_is_refused(mesh, train, message):
    with pytest.raises(SettingError, match=message):
        mesh_shape(SEVEN, replace(run_config(**train), mesh=mesh), parse_topology("h100:8"))


def test_a_plan_is_json_and_its_parts_add_up():
    found = json.loads(json.dumps(plan(SEVEN, run_config(), parse_topology("h100:8"), compiled=False)))
    computed = found["computed"]
    parts = [computed[name] for name in ("base", "adapters", "optimizer", "gradients", "activations")]
    assert computed["total"] == sum(parts) + max(computed["block"], computed["loss"])
    assert found["verdict"] == "fits"
    assert found["compiled"] is None
    assert found["parameters"] == 8_537_680_896
    assert found["trained_parameters"] == 50_003_968


def test_what_a_tpu_compiler_says_of_too_little_memory_becomes_a_figure(monkeypatch):
    """The words are those of libtpu 0.0.50; the compiler itself is not needed to read them."""

    class Refused:
        def compile(self):
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for "
                "HLO temporaries (18.46G) exceeds available HBM (15.75G). HLO module: jit_train_step."
            )

    monkeypatch.setattr(planner, "lower_step", lambda *_: Refused())
    found = compile_step(tiny(1), run_config(), parse_topology("cpu:1"), ONE)
    assert found["error"].endswith("(18.46G) exceeds available HBM (15.75G)")
    assert found["peak"] == int(18.46 * GIB)


def test_another_error_of_the_compiler_is_not_taken_for_too_little_memory(monkeypatch):
    class Broken:
        def compile(self):
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(planner, "lower_step", lambda *_: Broken())
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        compile_step(tiny(1), run_config(), parse_topology("cpu:1"), ONE)


def test_without_the_compiler_a_step_is_compiled_for_cpu_devices_and_the_verdict_is_computed(monkeypatch):
    """Temporary bytes of a CPU say nothing about a GPU: they must not change the verdict."""
    monkeypatch.setattr(planner, "compile_step", lambda *_: {"label": "compiled for cpu:8", "peak": 999 * GIB})
    monkeypatch.setattr(Topology, "extra", "plan-gpu")
    found = plan(SEVEN, run_config(), parse_topology("h100:8"))
    assert found["compiled"]["label"] == "compiled for cpu:8"
    assert found["verdict"] == "fits"
    assert any(".[plan-gpu]" in note for note in found["notes"])


def test_the_real_7b_step_compiles_at_full_size_for_eight_devices():
    """Through the command line, in a process whose CPU is eight devices. Nothing of the 17 GB is allocated."""
    options = ["--topology", "cpu:8", "--mesh", "1,8,1", "--batch", "8", "--seq", "512", "--json"]
    command = [
        sys.executable,
        "-c",
        "from helptune.cli import main; main()",
        "plan",
        "--model",
        "gemma-7b-it",
        *options,
    ]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    computed, compiled = found["computed"], found["compiled"]
    assert compiled["label"] == "compiled for cpu:8"
    held = computed["base"] + computed["adapters"] + computed["optimizer"]
    assert 0 <= compiled["argument"] - held < 2**20
    assert held == pytest.approx(2.55 * GIB, rel=0.01)


def test_random_weights_have_the_leaves_and_the_size_of_initialized_ones():
    config = replace(tiny(1), width=64, mlp_width=128)
    for precision in ("bfloat16", "int8", "int4"):
        base = random_base(config, precision)
        assert precision_of(base) == precision
        assert base.blocks.keys() == block_shapes(config).keys()
        gate = base.blocks["gate"] if precision == "bfloat16" else dequantize(base.blocks["gate"], "float32")
        assert float(gate.astype("float32").std()) == pytest.approx(config.width**-0.5, rel=0.1)


def test_real_steps_at_full_7b_width_run_in_little_memory_and_tell_what_all_layers_take():
    """Measured: 3.0 GiB for one layer, 3.8 for three, of which 1.5 is the embedding; 11.4 for all 28, executed once."""
    found = rehearse(SEVEN, LoraConfig(), "int8", (1, 3))
    one, three = found["runs"]
    assert found["label"] == "executed with random weights"
    for run in (one, three):
        assert run["losses"][0] > run["losses"][1] > run["losses"][2] > 0
        assert run["peak_gib"] < 4
    a_layer = (three["peak_gib"] - one["peak_gib"]) / 2
    assert found["full_depth"]["peak_gib"] == pytest.approx(one["peak_gib"] + 27 * a_layer, abs=0.01)
    assert 0.2 < a_layer < 0.5  # 277 million parameters of 8 bits and a scale for 32 of them: 0.27 GiB


@pytest.mark.parametrize("layers", [(), (0,), (29,), (1, 1)])
def test_depths_that_the_model_does_not_have_are_refused(layers):
    with pytest.raises(SettingError, match="each must be from 1 to 28"):
        rehearse(SEVEN, LORA, "int8", layers)


def test_depths_that_are_no_numbers_are_refused():
    with pytest.raises(SettingError, match="--layers 'all': give numbers of layers"):
        options.depths("all")


CASES = (Case("h100:1", ONE, "bfloat16", 4, 2048), Case("l4:1", ONE, "int8", 1, 1024))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page with markers; rows come from the closed form, the executed one from a record."""
    monkeypatch.setattr(Topology, "extra", "plan-gpu")
    run = {"layers": 1, "step_seconds": 2.0, "peak_gib": 3.0}
    record = {"case": None, "date": "2026-01-01", "jax": "0", "base": "int8", "rows": 1, "seq": 64, "runs": [run],
              "full_depth": {"layers": 28, "step_seconds": 17.0, "peak_gib": 10.0}}  # fmt: skip
    monkeypatch.setattr(table_maker, "executed", lambda: record)
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    return page


def test_the_table_goes_between_the_markers_and_leaves_the_rest_alone(page):
    capacity(page, page.with_suffix(".jsonl"), CASES)
    text = page.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\n\nafter\n")
    assert "old" not in text
    assert text.count("computed, not compiled") == len(CASES)
    assert "Executed with random weights" in text


def test_an_interrupted_table_goes_on_where_it_was(page, monkeypatch):
    store, measure, made = page.with_suffix(".jsonl"), table_maker.measure, []

    def counted(case):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(case)
        return measure(case)

    monkeypatch.setattr(table_maker, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        capacity(page, store, CASES)
    monkeypatch.setattr(table_maker, "measure", lambda case: made.append(case) or measure(case))
    capacity(page, store, CASES)
    finished = page.read_text()
    capacity(page, store, CASES)
    assert made == list(CASES)
    assert page.read_text() == finished


def test_rows_of_a_table_say_what_they_rest_on():
    row = {"case": asdict(CASES[0]), "date": "2026-01-01", "jax": "0", "device_memory": 80 * GIB, "verdict": "fits",
           "computed": {"total": 20 * GIB}, "compiled": None, "settings": {}}  # fmt: skip
    compiled = row | {"case": asdict(CASES[1]), "compiled": {"label": "compiled for l4:1", "peak": 19 * GIB}}
    text = table([row, compiled], CASES)
    assert "| h100:1 | 1,1,1 | bfloat16 | 4 x 2,048 | 20.0 |  | 80.0 | fits | computed, not compiled |" in text
    assert "| l4:1 | 1,1,1 | int8 | 1 x 1,024 | 20.0 | 19.0 | 80.0 | fits | compiled for l4:1 |" in text


def test_a_page_without_markers_is_refused_before_anything_is_computed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no table here")
    with pytest.raises(DataError, match="the table goes between the lines"):
        capacity(page, tmp_path / "rows.jsonl", CASES)
    assert list(tmp_path.iterdir()) == [page]
