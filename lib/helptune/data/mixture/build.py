"""From a recipe to a dataset: read and filter, drop repeats, keep evaluation prompts out, judge, balance, write.

Each pass leaves its results on shelves beside the dataset, in `.NAME.building`, under names made from everything those
results depend on. So the same command goes on after any interruption, a weight that is changed before the dataset is
whole does not repeat the filters, and a changed input file is read again. When the dataset is whole, the shelves go.
"""

import errno
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune import __version__
from helptune.data import difficulty
from helptune.data.mixture.chunks import Chunk, batches, chunks
from helptune.data.mixture.decide import decontaminate, drop_duplicates, drop_unsafe, require_agreement
from helptune.data.mixture.funnel import funnel
from helptune.data.mixture.hardness import LOSS, Losses, estimate_by_loss
from helptune.data.mixture.index import Index, gather
from helptune.data.mixture.inputs import RATINGS, check, fingerprints, reads, set_path, source_of, stamps
from helptune.data.mixture.judge import IN_WORKERS, NONE, classifier_facts, judge, verdicts_file
from helptune.data.mixture.pool import Work, worker_processes
from helptune.data.mixture.recipe import Recipe, SourceSpec, fingerprint, to_json
from helptune.data.mixture.select import select
from helptune.data.mixture.sift import Rules, sift
from helptune.data.mixture.writing import MANIFEST, Build, read_manifest, require_as_built, write_dataset
from helptune.data.sources.record import MALFORMED, Read, Tally
from helptune.errors import DataError, Interrupted, RunError, SettingError
from helptune.files import file_sha256, require_vacant, write_folder, write_text
from helptune.lock import working_alone

_COMPLETE = "rows"
"""The file that says that a source was read to its end, and how many rows that were."""

_SHOWN = 5


def build(recipe: Recipe, home: Path, out: Path, workers: int = 2, losses: Losses | None = None) -> dict[str, Any]:
    """Build, or go on building, the dataset of `recipe` in `out`; returns its manifest.

    Relative paths of the recipe are below `home`; `losses` are asked for where the recipe's difficulty is by loss.
    Raises SettingError for a recipe that cannot be carried out, before anything is read; DataError for an input that
    cannot be read, too many malformed records, evaluation prompts among the data, raters who do not agree, or a
    finished dataset that was changed; RunError for a full disk or another build at work; Interrupted after Ctrl-C.
    """
    check(recipe, home)
    if recipe.difficulty == LOSS and losses is None:
        raise SettingError("difficulty: is by loss, and nobody computes it; hand `losses` to the build")
    _require_apart(recipe, home, out)
    before = {spec.key: stamps(spec, home) for spec in recipe.source}
    inputs = {spec.key: fingerprints(spec, home) for spec in recipe.source}
    sets = [set_path(name, home) for name in recipe.decontamination.sets]
    if recipe.agreement.ratings:
        inputs[RATINGS] = {recipe.agreement.ratings: file_sha256(home / recipe.agreement.ratings)}
    classifier = classifier_facts(recipe.safety)
    ours = (file_sha256(difficulty.SHIPPED), __version__)  # what estimates difficulty, and all other code
    version = fingerprint(to_json(recipe), json.dumps(inputs), *map(file_sha256, sets), json.dumps(classifier), *ours)
    work = out.absolute().with_name(f".{out.absolute().name}.building")
    if (out / MANIFEST).exists() and (made := read_manifest(out))["version"] == version:
        require_as_built(out, made)
        shutil.rmtree(work, ignore_errors=True)  # of a build that was killed when its dataset was whole
        return made
    require_vacant(out)
    work.mkdir(parents=True, exist_ok=True)
    try:
        with working_alone(work), worker_processes(workers) as each:
            rules = Rules(recipe.skip, json.dumps(recipe.filters, sort_keys=True), tuple(map(str, sets)))
            marks = [repr(rules), *map(file_sha256, sets), *ours]
            shelves = {}
            for spec in recipe.source:
                shelf = work / f"{spec.key}-{fingerprint(_reading(spec), json.dumps(inputs[spec.key]), *marks)}"
                shelves[spec.key] = shelf
                pinned = replace(spec, revision=inputs[spec.key].get(source_of(spec).hub, spec.revision))
                _sift_source(each, shelf, pinned, home, rules, recipe.max_malformed)
                _require_unchanged(spec, before[spec.key], stamps(spec, home), shelf)
            index = gather(shelves)
            drop_duplicates(index, recipe.duplicates)
            decontaminate(index, recipe.decontamination)
            raters = require_agreement(index, recipe.agreement, home)
            _judge_all(each, index, recipe)
            _require_some(index, list(shelves))
            if recipe.difficulty == LOSS and losses is not None:
                estimate_by_loss(index, losses)
            train, heldout = select(index, recipe)
            decided = Build(
                recipe, version, inputs, classifier, raters, index, funnel(index, list(shelves)), train, heldout
            )
            write_folder(out, partial(write_dataset, decided))
            shutil.rmtree(work)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; the same command goes on from here") from stop
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise RunError(f"{work.parent}: the disk is full; make room, and the same command goes on") from error
    return read_manifest(out)


def _require_apart(recipe: Recipe, home: Path, out: Path) -> None:
    """Raises SettingError where a build would read what it writes."""
    for spec in recipe.source:
        if spec.path and out.resolve().is_relative_to((home / spec.path).resolve()):
            raise SettingError(f"{out}: lies in what source {spec.key!r} reads, {home / spec.path}; name another place")


def _reading(spec: SourceSpec) -> str:
    """What decides what is read of a source: its weight and its cap do not."""
    return json.dumps({k: v for k, v in asdict(spec).items() if k not in ("weight", "cap")}, sort_keys=True)


def _sift_source(each: Work, shelf: Path, spec: SourceSpec, home: Path, rules: Rules, max_malformed: float) -> None:
    shelf.mkdir(exist_ok=True)
    if not (shelf / _COMPLETE).exists():
        tally = Tally()
        for _ in each(sift, _unfinished(shelf, spec, reads(spec, home, tally), rules)):
            pass
        write_text(shelf / _COMPLETE, str(tally.rows))
    rows, done = int((shelf / _COMPLETE).read_text()), chunks(shelf, spec.key)
    if not any(chunk.summary()["read"] for chunk in done):
        raise DataError(f"source {spec.key!r}: has no records")
    if sum(chunk.summary()["source"].get(MALFORMED, 0) for chunk in done) > max_malformed * rows:
        every = (r for chunk in done for r in chunk.records("rejected.jsonl") if r["code"] == MALFORMED)
        malformed = {(r["file"], r["line"]): r["reason"] for r in every}  # a row may be at fault several times
        if len(malformed) > max_malformed * rows:
            (file, line), reason = next(iter(malformed.items()))
            raise DataError(
                f"source {spec.key!r}: {len(malformed):,} of {rows:,} rows are malformed, more than the recipe's "
                f"max_malformed = {max_malformed:g}; the first is {file}:{line}: {reason}"
            )


def _require_unchanged(spec: SourceSpec, before: dict[str, Any], after: dict[str, Any], shelf: Path) -> None:
    """Raises DataError for a file that changed since it was hashed; what was read of it is thrown away."""
    if changed := sorted(name for name in before | after if before.get(name) != after.get(name)):
        shutil.rmtree(shelf)
        raise DataError(f"source {spec.key!r}: {changed[0]} changed while it was read; run the command again")


def _unfinished(
    shelf: Path, spec: SourceSpec, records: Iterable[Read], rules: Rules
) -> Iterator[tuple[Chunk, tuple[Read, ...], Rules]]:
    """The chunks of a source that are not done. What was done before is read again, but not filtered again."""
    with tqdm(desc=spec.key, unit=" records", mininterval=1) as progress:
        for number, batch in enumerate(batches(records)):
            chunk = Chunk(shelf, spec.key, number)
            if not chunk.done:
                yield chunk, batch, rules
            progress.update(len(batch))


def _require_some(index: Index, keys: list[str]) -> None:
    """Raises DataError, with the reasons, when nothing is left to choose from."""
    if not index.alive:
        steps = sorted(funnel(index, keys).steps, key=lambda step: -step.count)[:_SHOWN]
        reasons = ", ".join(f"{step.reason} {step.count:,} of {step.source}" for step in steps)
        raise DataError(f"no conversation is left: {reasons}. Change the recipe's sources or rules")


def _judge_all(each: Work, index: Index, recipe: Recipe) -> None:
    """Judge what is left, chunk by chunk, and drop what is unsafe. A model judges here, where it is loaded once."""
    if recipe.safety.classifier == NONE:
        return
    wanted = [(chunk, index.alive_in(number)) for number, chunk in enumerate(index.chunks)]
    files = [chunk.file(verdicts_file(recipe.safety, rows)) for chunk, rows in wanted]
    ours = {spec.key: spec.name == "curated" for spec in recipe.source}
    todo = [
        (chunk, rows, recipe.safety, ours[chunk.key])
        for (chunk, rows), file in zip(wanted, files, strict=True)
        if not file.exists()
    ]
    here = recipe.safety.classifier not in IN_WORKERS
    results = (judge(*arguments) for arguments in todo) if here else each(judge, todo)
    sizes = {chunk: len(rows) for chunk, rows in wanted}
    with tqdm(total=len(index.alive), desc="safety", unit=" conversations", mininterval=1) as progress:
        progress.update(sum(len(rows) for chunk, rows in wanted) - sum(len(arguments[1]) for arguments in todo))
        for chunk in results:
            progress.update(sizes[chunk])
    drop_unsafe(index, files)
