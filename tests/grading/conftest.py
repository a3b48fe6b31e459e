"""What grading needs of a machine, and a class that is graded once."""

import csv
import socket

import pytest
from grading_class import LIMITS, Class, build_class, digests

from helptune.exercises.grade import seccomp
from helptune.exercises.grade.batch import grade_all
from helptune.exercises.grade.sandbox import trouble_with_bwrap


@pytest.fixture(scope="session")
def needs_bwrap():
    if trouble := trouble_with_bwrap():
        pytest.skip(trouble)


@pytest.fixture(scope="session", autouse=True)
def needs_linux():
    if not seccomp.supported():
        pytest.skip("submissions are graded on Linux, on x86_64 or aarch64")


@pytest.fixture(scope="session")
def hostile_class(tmp_path_factory, needs_bwrap):
    root = tmp_path_factory.mktemp("class")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        solutions, submissions, extra = build_class(root, listener.getsockname()[1])
        before = digests(submissions) | digests(solutions) | digests(extra)
        batch = grade_all(submissions, root / "out", solutions, extra, jobs=2, limits=LIMITS)
        with (root / "out/marks.csv").open(newline="") as file:
            rows = {(row["learner"], row["question"]): row for row in csv.DictReader(file)}
        yield Class(root, batch, rows, before, listener)
