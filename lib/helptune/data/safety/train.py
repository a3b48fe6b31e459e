"""Fit the screens on the training split, choose and calibrate on the development split, measure once on the test split.

What is chosen: the penalty, and whether the curated conversations join the training split as safe texts; for the probe
layer and pooling too. All choices go by the area under the ROC curve on the development split, averaged with
the area on its hard pairs (unsafe against safe texts that look alike). The test split decides nothing: it is read when
everything else is written down.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.safety import lexical, probe
from helptune.data.safety.classifier import TARGETS, UNCALIBRATED, SafetyClassifier, calibrate
from helptune.data.safety.hidden import cut_off, pooled
from helptune.data.safety.labelled import (
    REFUSALS,
    SPLITS,
    Labelled,
    by_target,
    load_labelled,
    load_refusals,
    ordinary,
    set_sha256,
)
from helptune.data.safety.measure import auc, measure, measure_refusals
from helptune.errors import DataError, SettingError
from helptune.files import write_text
from helptune.gemma.base import Base
from helptune.gemma.tokenizer import Tokenizer

log = logging.getLogger(__name__)

MEASURES = "measures.json"
LEXICAL_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
PROBE_PENALTIES = (1e-3, 1e-2, 1e-1)
LAYERS = (6, 8, 10, 12)
EXTRA = (False, True)


def train_safety(folder: Path, out: Path, which: str = "all") -> dict[str, Any]:
    """Train `lexical`, `probe` or `all` on `folder`'s train, dev and test files; weights and measures.json go to `out`.

    Gives what measures.json holds; earlier figures of the other classifier stay in it where they are of the same sets.
    The same files give the same bits on the same machine. Raises DataError for a malformed or overlapping set,
    SettingError for an unknown classifier.
    """
    known = (lexical.NAME, probe.NAME)
    if which not in ("all", *known):
        raise SettingError(f"classifier {which!r} is not one of all, {', '.join(known)}")
    splits = {split: load_labelled(split, folder) for split in SPLITS}
    check_splits(splits)
    sets = {split: {"n": len(own), "sha256": set_sha256(own)} for split, own in splits.items()}
    found = _earlier(out, sets)
    for name in known if which == "all" else (which,):
        fit = fit_lexical if name == lexical.NAME else _fit_embedded_probe
        chosen, classifier = fit(splits["train"], splits["dev"], out)
        figures = {split: measure(classifier, splits[split], classifier.thresholds) for split in ("dev", "test")}
        about = {"version": classifier.version, "thresholds": asdict(classifier.thresholds), "chosen": chosen}
        found["sets"] = sets
        found[name] = about | figures
        if (folder / REFUSALS).is_file():
            refusals = load_refusals(folder)
            found["refusal"] = {split: measure_refusals(splits[split], refusals) for split in ("dev", "test")}
        write_text(out / MEASURES, json.dumps(found, indent=1) + "\n")
    return found


def check_splits(splits: Mapping[str, Sequence[Labelled]]) -> None:
    """Raises DataError where two splits share a text, or a split lacks a label that is needed."""
    seen: dict[str, str] = {}
    for split, records in splits.items():
        for target in TARGETS:
            labels = {record.label for record in records if record.target == target}
            if labels != {"safe", "unsafe"}:
                raise DataError(f"{split}: target {target!r} needs safe and unsafe records, found {sorted(labels)}")
        for record in records:
            key = f"{record.target} {record.text.casefold().strip()}"
            if seen.setdefault(key, split) != split:
                raise DataError(f"{split}: record {record.id!r} has a text that is in {seen[key]} too")


def fit_lexical(train: Sequence[Labelled], dev: Sequence[Labelled], out: Path) -> tuple[dict, SafetyClassifier]:
    """(what was chosen, the classifier read back from `out`)."""
    held, screens, chosen = by_target(dev), {}, {}
    for target, own in by_target(train).items():
        tried = []
        for extra, penalty in product(EXTRA, LEXICAL_PENALTIES):
            screen = lexical.fit(own + _curated(target) if extra else own, penalty)
            p, _ = screen.probabilities([record.text for record in held[target]])
            tried.append((quality(p, held[target]), screen, {"curated as safe": extra, "penalty": penalty}))
        best, screens[target], told = max(tried, key=lambda one: one[0])
        chosen[target] = told | {"dev quality": round(best, 4)}
    return chosen, _calibrated(partial(lexical.save, out, screens), partial(lexical.load, out), dev)


def _fit_embedded_probe(train: Sequence[Labelled], dev: Sequence[Labelled], out: Path) -> tuple[dict, SafetyClassifier]:
    from helptune.gemma.checkpoints import embedded_sha256, load_base, load_embedded_tokenizer

    return fit_probe(train, dev, out, load_base("float32"), load_embedded_tokenizer(), embedded_sha256())


def fit_probe(
    train: Sequence[Labelled],
    dev: Sequence[Labelled],
    out: Path,
    base: Base,
    tokenizer: Tokenizer,
    base_sha256: str,
    layers: Sequence[int] = LAYERS,
) -> tuple[dict, SafetyClassifier]:
    """(what was chosen, beside the best of each number of layers; the classifier read back from `out`)."""
    held, heads = by_target(dev), {}
    chosen: dict[str, dict[str, Any]] = {}
    for target, own in by_target(train).items():
        best, tried = -1.0, []
        for depth in layers:
            fitted = _heads(own, held[target], cut_off(base, depth), tokenizer)
            found, head, told = max(fitted, key=lambda one: one[0])
            tried.append({**told, "dev quality": round(found, 4)})
            log.info("%s: %s", target, tried[-1])
            if found > best:
                best, heads[target], chosen[target] = found, head, tried[-1]
        chosen[target] = chosen[target] | {"tried": tried}
    save = partial(probe.save, out, heads, base_sha256)
    return chosen, _calibrated(save, partial(probe.load, out, base, tokenizer, base_sha256), dev)


def _heads(
    own: Sequence[Labelled], held: Sequence[Labelled], base: Base, tokenizer: Tokenizer
) -> Iterator[tuple[float, probe.Head, dict[str, Any]]]:
    """(quality on `held`, head fitted on `own`, what it is) of every pooling and penalty, on a base cut off."""
    wording = probe.WORDINGS[own[0].target]
    more = _curated(own[0].target)
    x, y, z = (_features(base, tokenizer, wording, records) for records in (own, held, more))
    for extra, pooling, penalty in product(EXTRA, probe.POOLINGS, PROBE_PENALTIES):
        place = probe.Place(base.config.layers, wording, pooling, penalty)
        fitted = (np.concatenate([x, z]), [*own, *more]) if extra else (x, own)
        head = probe.fit_head(place, *fitted)
        told = {"layers": place.layers, "curated as safe": extra, "pooling": pooling, "penalty": penalty}
        yield quality(head.probabilities(y), held), head, told


def quality(p: np.ndarray, records: Sequence[Labelled]) -> float:
    """What is maximized on the development split: the mean of two areas, all texts and the hard pairs."""
    unsafe, contrast = (np.array([wanted(r) for r in records], bool) for wanted in (_is_unsafe, _is_contrast))
    whole = auc(p[unsafe], p[~unsafe])
    return (whole + auc(p[unsafe], p[contrast])) / 2 if contrast.any() else whole


def _curated(target: str) -> list[Labelled]:
    return [record for record in ordinary() if record.target == target]


def _features(base: Base, tokenizer: Tokenizer, wording: probe.Wording, records: Sequence[Labelled]) -> np.ndarray:
    """Of the first window of each text."""
    rows = (probe.readings(tokenizer, wording, r.prompt, r.response or None) for r in records)
    return pooled(base, [next(windows) for windows in rows])


def _calibrated(
    save: Callable[[Mapping[str, Any]], None], load: Callable[[], SafetyClassifier], dev: Sequence[Labelled]
) -> SafetyClassifier:
    """Written first without thresholds: what is calibrated is what will be read."""
    save({"thresholds": asdict(UNCALIBRATED)})
    save({"thresholds": asdict(calibrate(load(), dev))})
    return load()


def _earlier(out: Path, sets: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of the other classifier on the same sets, when one alone is trained again."""
    path = out / MEASURES
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if found.get("sets") == sets else {}


def _is_unsafe(record: Labelled) -> bool:
    return record.unsafe


def _is_contrast(record: Labelled) -> bool:
    return record.kind == "contrast"
