"""Laws of a bad disk: full or damaged, the run says so, loses nothing, and goes on as if nothing had happened."""

import errno
import gc
import resource
import shutil

import pytest
from train_runs import SHA, STEPS, assert_same_run, base, last_state, train

from helptune.adapt.artifact import WEIGHTS, load_adapter
from helptune.errors import RunError
from helptune.train.checkpoint import Checkpoints

# After a failure Orbax leaves unfinished readers and writers behind.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def disk():
    """disk(n): from now on no file of this process grows beyond n bytes, as if the disk were full; disk() mends it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=soft):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit()


@pytest.fixture
def damaged(tmp_path, whole):
    """A copy of a finished run, to do harm to; and the folder of its newest checkpoint."""
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run", tmp_path / "run" / "checkpoints" / str(STEPS)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    ("fails", "full"),
    [
        ("metrics.jsonl", lambda run: (run / "metrics.jsonl").stat().st_size + 20),  # half a line still fits
        ("adapter", lambda run: (run / "adapter" / WEIGHTS).stat().st_size - 1),
        ("checkpoints", lambda run: (run / "adapter" / WEIGHTS).stat().st_size + 1),
    ],
    ids=["log", "adapter", "checkpoint"],
)
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path, whole, after_step, disk, fails, full):
    after_step(5, lambda: disk(full(tmp_path)))
    with pytest.raises(RunError, match=rf"{fails}: cannot .*Make room on the disk and run the same command again"):
        train(tmp_path)
    disk()
    load_adapter(tmp_path / "adapter", base().config, SHA)
    train(tmp_path)
    assert_same_run(tmp_path, whole[0])


def test_a_full_disk_leaves_the_earlier_checkpoint_intact(tmp_path, whole, monkeypatch):
    def no_space(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    make = Checkpoints.__init__

    def with_full_disk_at_16(self, folder):
        make(self, folder)
        save = self._manager.save
        monkeypatch.setattr(self._manager, "save", lambda step, **k: no_space() if step == 16 else save(step, **k))

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "__init__", with_full_disk_at_16)
        message = r"checkpoint of step 16 \(.*No space left on device\); the checkpoint of step 8 is intact"
        with pytest.raises(RunError, match=message):
            train(tmp_path)
    assert int(last_state(tmp_path).step) == 8
    train(tmp_path)
    assert_same_run(tmp_path, whole[0])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda checkpoint: flip(largest_file(checkpoint)),
        lambda checkpoint: largest_file(checkpoint).unlink(),
        lambda checkpoint: largest_file(checkpoint).write_bytes(largest_file(checkpoint).read_bytes()[:100]),
        lambda checkpoint: flip(checkpoint / "state" / "manifest.ocdbt"),
        lambda checkpoint: flip(checkpoint / "progress" / "metadata"),
        lambda checkpoint: (checkpoint / "progress" / "metadata").write_text("{"),
    ],
    ids=["bit flipped", "file lost", "file cut", "index flipped", "progress flipped", "progress cut"],
)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_leads_to_the_same_bits(damaged, whole, harm):
    run, newest = damaged
    harm(newest)
    with pytest.raises(RunError, match=rf"checkpoints/{STEPS}: cannot be read .*delete that folder to use an earlier"):
        train(run)
    gc.collect()
    shutil.rmtree(newest)
    train(run)
    assert_same_run(run, whole[0])


def test_a_checkpoint_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(RunError, match=r"checkpoints: cannot write the checkpoint of step 0 .*no earlier checkpoint"):
        train(tmp_path)
