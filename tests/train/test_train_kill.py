"""kill -9 for real: a training process is ended between two steps, half a line of its log written."""

import os
import subprocess
import sys
import time

from train_runs import assert_same_run, metrics, same_bits, train

SCRIPT = """
import sys
import time
from pathlib import Path

from helptune.train import fit as loop
from train_runs import train

write = loop.log

def log(path, record):
    write(path, record)
    if record["step"] == 13:
        with path.open("a") as file:
            file.write('{"step": 14, "los')
        time.sleep(600)  # until it is killed

loop.log = log
train(Path(sys.argv[1]))
"""


def test_a_run_killed_between_steps_goes_on_to_the_same_bits(tmp_path, whole):
    log = tmp_path / "run" / "metrics.jsonl"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "run")], env=env, stdout=output, stderr=output
        )
    try:
        while not (log.exists() and log.read_text().endswith('{"step": 14, "los')):
            assert process.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()

    result = train(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole[0])
    assert same_bits(result.adapters, whole[1].adapters)
    steps = [line["step"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert steps == sorted(set(steps))
