"""The recorded run of notebook 07: `.ci/record_run.py FOLDER` trains the preset, and keeps what the notebook shows.

It is measured on the notebook's own held-out conversations. Interrupted, it goes on; then it writes
course/recorded_run.json.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from helptune.data.conversation import load_curated, write_conversations
from helptune.evaluate.answers import read_answers
from helptune.experiment.finetune import finetune
from helptune.experiment.presets import named_preset
from helptune.experiment.runs import read_json
from helptune.train.metrics import read_metrics

RECORD = Path(__file__).parent.parent / "course" / "recorded_run.json"
NEW_TOKENS = 64


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    one_a_category = {c.category: c for c in reversed(load_curated("heldout"))}
    write_conversations(folder / "heldout.jsonl", sorted(one_a_category.values(), key=lambda c: c.id))
    preset = named_preset("gemma-3-270m")
    config = replace(preset, heldout_file=str(folder / "heldout.jsonl"), max_new_tokens=NEW_TOKENS)
    summary = finetune(config, folder / "run")
    environment = read_json(folder / "run" / "environment.json")
    lines = read_metrics(folder / "run" / "metrics.jsonl")
    answers = read_answers(folder / "run" / "eval" / "tuned.jsonl")
    kept = ("step", "loss", "eval_loss", "samples")
    record = {
        "environment": environment,
        "heldout_loss": summary["heldout_loss"],
        "training": summary["training"],
        "metrics": [{name: line[name] for name in kept if name in line} for line in lines],
        "answers": {answer.id: answer.text for answer in answers},
        "ended": {answer.id: answer.ended for answer in answers},
    }
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
