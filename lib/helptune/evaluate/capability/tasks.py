"""The shipped items as tasks of lm-evaluation-harness, so that anybody can measure any model on them with other code.

Its `acc_norm` and `acc` of the choices are our `correct` and `correct_raw`, its `acc` of the sums is our `strict`, and
its bits per byte of the prose are our nll of all tokens together, in other units.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helptune.evaluate.capability.arithmetic import arithmetic
from helptune.evaluate.capability.items import load_choices, load_passages
from helptune.files import write_text

CHOICES, SUMS, PROSE = "helptune_choices", "helptune_arithmetic", "helptune_prose"
NAMES = (CHOICES, SUMS, PROSE)


def write_tasks(folder: Path) -> None:
    """Three files of items and three of settings: the harness reads the folder as `--include_path`."""
    choices = ({"id": c.id, "stem": c.stem, "endings": c.endings, "target": 0} for c in load_choices())
    _write(folder, CHOICES, choices, output_type="multiple_choice", doc_to_choice="endings")
    sums = ({"id": e.id, "stem": e.stem, "target": f" {e.answer}\n"} for e in arithmetic())
    _write(folder, SUMS, sums, output_type="loglikelihood")
    prose = ({"id": p.id, "stem": "", "target": p.text} for p in load_passages())
    _write(folder, PROSE, prose, output_type="loglikelihood_rolling")


def _write(folder: Path, task: str, records: Iterable[dict[str, Any]], **settings: str) -> None:
    """YAML reads JSON, so the settings are written as it."""
    data = (folder / f"{task}.jsonl").resolve()
    write_text(data, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    settings |= {"task": task, "dataset_path": "json", "test_split": "test"}
    columns = {"doc_to_text": "stem", "doc_to_target": "target", "target_delimiter": " "}
    files = {"dataset_kwargs": {"data_files": {"test": str(data)}}}
    write_text(folder / f"{task}.yaml", json.dumps(settings | columns | files, indent=1) + "\n")
