"""The sources, a row each: what they are called on the hub, under which licence, and what their authors meant them for.

The licence ledger is the column `share_alike`: what such a source gives binds what is made of it, so a recipe must ask
for it. `caution` is what a data card must pass on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from helptune.data.sources.record import Read
from helptune.data.sources.rows import hub_rows, local_rows
from helptune.errors import SettingError


@dataclass(frozen=True)
class SourceInfo:
    """`rows` reads conversations from located rows; `open` instead reads a path of the source's own format."""

    title: str
    license: str
    hub: str = ""
    hub_options: tuple[tuple[str, str], ...] = ()
    share_alike: bool = False
    published: str = ""
    intended: str = ""
    caution: str = ""
    home: str = ""
    rows: Callable[..., Iterator[Read]] | None = None
    open: Callable[..., Iterator[Read]] | None = None
    defaults: tuple[tuple[str, Any], ...] = ()


_OASST = "Conversations that volunteers wrote, rated and ranked, to train open assistants."

SOURCES = {
    "curated": SourceInfo(
        title="helptune curated conversations",
        license="Apache-2.0",
        intended="Demonstrations for fine-tuning a small model to be helpful, on a laptop.",
        caution="Written with the help of a language model; no human has rated them.",
    ),
    "oasst1": SourceInfo(
        title="OpenAssistant Conversations, release 1",
        license="Apache-2.0",
        hub="OpenAssistant/oasst1",
        home="https://huggingface.co/datasets/OpenAssistant/oasst1",
        published="84,437 messages for training and 4,401 for validation",
        intended=_OASST,
        rows=openassistant.read,
        defaults=(("source", "oasst1"),),
    ),
    "oasst2": SourceInfo(
        title="OpenAssistant Conversations, release 2",
        license="Apache-2.0",
        hub="OpenAssistant/oasst2",
        home="https://huggingface.co/datasets/OpenAssistant/oasst2",
        published="128,575 messages for training and 6,599 for validation",
        intended=_OASST,
        rows=openassistant.read,
        defaults=(("source", "oasst2"),),
    ),
    "hh-rlhf": SourceInfo(
        title="Anthropic hh-rlhf, helpful side",
        license="MIT",
        hub="Anthropic/hh-rlhf",
        hub_options=(("data_dir", "helpful-base"),),
        home="https://huggingface.co/datasets/Anthropic/hh-rlhf",
        published="160,800 pairs for training and 8,552 for testing, over all subsets",
        intended="To train preference models for reinforcement learning from human feedback.",
        caution=(
            "Its authors say that it is not meant for the supervised training of dialogue agents, which is likely to "
            "give harmful models. Only the preferred side of the helpful subsets is taken, opt-in, behind a safety "
            "filter; the texts may be offensive."
        ),
        rows=hh_rlhf.read,
    ),
    "stack-exchange-preferences": SourceInfo(
        title="StackExchange preferences",
        license="CC-BY-SA-4.0",
        hub="HuggingFaceH4/stack-exchange-preferences",
        share_alike=True,
        home="https://huggingface.co/datasets/HuggingFaceH4/stack-exchange-preferences",
        published="questions with at least two answers and their scores",
        intended="Preference data for language models from public questions and answers.",
        caution="Attribution is owed: question link, author and profile stay on every record. Share-alike.",
        rows=stackexchange.read,
    ),
    "stack-exchange-dump": SourceInfo(
        title="StackExchange data dump (Posts.xml)",
        license="CC-BY-SA-4.0",
        share_alike=True,
        home="https://archive.org/details/stackexchange",
        published="all posts of a site",
        intended="The public copy of what the users of a site contributed.",
        caution="Attribution is owed: question link, author and profile stay on every record. Share-alike.",
        open=posts_xml.read,
    ),
    "helpsteer2": SourceInfo(
        title="HelpSteer2",
        license="CC-BY-4.0",
        hub="nvidia/HelpSteer2",
        home="https://huggingface.co/datasets/nvidia/HelpSteer2",
        published="20,324 rated responses for training and 1,038 for validation",
        intended="To train models that are more helpful, correct and coherent, with adjustable length and complexity.",
        rows=helpsteer2.read,
    ),
    "messages": SourceInfo(
        title="A file of your own",
        license="as the file or the recipe says",
        intended="Whatever you wrote it for.",
        rows=messages.read,
    ),
}


def read_source(
    name: str, path: Path | None, split: str, revision: str, options: dict[str, Any], label: str = ""
) -> Iterator[Read]:
    """Conversations of the source `name`, from `path` or else from the hub; `label` stands for the path in reports.

    Raises SettingError for an unknown source or option, and one that needs a path; DataError where nothing can be read.
    """
    info = source_named(name)
    given = dict(info.defaults) | options
    try:
        if name == "curated":
            return curated.read(split, **given)
        if info.open is not None and path is not None:
            return info.open(path, name=label, **given)
        if info.rows is not None and (path is not None or info.hub):
            if path is not None:
                return info.rows(local_rows(path, split, label), **given)
            return info.rows(hub_rows(info.hub, revision, split, **dict(info.hub_options)), **given)
    except TypeError as error:
        raise SettingError(f"source {name!r}: options {', '.join(options)}: {str(error).split('() ')[-1]}") from error
    raise SettingError(f"source {name!r}: needs a path, it has no name on the hub")


def source_named(name: str) -> SourceInfo:
    if name not in SOURCES:
        raise SettingError(f"source {name!r} is not one of {', '.join(SOURCES)}")
    return SOURCES[name]
