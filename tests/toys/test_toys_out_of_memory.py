"""What notebook 06 shows of memory: predicted first, and then run into."""

import sys

import pytest

from helptune.toys import out_of_memory
from helptune.toys.out_of_memory import GIB, predicted, step_within

NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")


def test_the_prediction_says_that_only_lora_fits():
    assert predicted("lora").total < 0.6 * GIB < predicted("full").total < 2.4 * GIB


@NEEDS_LINUX
@pytest.mark.real
@pytest.mark.parametrize(
    ("method", "gib", "told"),
    [("full", 0.6, "out of memory"), ("full", 1.9, "out of memory"), ("full", 2.4, "fits"), ("lora", 0.6, "fits")],
)
def test_what_was_predicted_happens(method, gib, told):
    assert step_within(method, gib) == told


@NEEDS_LINUX
def test_a_process_that_fails_for_another_reason_is_no_proof(monkeypatch):
    monkeypatch.setattr(out_of_memory.subprocess, "run", lambda *a, **k: Failed())
    with pytest.raises(RuntimeError, match="not for want of memory"):
        step_within("lora", 0.6)


class Failed:
    returncode, stdout, stderr = 1, "", "SyntaxError: invalid syntax"
