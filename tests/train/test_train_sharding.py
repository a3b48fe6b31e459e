"""Laws of training on a mesh: the same step wherever its parts are computed, and runs that move between meshes."""

from dataclasses import replace

import jax
import mesh_runs
import numpy as np
import pytest
from mesh_runs import CONFIG, MESHES
from train_runs import eval_losses, metrics

from helptune.adapt.artifact import WEIGHTS
from helptune.errors import SettingError
from helptune.train.fit import check_rows

LOSS, GRADIENT = 1e-6, 1e-5  # relative; measured: 1e-7 and 3e-6


@pytest.fixture(scope="module")
def distances():
    return mesh_runs.finish(mesh_runs.start("same_gradients"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    mesh_runs.finish(mesh_runs.start("resumed_runs", folder))
    return folder


@pytest.mark.parametrize("shape", map(str, MESHES))
def test_a_mesh_gives_the_loss_and_gradients_of_one_device_with_dropout(distances, shape):
    found = distances["float32"][shape]
    assert found["nll"] < LOSS
    assert found["gradient"] < GRADIENT
    assert found["weight"] == 0


def test_a_quantized_base_and_recomputed_blocks_change_nothing_of_that(distances):
    found = distances["int8 with remat"][str(MESHES[3])]
    assert found["nll"] < LOSS
    assert found["gradient"] < GRADIENT


def test_every_device_holds_the_whole_gradient(distances):
    assert all(found["whole"] for part in distances.values() for found in part.values())


def test_in_the_loss_a_device_holds_its_words_and_never_more_of_the_embedding_or_the_logits():
    _, _, V, D = mesh_runs.LOSS_SHAPE
    found = mesh_runs.finish(mesh_runs.start("largest_array_of_the_loss"))
    assert found["elements"] == V * D // 4


def test_a_run_stopped_on_a_mesh_goes_on_there_to_the_same_bits(runs):
    assert metrics(runs / "same") == metrics(runs / "whole")
    assert (runs / "same/adapter" / WEIGHTS).read_bytes() == (runs / "whole/adapter" / WEIGHTS).read_bytes()


def test_a_run_goes_on_on_another_mesh_and_on_one_device(runs):
    moved, whole = metrics(runs / "moved"), metrics(runs / "whole")
    assert [line["step"] for line in moved] == [line["step"] for line in whole]
    for ours, theirs in zip(moved, whole, strict=True):
        if "gradients" in theirs:
            for name in ("norm", "moved", "step_ratio", "effective_rank"):
                for site, found in ours["gradients"][name].items():
                    assert found == pytest.approx(theirs["gradients"][name][site], rel=1e-2)  # three digits are kept
        else:
            assert ours == {name: pytest.approx(value, rel=1e-5) for name, value in theirs.items()}


def test_on_a_mesh_the_noise_is_that_between_micro_batches_of_a_row_a_device(runs):
    for line in metrics(runs / "whole"):
        if "gradients" in line:
            noise = line["gradients"]["noise"]
            assert noise["rows"] == mesh_runs.CONFIG.batch_rows
            assert np.isfinite([noise["trace"], noise["squared"]]).all()


def test_training_on_a_mesh_lowers_the_held_back_loss(runs):
    losses = list(eval_losses(runs / "whole").values())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_batch_that_the_mesh_does_not_divide_is_an_error_that_says_what_would_do():
    mesh = jax.sharding.AbstractMesh((2, 3, 1), ("data", "fsdp", "tensor"))
    with pytest.raises(SettingError, match=r"batch_rows=16 in accumulate=2 .* 6 devices .* multiple of 12"):
        check_rows(CONFIG, mesh)
    check_rows(replace(CONFIG, batch_rows=24), mesh)
    check_rows(CONFIG, None)


def test_a_step_sees_rows_of_unequal_weight():
    """Otherwise dividing on each device before adding would not show."""
    weights = mesh_runs.batch().weights.sum(-1)
    assert np.unique(weights).size > 8
    assert weights.min() == 0
