"""The sources one beside the other: where each is, under which licence, and how it is read. Recipes and cards use it.

`license` and `share_alike` are the licence ledger: what is share-alike stays out of a mixture unless asked for, and
apart. `intended_use` quotes the source's own card, for the data card of what is built from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from helptune.data.sources import (
    curated,
    helpsteer2,
    hh_rlhf,
    messages,
    openassistant,
    posts_xml,
    stackexchange,
)
from helptune.data.sources.locate import data_files
from helptune.data.sources.record import Read, Tally
from helptune.data.sources.rows import rows
from helptune.errors import DataError
from helptune.typed import arguments


@dataclass(frozen=True)
class Source:
    name: str
    read: Callable[..., Iterator[Read]]
    license: str
    """SPDX id; empty where the records or the user say it."""
    intended_use: str
    """Quoted from the source's card, or said by us where there is none."""
    share_alike: bool = False
    opt_in: bool = False
    """`read` asks for an option that says a warning was read."""
    hub: str = ""
    """Dataset on the Hugging Face hub; empty where there is only a local file or folder, or nothing to locate."""
    revision: str = "main"
    data_dir: str = ""
    """Folder of the dataset that is read unless another is named; empty for the whole dataset."""
    files: str = "*"
    """Files of a local folder that are read."""
    beside: Callable[[Path], Path | None] = lambda _: None
    """Another file that `read` opens for one of them."""
    local: bool = True
    """Whether there is something to locate at all."""


SOURCES = {
    source.name: source
    for source in (
        Source(
            "curated",
            curated.read,
            "Apache-2.0",
            "Written for this course: form (length, layout, stopping, asking back), not facts or skills.",
            local=False,
        ),
        Source(
            "oasst1",
            partial(openassistant.read, source="oasst1"),
            "Apache-2.0",
            "In an effort to democratize research on large-scale alignment, we release OpenAssistant Conversations "
            "(OASST1), a human-generated, human-annotated assistant-style conversation corpus",
            hub="OpenAssistant/oasst1",
        ),
        Source(
            "oasst2",
            openassistant.read,
            "Apache-2.0",
            "This dataset contains message trees. Each message tree has an initial prompt message as the root node, "
            "which can have multiple child messages as replies, and these child messages can have multiple replies.",
            hub="OpenAssistant/oasst2",
        ),
        Source(
            "hh-rlhf",
            hh_rlhf.read,
            "MIT",
            hh_rlhf.WARNING,
            opt_in=True,
            hub="Anthropic/hh-rlhf",
            data_dir=hh_rlhf.SUBSETS[0],
        ),
        Source(
            "helpsteer2",
            helpsteer2.read,
            "CC-BY-4.0",
            "HelpSteer2 is an open-source Helpfulness Dataset (CC-BY-4.0) that supports aligning models to become more "
            "helpful, factually correct and coherent, while being adjustable in terms of the complexity and verbosity "
            "of its responses.",
            hub="nvidia/HelpSteer2",
        ),
        Source(
            "stack-exchange-preferences",
            stackexchange.read,
            "CC-BY-SA-4.0",
            "This dataset contains questions and answers from the Stack Overflow Data Dump for the purpose of "
            "preference model training. [...] This data could also be used for instruction fine-tuning and language "
            "model training.",
            share_alike=True,
            hub="HuggingFaceH4/stack-exchange-preferences",  # 22 GB; one site is a folder: data/stats.stackexchange.com
        ),
        Source(
            "stack-exchange",
            posts_xml.read,
            "CC-BY-SA-4.0",  # the newest; every record says its own, as old posts are 2.5 or 3.0
            "The dumps come without a stated use; their licence asks for attribution and share-alike.",
            share_alike=True,
            files="Posts.xml*",
            beside=posts_xml.users_beside,
        ),
        Source("messages", messages.read, "", "A file of your own; its use is yours to state."),
    )
}


def conversations(
    name: str,
    where: Path | str | None = None,
    *,
    split: str = "train",
    revision: str | None = None,
    data_dir: str = "",
    tally: Tally | None = None,
    **options: Any,
) -> Iterator[Read]:
    """Everything of the source called `name`: Conversations, and a Rejected for what gave none, in a fixed order.

    `where` is a local file or folder; without it the hub is asked. `data_dir` is a folder there, which must be there if
    it is named; without it, the source's own, if it is there. `tally` counts the rows that are taken. `options` are
    those of the source's `read`.
    Raises SettingError for an option that `read` does not take, DataError when the source is unknown, when nothing is
    found, and where `read` does.
    """
    if name not in SOURCES:
        raise DataError(f"{name!r} is no source; there are {', '.join(SOURCES)}")
    source = SOURCES[name]
    options = read_options(source, options)
    if not source.local:
        return source.read(split=split, **options)
    if where is None and not source.hub:
        raise DataError(f"{name}: is on no hub; name a local file or folder")
    found = rows(
        where or source.hub,
        split=split,
        revision=revision or source.revision,
        data_dir=_part(source, Path(where or source.hub), data_dir),
        files=source.files,
    )
    return source.read(tally.counting(found) if tally else found, **options)


def read_options(source: Source, options: dict[str, Any], where: str = "options") -> dict[str, Any]:
    """`options` as the source's `read` takes them. Raises SettingError for a name or a type that it does not take."""
    return arguments(source.read, options, where, without=["split"])


def local_files(source: Source, path: Path, *, split: str = "train", data_dir: str = "") -> list[Path]:
    """Every file that `conversations` opens to read `path`; raises the same DataError where there is none."""
    found = data_files(path, split=split, data_dir=_part(source, path, data_dir), files=source.files)
    return found + [other for file in found if (other := source.beside(file))]


def _part(source: Source, path: Path, data_dir: str) -> str:
    """`data_dir`, or the source's own, which a local copy need not have: it may be a file, or that folder itself."""
    missing = path.exists() and not (path / source.data_dir).is_dir()
    return data_dir or ("" if missing else source.data_dir)
