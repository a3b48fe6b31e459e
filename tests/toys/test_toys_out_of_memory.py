"""What notebook 06 shows of memory: predicted first, and then run into."""

import sys

import pytest

from helptune.toys import out_of_memory
from helptune.toys.out_of_memory import GIB, predicted, step_within

NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")


def test_the_prediction_says_that_only_lora_fits():
    assert predicted("lora").total < 1.4 * GIB < predicted("full").total


@NEEDS_LINUX
@pytest.mark.real
@pytest.mark.parametrize(("method", "told"), [("full", "out of memory"), ("lora", "fits")])
def test_what_was_predicted_happens(method, told):
    assert step_within(method, 1.4) == told


@NEEDS_LINUX
def test_a_process_that_fails_for_another_reason_is_no_proof(monkeypatch):
    monkeypatch.setattr(out_of_memory.subprocess, "run", lambda *a, **k: Failed())
    with pytest.raises(RuntimeError, match="not for want of memory"):
        step_within("lora", 1.4)


class Failed:
    returncode, stdout, stderr = 1, "", "SyntaxError: invalid syntax"
