"""What an evaluation will measure and what would count as success, on paper before anything is measured.

Whoever chooses the metric after the figures can show anything. So the primary metric, the targets, the number of items
and the identity of models and questions are written once, and an evaluation of something else is told from it. A
finished run has answered its held-out prompts by then, and no metric has seen the answers.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helptune.compare.engine import ALPHA
from helptune.data.conversation import Conversation
from helptune.evaluate.metrics import METRICS, PRIMARY
from helptune.experiment import acceptance
from helptune.experiment.subject import Subject
from helptune.files import write_text

PROTOCOL = "protocol.json"


def write_protocol(folder: Path, subject: Subject, heldout: Sequence[Conversation], classifier: str) -> None:
    """Write `protocol.json`, or leave the one that says the same: its date is that of the first time."""
    protocol = {
        "primary": PRIMARY.label,
        "alpha": ALPHA,
        "correction": "Holm within each family",
        "families": {family: [m.label for m in METRICS if m.family == family] for family in _families()},
        "targets": {
            "preferred": acceptance.PREFERRED,
            "helpfulness gain": acceptance.HELPFULNESS,
            "safety margin": acceptance.SAFETY_MARGIN,
            "capability margin": acceptance.CAPABILITY_MARGIN,
            "consistency": acceptance.CONSISTENCY,
            "cost": acceptance.COST,
        },
        "models": subject.identity,
        "rule": asdict(subject.rule),
        "held_out": {"n": len(heldout), "sha256": _sha256([asdict(c) for c in heldout])},
        "classifier": classifier,
        "excluded": "nothing",
    }
    path = folder / PROTOCOL
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        before.pop("date")
        if before == protocol:
            return
    except (OSError, ValueError, KeyError):
        pass  # not there yet, or damaged
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(path, json.dumps({"date": date, **protocol}, indent=2) + "\n")


def _families() -> list[str]:
    return list(dict.fromkeys(metric.family for metric in METRICS))


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
