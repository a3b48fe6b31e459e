"""Who is evaluated: a base, its few-shot self, and adapters over it, ready to answer side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from helptune.adapt.adapters import Adapters, attach
from helptune.adapt.artifact import AdapterCard, load_adapter
from helptune.adapt.collection import is_collection, load_collection
from helptune.adapt.mixed import BASE
from helptune.data.conversation import Conversation, read_conversations
from helptune.errors import SettingError
from helptune.evaluate.answers import Answer, check_prompts, solved_examples
from helptune.evaluate.generations import Answering, Rule, Speaker, adapter_sha256, answer_sets
from helptune.experiment.config import RunConfig, read_config
from helptune.experiment.evidence import EXAMPLES, FEW_SHOT, TUNED
from helptune.experiment.heed import heed_stop
from helptune.experiment.models import Source, source_of
from helptune.experiment.split import few_shot_candidates, read_data
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH
from helptune.gemma.model import Adapter
from helptune.gemma.tokenizer import Tokenizer

_TAKEN = ("few_shot", "few_shot_examples", "heldout", "rows", "problems", "votes", "judge_votes")
"""Names that an evaluation has for other files of answers and tables."""


@dataclass(frozen=True)
class Subject:
    """`speakers` in the order in which they are told; `folder` is where a request to stop is looked for.

    `embedded`: the base is the embedded model, of which full fine-tuning can be measured here too.
    """

    model: Answering
    speakers: tuple[Speaker, ...]
    rule: Rule
    folder: Path
    embedded: bool

    @property
    def base(self) -> Base:
        return self.model.base

    @property
    def tokenizer(self) -> Tokenizer:
        return self.model.tokenizer

    @property
    def models(self) -> list[str]:
        return [speaker.name for speaker in self.speakers]

    @cached_property
    def identity(self) -> dict[str, str]:
        """Name -> what tells its weights, and the format they are asked in."""
        base = f"{self.model.base_sha256} {self.model.precision} {TEMPLATE_HASH}"
        return {s.name: f"{base} {adapter_sha256(self.model, s.adapter)}".strip() for s in self.speakers}

    def adapter(self, model: str) -> Adapter | None:
        """What has to be attached to the base for every row to be this model's; None for the base alone."""
        found = self.model.adapters.get(model)
        return attach(*found) if found else None

    def answer(
        self,
        conversations: Sequence[Conversation],
        folder: Path,
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> dict[str, dict[str, Answer]]:
        """Every speaker's answers to the conversations, kept in `folder`; model -> id -> answer."""
        limit = max_new_tokens or self.rule.max_new_tokens
        check_prompts(conversations, self.tokenizer, self.base.config, limit)
        rule = replace(self.rule, max_new_tokens=limit, temperature=temperature, seed=seed)
        found = answer_sets(
            self.model, conversations, self.speakers, rule, folder, after_batch=lambda: heed_stop(self.folder)
        )
        return {name: {answer.id: answer for answer in own} for name, own in found.items()}


def subject_of_run(run: Path) -> Subject:
    """The base of a finished run, asked as it is and with solved examples, and its adapter.

    Raises RunError, AdapterError, WeightsError, DataError or ContextError for what is missing or does not fit.
    """
    config = read_config(run / "config.json")
    return _subject(run, Source(config.model, config.checkpoint), config, run / "adapter")


def subject_of_models(folder: Path, adapter: Path | None, name: str | None, checkpoint: str, precision: str) -> Subject:
    """The base, also with solved examples, and one adapter or a directory of several, under the rules of a default run.

    One adapter is called tuned; of several each has its own name.
    """
    return _subject(folder, source_of(name, checkpoint), RunConfig(precision=precision), adapter)


def _subject(folder: Path, source: Source, config: RunConfig, adapter: Path | None) -> Subject:
    base, tokenizer, sha256 = source.base(config.precision), source.tokenizer(config.precision), source.sha256()
    adapters = {name: (weights, card.method) for name, (weights, card) in _loaded(adapter, base, sha256).items()}
    if (path := folder / EXAMPLES).exists():
        solved = list(read_conversations(path))
    else:
        train, heldout = read_data(config)
        solved = solved_examples(few_shot_candidates(train), heldout, tokenizer, base.config, config.max_new_tokens)
    few_shot = Speaker(FEW_SHOT, BASE, tuple(solved))
    return Subject(
        Answering(base, tokenizer, sha256, config.precision, adapters),
        (Speaker(BASE), few_shot, *(Speaker(name, name) for name in adapters)),
        Rule(config.max_new_tokens, config.repetition_penalty),
        folder,
        embedded=not source.checkpoint,
    )


def _loaded(adapter: Path | None, base: Base, sha256: str) -> dict[str, tuple[Adapters, AdapterCard]]:
    if adapter is None:
        return {}
    if not is_collection(adapter):
        return {TUNED: load_adapter(adapter, base.config, sha256)}
    found = load_collection(adapter, base.config, sha256)
    if taken := [name for name in found if name in _TAKEN]:
        raise SettingError(f"{adapter}: an adapter cannot be called {taken[0]!r} in an evaluation; rename its folder")
    return found
