"""Who is evaluated: a base, its few-shot self, and adapters over it, ready to answer side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from helptune.adapt.adapters import AdapterConfig, Adapters, attach
from helptune.adapt.artifact import load_adapter
from helptune.adapt.collection import is_collection, load_collection
from helptune.adapt.mixed import BASE
from helptune.data.conversation import Conversation
from helptune.errors import SettingError
from helptune.evaluate.answers import Answer, check_prompts, solved_examples
from helptune.evaluate.generations import Answering, Rule, Speaker, adapter_sha256, answer_sets
from helptune.experiment.config import RunConfig, read_config
from helptune.experiment.heed import heed_stop
from helptune.experiment.models import Source, source_of
from helptune.experiment.split import few_shot_candidates, read_data
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH
from helptune.gemma.model import Adapter
from helptune.gemma.tokenizer import Tokenizer

_TAKEN = ("few_shot", "heldout", "rows", "problems", "votes", "judge_votes")
"""Names that an evaluation has for other files of answers and tables."""
FEW_SHOT, TUNED = "few_shot", "tuned"


@dataclass(frozen=True)
class Subject:
    """`speakers` in the order in which they are told; `folder` is where a request to stop is looked for."""

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

    @property
    def can_be_trained_whole(self) -> bool:
        """Whether full fine-tuning can be measured beside it here: of the embedded model."""
        return self.embedded

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
    source = Source(config.model, config.checkpoint)
    base, tokenizer = source.base(config.precision), source.tokenizer(config.precision)
    weights, card = load_adapter(run / "adapter", base.config, source.sha256())
    train, heldout = read_data(config)
    solved = solved_examples(few_shot_candidates(train), heldout, tokenizer, base.config, config.max_new_tokens)
    speakers = (Speaker(BASE), Speaker(FEW_SHOT, BASE, tuple(solved)), Speaker(TUNED, TUNED))
    model = Answering(base, tokenizer, source.sha256(), config.precision, {TUNED: (weights, card.method)})
    rule = Rule(config.max_new_tokens, config.repetition_penalty)
    return Subject(model, speakers, rule, run, not config.checkpoint)


def subject_of_models(folder: Path, adapter: Path | None, name: str | None, checkpoint: str, precision: str) -> Subject:
    """The base, also with solved examples, and one adapter or a directory of several, under the rules of a default run.

    One adapter is called tuned; of several each has its own name.
    """
    source, config = source_of(name, checkpoint), RunConfig(precision=precision)
    base, tokenizer = source.base(precision), source.tokenizer(precision)
    sha256 = source.sha256()
    train, heldout = read_data(config)
    solved = solved_examples(few_shot_candidates(train), heldout, tokenizer, base.config, config.max_new_tokens)
    speakers = [Speaker(BASE), Speaker(FEW_SHOT, BASE, tuple(solved))]
    adapters: dict[str, tuple[Adapters, AdapterConfig]] = {}
    if adapter is not None and is_collection(adapter):
        for name, (weights, card) in load_collection(adapter, base.config, sha256).items():
            if name in _TAKEN:
                raise SettingError(
                    f"{adapter}: an adapter cannot be called {name!r} in an evaluation; rename its folder"
                )
            adapters[name] = (weights, card.method)
    elif adapter is not None:
        weights, card = load_adapter(adapter, base.config, sha256)
        adapters[TUNED] = (weights, card.method)
    speakers += [Speaker(name, name) for name in adapters]
    rule = Rule(config.max_new_tokens, config.repetition_penalty)
    model = Answering(base, tokenizer, sha256, precision, adapters)
    return Subject(model, tuple(speakers), rule, folder, not checkpoint)
