"""Who is evaluated: a base, its few-shot self, and adapters over it, ready to answer side by side in one batch.

LoRA adapters hang on one rack, so that every batch may hold rows of all of them and runs the same compiled program. A
bottleneck changes more than a product and cannot be mixed: its rows have batches of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helptune.adapt.adapters import AdapterConfig, Adapters, attach
from helptune.adapt.artifact import WEIGHTS, load_adapter
from helptune.adapt.collection import is_collection, load_collection
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import BASE, Rack, mixed, rack_of
from helptune.data.conversation import Conversation
from helptune.errors import SettingError
from helptune.evaluate.answers import Answer, Speaker, answer_sets, check_prompts, solved_examples
from helptune.experiment.config import RunConfig, read_config
from helptune.experiment.models import Source
from helptune.experiment.split import few_shot_candidates, read_data
from helptune.files import file_sha256
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH
from helptune.gemma.generate import Sampling
from helptune.gemma.model import Adapter
from helptune.gemma.tokenizer import Tokenizer
from helptune.train.stop import heed_stop

FEW_SHOT, TUNED = "few_shot", "tuned"


@dataclass(frozen=True)
class Subject:
    """`speakers` by name, in the order in which they are told; `adapters` by the name they have on the rack."""

    base: Base
    tokenizer: Tokenizer
    speakers: tuple[Speaker, ...]
    adapters: Mapping[str, tuple[Adapters, AdapterConfig]]
    folder: Path
    max_new_tokens: int
    repetition_penalty: float
    embedded: bool
    rack: Rack | None = field(default=None)

    @property
    def models(self) -> list[str]:
        return [speaker.name for speaker in self.speakers]

    @property
    def can_be_trained_whole(self) -> bool:
        """Whether full fine-tuning can be measured beside it here: of the embedded model."""
        return self.embedded

    @property
    def identity(self) -> dict[str, str]:
        return {speaker.name: speaker.identity for speaker in self.speakers}

    def adapter(self, model: str) -> Adapter | None:
        """What has to be attached to the base for every row to be this model's; None for the base alone."""
        found = self.adapters.get(model)
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
        limit = max_new_tokens or self.max_new_tokens
        check_prompts(conversations, self.tokenizer, self.base.config, limit)
        sampling = Sampling(
            max_new_tokens=limit, repetition_penalty=self.repetition_penalty, temperature=temperature, seed=seed
        )
        together = [s for s in self.speakers if self.rack is not None or s.adapter == BASE]
        apart = [s for s in self.speakers if s not in together]
        found: dict[str, list[Answer]] = {}
        for group in [together, *([one] for one in apart)]:
            found |= answer_sets(
                self.base, self.tokenizer, conversations, group, folder, sampling, self._adapter_of, self._heed
            )
        return {name: {answer.id: answer for answer in found[name]} for name in self.models}

    def _adapter_of(self, rows: Sequence[Speaker]) -> Adapter | None:
        if self.rack is None:
            return self.adapter(rows[0].adapter)
        return mixed(self.rack, [speaker.adapter for speaker in rows])

    def _heed(self) -> None:
        heed_stop(self.folder)


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
    speakers = (
        Speaker(BASE, identity=identity(config.precision, source.sha256())),
        Speaker(FEW_SHOT, BASE, tuple(solved), identity(config.precision, source.sha256())),
        Speaker(TUNED, TUNED, (), identity(config.precision, source.sha256(), run / "adapter")),
    )
    return _subject(source, base, tokenizer, speakers, {TUNED: (weights, card.method)}, run, config)


def subject_of_models(
    folder: Path, adapter: Path | None, model: str | None, checkpoint: str, precision: str
) -> Subject:
    """The base, also with solved examples, and one adapter or a directory of several, under the rules of a default run.

    One adapter is called tuned; of several each has its own name.
    """
    config = RunConfig(model=model or RunConfig().model, checkpoint=checkpoint, precision=precision)
    source = Source(config.model, config.checkpoint)
    base, tokenizer = source.base(precision), source.tokenizer(precision)
    sha256 = source.sha256()
    train, heldout = read_data(config)
    solved = solved_examples(few_shot_candidates(train), heldout, tokenizer, base.config, config.max_new_tokens)
    speakers = [
        Speaker(BASE, identity=identity(precision, sha256)),
        Speaker(FEW_SHOT, BASE, tuple(solved), identity(precision, sha256)),
    ]
    adapters: dict[str, tuple[Adapters, AdapterConfig]] = {}
    if adapter is not None and is_collection(adapter):
        for name, (weights, card) in load_collection(adapter, base.config, sha256).items():
            if name in (BASE, FEW_SHOT):
                raise SettingError(
                    f"{adapter}: an adapter cannot be called {name!r} in an evaluation; rename its folder"
                )
            adapters[name] = (weights, card.method)
            speakers.append(Speaker(name, name, (), identity(precision, sha256, adapter / name)))
    elif adapter is not None:
        weights, card = load_adapter(adapter, base.config, sha256)
        adapters[TUNED] = (weights, card.method)
        speakers.append(Speaker(TUNED, TUNED, (), identity(precision, sha256, adapter)))
    return _subject(source, base, tokenizer, tuple(speakers), adapters, folder, config)


def identity(precision: str, base_sha256: str, adapter: Path | None = None) -> str:
    """What tells the weights that answer, and the format they are asked in."""
    return f"{base_sha256} {precision} {file_sha256(adapter / WEIGHTS) if adapter else ''} {TEMPLATE_HASH}"


def _subject(
    source: Source,
    base: Base,
    tokenizer: Tokenizer,
    speakers: tuple[Speaker, ...],
    adapters: Mapping[str, tuple[Adapters, AdapterConfig]],
    folder: Path,
    config: RunConfig,
) -> Subject:
    lora = bool(adapters) and all(isinstance(method, LoraConfig) for _, method in adapters.values())
    rack = rack_of(adapters, base.config, base.dtype, size=len(adapters)) if lora else None
    limits = config.max_new_tokens, config.repetition_penalty
    return Subject(base, tokenizer, speakers, adapters, folder, *limits, not source.checkpoint, rack)
