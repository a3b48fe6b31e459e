"""The verbs that need the real model, once each, in a process of their own as a user runs them."""

import json
import subprocess
import sys

import pytest

TEXTS = ["The capital of France is Paris.", "Ünïcode 🙂 too", "The capital of France is Paris."]


def helptune(*arguments):
    command = [sys.executable, "-c", "from helptune.cli import main; main()", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in finished.stderr
    return finished


def last_json(finished):
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.real
def test_chat_answers_in_one_line_of_json():
    answer = last_json(helptune("chat", "--prompt", "Name a fruit.", "--greedy", "--max-new-tokens", 8, "--json"))
    assert set(answer) == {"text", "ended", "tokens", "seconds"}
    assert isinstance(answer["text"], str)
    assert 0 <= answer["tokens"] <= 8
    assert answer["ended"] or answer["tokens"] == 8


@pytest.mark.real
def test_score_gives_mean_and_token_nll_of_each_text(tmp_path, tokenizer):
    """The mean is that of its tokens, and a text scores the same beside others as alone."""
    file, alone = tmp_path / "texts.json", tmp_path / "alone.json"
    file.write_text(json.dumps(TEXTS))
    alone.write_text(json.dumps(TEXTS[:1]))
    rows = last_json(helptune("score", "--file", file, "--json"))
    assert len(rows) == len(TEXTS)
    for row, text in zip(rows, TEXTS, strict=True):
        assert row["n_tokens"] == len(row["token_nll"]) == len(tokenizer.encode(text))
        assert row["nll"] == pytest.approx(sum(row["token_nll"]) / row["n_tokens"], rel=1e-5)
    assert rows[0] == rows[2]
    assert last_json(helptune("score", "--file", alone, "--json")) == [rows[0]]
    assert rows[0]["nll"] < 5  # a model that knew nothing would be at ln 262,144 = 12.5


@pytest.mark.real
def test_doctor_tells_machine_speed_time_and_checks():
    """Exit code 1 only where a check failed; then the check says what to do."""
    finished = helptune("doctor", "--json")
    found = json.loads(finished.stdout.splitlines()[-1])
    fields = {"date", "python", "system", "processor", "cores", "memory_gib", "packages", "devices", "matmul_gflops"}
    fields |= {"faster_dtype", "finetune_minutes", "checks", "ready", "processes", "xla_flags"}
    fields |= {"preallocation", "attention", "presets", "plan"}
    assert set(found) == fields
    assert found["matmul_gflops"][found["faster_dtype"]] == max(found["matmul_gflops"].values()) > 0
    assert found["finetune_minutes"] > 0
    assert [check["name"] for check in found["checks"]] == ["memory", "disk", "weights"]
    assert found["ready"] == all(check["ok"] for check in found["checks"])
    assert all(check["found"] for check in found["checks"])
    assert finished.returncode == (0 if found["ready"] else 1)
