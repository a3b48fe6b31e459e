"""From a recipe to a dataset: read and filter, drop repeats, keep evaluation prompts out, judge, balance, write.

Each pass leaves its results on shelves beside the dataset, in `.NAME.building`, under names made from everything those
results depend on. So the same command goes on after any interruption, a changed weight does not repeat the filters, and
a changed input file is read again. The dataset itself appears when it is whole.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune import __version__
from helptune.data.filters import FILTERS
from helptune.data.mixture.chunks import CHUNK, Chunk, chunks
from helptune.data.mixture.decide import decontaminate, drop_duplicates, drop_unsafe, require_agreement
from helptune.data.mixture.funnel import funnel
from helptune.data.mixture.index import Index, gather
from helptune.data.mixture.inputs import check, fingerprints, reads, set_path
from helptune.data.mixture.judge import IN_WORKERS, NONE, classifier_facts, judge, verdicts_file
from helptune.data.mixture.pool import Work, worker_processes
from helptune.data.mixture.recipe import Recipe, SourceSpec, fingerprint, to_json
from helptune.data.mixture.select import select
from helptune.data.mixture.sift import Rules, sift
from helptune.data.mixture.writing import MANIFEST, Build, write_dataset
from helptune.data.sources.record import MALFORMED, Read
from helptune.errors import DataError, Interrupted
from helptune.files import file_sha256, require_vacant, write_folder, write_text
from helptune.lock import working_alone

_COMPLETE = "complete"
"""The file that says that a source was read to its end."""


def build(recipe: Recipe, home: Path, out: Path, workers: int = 2) -> dict[str, Any]:
    """Build, or go on building, the dataset of `recipe` in `out`; returns its manifest.

    Relative paths of the recipe are below `home`. Raises SettingError for a recipe that cannot be carried out, before
    anything is read; DataError for an input that cannot be read, too many malformed records, evaluation prompts among
    the data, or raters who do not agree; Interrupted after Ctrl-C.
    """
    check(recipe, home)
    inputs = {spec.key: fingerprints(spec, home) for spec in recipe.source}
    sets = [set_path(name, home) for name in recipe.decontamination.sets]
    if recipe.agreement.ratings:
        inputs["ratings"] = {recipe.agreement.ratings: file_sha256(home / recipe.agreement.ratings)}
    version = fingerprint(to_json(recipe), json.dumps(inputs), *map(file_sha256, sets), __version__)
    if (out / MANIFEST).exists() and (made := json.loads((out / MANIFEST).read_text()))["version"] == version:
        return made
    require_vacant(out)
    work = out.with_name(f".{out.name}.building")
    work.mkdir(parents=True, exist_ok=True)
    try:
        with working_alone(work), worker_processes(workers) as each:
            rules = Rules(recipe.skip, json.dumps(recipe.filters, sort_keys=True), tuple(map(str, sets)))
            marks = [repr(rules), *map(file_sha256, sets), __version__]
            shelves = {}
            for spec in recipe.source:
                shelf = work / f"{spec.key}-{fingerprint(_reading(spec), json.dumps(inputs[spec.key]), *marks)}"
                shelves[spec.key] = shelf
                _sift_source(each, shelf, spec, reads(spec, home), rules, recipe.max_malformed)
            index = gather(shelves)
            drop_duplicates(index, recipe.duplicates)
            decontaminate(index, recipe.decontamination)
            raters = require_agreement(index, recipe.agreement, home)
            _judge_all(each, index, recipe, [shelf.name for shelf in shelves.values()])
            train, heldout = select(index, recipe)
            flow = funnel(index, list(shelves), list(FILTERS))
            made = Build(recipe, version, inputs, classifier_facts(recipe.safety), raters, index, flow, train, heldout)
            write_folder(out, partial(write_dataset, made))
            shutil.rmtree(work)
    except KeyboardInterrupt as stop:
        raise Interrupted("stopped; the same command goes on from here") from stop
    return json.loads((out / MANIFEST).read_text())


def _reading(spec: SourceSpec) -> str:
    """What decides what is read of a source: its weight and its cap do not."""
    return json.dumps({k: v for k, v in asdict(spec).items() if k not in ("weight", "cap")}, sort_keys=True)


def _sift_source(
    each: Work, shelf: Path, spec: SourceSpec, records: Iterable[Read], rules: Rules, max_malformed: float
) -> None:
    shelf.mkdir(exist_ok=True)
    if not (shelf / _COMPLETE).exists():
        for _ in each(sift, _unfinished(shelf, spec, records, rules)):
            pass
        write_text(shelf / _COMPLETE, "")
    done = [chunk.summary() for chunk in chunks(shelf, spec.key)]
    read = sum(summary["read"] for summary in done)
    malformed = sum(summary["counts"].get(MALFORMED, 0) for summary in done)
    if not read:
        raise DataError(f"source {spec.key!r}: has no records")
    if malformed > max_malformed * read:
        first = next(r for c in chunks(shelf, spec.key) for r in c.records("rejected.jsonl") if r["code"] == MALFORMED)
        raise DataError(
            f"source {spec.key!r}: {malformed:,} of {read:,} records are malformed, more than the recipe's "
            f"max_malformed = {max_malformed:g}; the first is {first['file']}:{first['line']}: {first['reason']}"
        )


def _unfinished(
    shelf: Path, spec: SourceSpec, records: Iterable[Read], rules: Rules
) -> Iterator[tuple[Chunk, tuple[Read, ...], Rules]]:
    """The chunks of a source that are not done. What was done before is read again, but not filtered again."""
    with tqdm(desc=spec.key, unit=" records", mininterval=1) as progress:
        for number, batch in enumerate(batched(records, CHUNK)):
            chunk = Chunk(shelf, spec.key, number)
            if not chunk.done:
                yield chunk, batch, rules
            progress.update(len(batch))


def _judge_all(each: Work, index: Index, recipe: Recipe, shelves: Iterable[str]) -> None:
    """Judge what is left, chunk by chunk, and drop what is unsafe. A model judges here, where it is loaded once."""
    if recipe.safety.classifier == NONE:
        return
    file = verdicts_file(recipe, shelves)
    wanted = [(chunk, index.alive_in(number)) for number, chunk in enumerate(index.chunks)]
    todo = [(chunk, rows, recipe.safety, file) for chunk, rows in wanted if not chunk.file(file).exists()]
    here = recipe.safety.classifier not in IN_WORKERS
    results = (judge(*arguments) for arguments in todo) if here else each(judge, todo)
    sizes = {chunk: len(rows) for chunk, rows in wanted}
    with tqdm(total=len(index.alive), desc="safety", unit=" conversations", mininterval=1) as progress:
        progress.update(sum(len(rows) for chunk, rows in wanted) - sum(len(arguments[1]) for arguments in todo))
        for chunk in results:
            progress.update(sizes[chunk])
    drop_unsafe(index, file)
