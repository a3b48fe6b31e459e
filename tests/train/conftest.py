"""What the training tests share: runs nobody interrupted, and a way to act after a chosen step of another."""

from functools import partial

import pytest
import train_runs

from helptune.train import fit as loop
from helptune.train import tasks


@pytest.fixture(autouse=True, scope="session")
def no_progress_bar():
    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, tasks):
            patch.setattr(module, "tqdm", partial(module.tqdm, disable=True))
        yield


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """(folder, result) of a run that was never interrupted."""
    run = tmp_path_factory.mktemp("whole")
    return run, train_runs.train(run)


@pytest.fixture
def after_step(monkeypatch):
    """after_step(13, action): `action()` happens once step 13 is logged; later runs of the test are undisturbed."""

    def plan(step, action):
        write = loop.log

        def log(path, record):
            write(path, record)
            if record["step"] == step and "loss" in record:
                monkeypatch.setattr(loop, "log", write)
                action()

        monkeypatch.setattr(loop, "log", log)

    return plan
