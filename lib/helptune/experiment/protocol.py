"""What an evaluation will measure and what would count as success, on paper before anything is measured.

Whoever chooses the metric after the figures can show anything. So the primary metric, the targets, the number of items
and the identity of models and questions are written first. Where something else is measured in the same folder later,
the protocols before stay in the file, each with its date, and the report says so. A finished run has answered its
held-out prompts by then, and no metric has seen the answers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helptune.compare.engine import ALPHA
from helptune.data.safety.classifier import SafetyClassifier
from helptune.errors import RunError
from helptune.evaluate.metrics import METRICS, PRIMARY
from helptune.experiment import acceptance
from helptune.experiment.subject import Subject
from helptune.files import write_text

PROTOCOL = "protocol.json"
_OF_THE_FILE = ("date", "before")


def write_protocol(
    folder: Path, subject: Subject, classifier: SafetyClassifier, sets: Mapping[str, Any], measures: Mapping[str, Any]
) -> None:
    """Write `protocol.json`, or leave the one that says the same: its date is that of the first time.

    `sets` are the questions by name, each with a length; `measures` is what else decides how they are measured.
    """
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
        "examples": {s.name: [c.id for c in s.examples] for s in subject.speakers if s.examples},
        "sets": {name: {"n": len(own), "sha256": _sha256(own)} for name, own in sets.items()},
        "classifier": {"name": classifier.name, "version": classifier.version},
        "measures": dict(measures),
        "excluded": "nothing",
    }
    path, before = folder / PROTOCOL, list[dict[str, Any]]()
    if path.exists():
        last = read_protocol(folder)
        if {name: value for name, value in last.items() if name not in _OF_THE_FILE} == protocol:
            return
        before = [*last.pop("before", []), last]
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(path, json.dumps({"date": date, **protocol, "before": before}, indent=2) + "\n")


def read_protocol(folder: Path) -> dict[str, Any]:
    """Raises RunError where it is missing or damaged: it must not be lost unseen."""
    path = folder / PROTOCOL
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(date, str) for date in _dates(found)):
            raise TypeError("a date is not a text")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: missing or damaged ({error!r:.80}); move it away and run `helptune evaluate` to write it anew"
        ) from error


def dates(folder: Path) -> tuple[str, ...]:
    """When each protocol of this evaluation was written, the first one first; nothing where there is none."""
    if not (folder / PROTOCOL).exists():
        return ()
    return _dates(read_protocol(folder))


def _dates(protocol: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one["date"] for one in [*protocol.get("before", []), protocol])


def _families() -> list[str]:
    return list(dict.fromkeys(metric.family for metric in METRICS))


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=asdict, sort_keys=True).encode()).hexdigest()
