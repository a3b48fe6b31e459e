"""What a recipe reads: sources, from files or from the hub, and hashed evaluation sets; and marks of all of them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from helptune.data.conversation import CURATED, Conversation
from helptune.data.decontaminate import EVALUATION_SETS
from helptune.data.mixture.recipe import Recipe, SourceSpec
from helptune.data.mixture.sift import check_filters
from helptune.data.sources.record import UNREADABLE, Read, Tally
from helptune.data.sources.table import SOURCES, Source, conversations, local_files, read_options
from helptune.errors import DataError, SettingError
from helptune.files import file_sha256

RATINGS = "agreement/ratings"
"""Among the inputs of a manifest, which are otherwise by source: no source can be called that."""


def check(recipe: Recipe, home: Path) -> None:
    """Raises SettingError for what can be known before a record is read."""
    check_filters(recipe.skip, recipe.filters)
    for spec in recipe.source:
        source = source_of(spec)
        if source.share_alike and not recipe.share_alike:
            raise SettingError(
                f"source {spec.key!r}: its licence, {source.license}, binds what is made from it; "
                "say share_alike = true to make a dataset under that licence"
            )
        read_options(source, spec.options, f"source {spec.key!r}: options")
        if spec.path and not (home / spec.path).exists():
            raise SettingError(f"source {spec.key!r}: {home / spec.path} does not exist")
        if not spec.path and source.local and not source.hub:
            raise SettingError(f"source {spec.key!r}: needs a path, it has no name on the hub")
        if spec.path or not source.local:  # what cannot be read says so now; the hub is not asked for that
            reads(spec, home)
    for name in recipe.decontamination.sets:
        set_path(name, home)
    if recipe.agreement.ratings and not (home / recipe.agreement.ratings).is_file():
        raise SettingError(f"agreement.ratings: {home / recipe.agreement.ratings} does not exist")


def source_of(spec: SourceSpec) -> Source:
    if spec.name not in SOURCES:
        raise SettingError(f"source {spec.name!r} is not one of {', '.join(SOURCES)}")
    return SOURCES[spec.name]


def reads(spec: SourceSpec, home: Path, tally: Tally | None = None) -> Iterator[Read]:
    """Conversations and rejected records of a source, the latter with the path that the recipe gives its files.

    `tally` counts the rows that they are made of. Raises SettingError for an option that the source does not take, and
    DataError where nothing can be read, and on the way where the rest of a file is lost.
    """
    every = conversations(
        spec.name,
        home / spec.path if spec.path else None,
        split=spec.split,
        revision=spec.revision or None,
        data_dir=spec.data_dir,
        tally=tally,
        **spec.options,
    )
    return (_located(read, spec, home) for read in islice(every, spec.limit or None))


def _located(read: Read, spec: SourceSpec, home: Path) -> Read:
    if isinstance(read, Conversation):
        return read
    file = _named(read.file, home)
    if read.code == UNREADABLE:
        raise DataError(
            f"source {spec.key!r}: {file}:{read.line}: {read.reason}. What follows there would be missing without a "
            "word: get the file again, or take it out, and run the command again"
        )
    return replace(read, file=file)


def _named(file: Path | str, home: Path) -> str:
    """As the recipe names it: from `home`."""
    return str(file).removeprefix(f"{home}/")


def fingerprints(spec: SourceSpec, home: Path) -> dict[str, str]:
    """sha256 of every file that a source reads, by its path in the recipe, or the commit of a dataset on the hub."""
    if source_of(spec).local and not spec.path:
        return {source_of(spec).hub: _commit(spec)}
    return {name: file_sha256(file) for name, file in _files(spec, home).items()}


def stamps(spec: SourceSpec, home: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file that a source reads: cheap to compare, where the sha256 is not."""
    facts = {name: file.stat() for name, file in _files(spec, home).items()}
    return {name: (found.st_size, found.st_mtime_ns) for name, found in facts.items()}


def _files(spec: SourceSpec, home: Path) -> dict[str, Path]:
    """Those that are read, by their path in the recipe; none of a dataset on the hub: a commit does not change."""
    source = source_of(spec)
    if not source.local:
        return {f"{spec.split}/{path.name}": path for path in sorted((CURATED / spec.split).glob("*.jsonl"))}
    if not spec.path:
        return {}
    found = local_files(source, home / spec.path, split=spec.split, data_dir=spec.data_dir)
    return {_named(path, home): path for path in found}


def _commit(spec: SourceSpec) -> str:
    """What `revision` names today: a branch moves, so the dataset's manifest keeps the commit."""
    from huggingface_hub import HfApi

    source = source_of(spec)
    try:
        commit = HfApi().dataset_info(source.hub, revision=spec.revision or source.revision).sha
    except Exception as error:  # whatever the hub and the network raise
        raise DataError(
            f"source {spec.key!r}: {source.hub} cannot be reached ({type(error).__name__}: {str(error)[:200]}). "
            "Offline, give `path`: a file or folder in the same schema"
        ) from error
    return str(commit)


def set_path(name: str, home: Path) -> Path:
    """The file of a hashed evaluation set: a shipped one by its name, another by its path."""
    if (shipped := EVALUATION_SETS / f"{name}.json").is_file():
        return shipped
    if (home / name).is_file():
        return home / name
    names = ", ".join(sorted(path.stem for path in EVALUATION_SETS.glob("*.json")))
    raise SettingError(f"decontamination.sets: {name!r} is no file, and not one of {names}")
