"""Sets of answers: several speakers answer the same conversations under one rule, in batches they share.

A speaker is the base, the base after solved examples, or an adapter on the same base; LoRA adapters are mixed in one
batch (`adapt.mixed`). Each answer is kept with a key, the hash of everything that decides it, so that an interrupted
evaluation goes on where it was and an answer is never taken for that of another model or rule.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from helptune.adapt.adapters import AdapterConfig, Adapters, attach
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import BASE, mixed, rack_of
from helptune.data.conversation import Conversation
from helptune.errors import AdapterError, SettingError
from helptune.evaluate.answers import NEXT_TURN, Answer, chat_prompt, read_answers, transcript_prompt, write_answers
from helptune.gemma.base import Base
from helptune.gemma.generate import generate_until, shared_start, stop_tokens
from helptune.gemma.layout import prepared
from helptune.gemma.model import Adapter
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import Tokenizer
from helptune.train.distributed import from_main, is_main
from helptune.train.memory import cache_bytes

# Of a batch at most, so that its memory stays small: rows, tokens of prompts, bytes of cached keys and values.
_ROWS, _TOKENS, _CACHE = 64, 24 * 1024, 2 * 2**30
_STEP = 8  # batches have a multiple of so many rows, so that sets of other sizes find programs that are compiled
_VERSION = 2
"""Part of each key: raised when the same request is answered in another way."""


@dataclass(frozen=True)
class Speaker:
    """`adapter` is a name of `Answering.adapters`; `examples` switches to the few-shot transcript."""

    name: str
    adapter: str = BASE
    examples: tuple[Conversation, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How everyone answers. Temperature 0 is greedy; `seed` matters above it."""

    max_new_tokens: int = 160
    repetition_penalty: float = 1.0
    temperature: float = 0.0
    seed: int = 0

    @property
    def sampling(self) -> Sampling:
        return Sampling(**asdict(self))


@dataclass(frozen=True)
class Answering:
    """What answers: a base, known by the hash of its weights and its precision, and named adapters of it."""

    base: Base
    tokenizer: Tokenizer
    base_sha256: str
    precision: str
    adapters: Mapping[str, tuple[Adapters, AdapterConfig]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Request:
    speaker: Speaker
    id: str
    prompt: list[int]
    key: str

    @property
    def place(self) -> tuple[str, str]:
        return self.speaker.name, self.id

    @property
    def marker(self) -> str | None:
        """Text that ends the answer like a stop token."""
        return NEXT_TURN if self.speaker.examples else None


def answer_sets(
    model: Answering,
    conversations: Sequence[Conversation],
    speakers: Sequence[Speaker],
    rule: Rule,
    folder: Path,
    *,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, list[Answer]]:
    """The answers of each speaker to the last user turn of each conversation, kept in `folder`/<speaker>.jsonl.

    Answers there with the key they would have are not made again. The others are made in the batches they would be in
    if none were there, for in bfloat16 the choice between two words can hang on the shape of a batch: so an evaluation
    that was interrupted ends on the same answers. `after_batch` may raise to interrupt the work. A damaged line is
    answered again, with a warning. In a run of several processes the first one reads and writes, and all of them
    answer. Raises AdapterError for an unknown adapter, SettingError for two speakers of one name.
    """
    _check(model, speakers)
    hashes = {s.adapter: adapter_sha256(model, s.adapter) for s in speakers}
    wanted = [_request(model, s, c, rule, hashes[s.adapter]) for s in speakers for c in conversations]
    found = from_main(lambda: {s.name: [asdict(a) for a in _kept(folder / f"{s.name}.jsonl")] for s in speakers})
    kept = {name: {a["id"]: Answer(**a) for a in answers} for name, answers in found.items()}
    waiting = {r.place for r in wanted if r.id not in (own := kept[r.speaker.name]) or own[r.id].key != r.key}
    base = prepared(model.base) if waiting else model.base
    for batch, adapter in _batches(model, wanted, waiting, rule):
        for request, answer in zip(batch, _answered(model, base, batch, rule, adapter), strict=True):
            if request.place in waiting:
                kept[request.speaker.name][request.id] = answer
        waiting -= {request.place for request in batch}
        if is_main():
            for speaker in dict.fromkeys(request.speaker.name for request in batch):
                write_answers(folder / f"{speaker}.jsonl", _in_order(kept[speaker], conversations))
        after_batch()
    return {s.name: [kept[s.name][c.id] for c in conversations] for s in speakers}


def _check(model: Answering, speakers: Sequence[Speaker]) -> None:
    names = [speaker.name for speaker in speakers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingError(f"two speakers are called {twice[0]!r}: give each a name of its own")
    for speaker in speakers:
        if speaker.adapter != BASE and speaker.adapter not in model.adapters:
            known = ", ".join([BASE, *model.adapters])
            raise AdapterError(f"speaker {speaker.name!r}: its adapter {speaker.adapter!r} is not one of {known}")


def _kept(path: Path) -> list[Answer]:
    damaged: list[int] = []
    answers = read_answers(path, damaged)
    if damaged:
        lines = ", ".join(map(str, damaged[:5])) + (" and more" if len(damaged) > 5 else "")
        warnings.warn(f"{path}: damaged line {lines}; what is missing is answered again", stacklevel=2)
    return answers


def _in_order(answers: Mapping[str, Answer], conversations: Sequence[Conversation]) -> list[Answer]:
    """As the conversations are; those of others, kept from before, at the end."""
    first = [c.id for c in conversations if c.id in answers]
    return [answers[id] for id in dict.fromkeys([*first, *answers])]


def adapter_sha256(model: Answering, name: str) -> str:
    """Of the weights and of how they are applied; "" for the base."""
    if name == BASE:
        return ""
    adapters, method = model.adapters[name]
    found = hashlib.sha256(json.dumps([type(method).__name__, asdict(method)], sort_keys=True).encode())
    for site, leaf in sorted((site, leaf) for site, leaves in adapters.items() for leaf in leaves):
        weights = np.asarray(adapters[site][leaf])
        found.update(f"{site} {leaf} {weights.dtype} {weights.shape}".encode() + weights.tobytes())
    return found.hexdigest()


def _request(model: Answering, speaker: Speaker, conversation: Conversation, rule: Rule, adapter: str) -> _Request:
    if speaker.examples:
        prompt = transcript_prompt(conversation, speaker.examples, model.tokenizer)
    else:
        prompt = chat_prompt(conversation, model.base.config, model.tokenizer)
    stops = [stop_tokens(model.base.config), NEXT_TURN if speaker.examples else None]
    decides = [_VERSION, model.base_sha256, adapter, model.precision, prompt, stops, asdict(rule)]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return _Request(speaker, conversation.id, prompt, key)


def _batches(
    model: Answering, wanted: Sequence[_Request], waiting: Collection[tuple[str, str]], rule: Rule
) -> Iterator[tuple[Sequence[_Request], Adapter | None]]:
    """Batches in which a place is `waiting`, and their adapter.

    Those of adapters come before those of the base, which may never stop, and short prompts before long ones. A
    bottleneck cannot be mixed: its speakers answer apart. So does a speaker whose prompts begin with the same solved
    examples, which a batch of them reads once.
    """
    if not waiting:
        return
    used = {r.speaker.adapter: model.adapters[r.speaker.adapter] for r in wanted if r.speaker.adapter != BASE}
    loras = {name: one for name, one in used.items() if isinstance(one[1], LoraConfig)}
    rack = rack_of(loras, model.base.config, model.base.dtype, size=1) if loras else None

    def adapter_of(batch: Sequence[_Request]) -> Adapter | None:
        names = [request.speaker.adapter for request in batch]
        if names[0] in apart:
            return attach(*used[names[0]])
        return None if rack is None else mixed(rack, names)

    apart = [name for name in used if name not in loras]
    by_speaker: dict[str, list[_Request]] = {}
    for request in wanted:
        by_speaker.setdefault(request.speaker.name, []).append(request)
    sharing = [name for name, own in by_speaker.items() if shared_start([r.prompt for r in own])]
    rest = [r for r in wanted if r.speaker.name not in sharing]
    groups = [[r for r in rest if r.speaker.adapter not in apart]]
    groups += [[r for r in rest if r.speaker.adapter == name] for name in apart]
    groups += [by_speaker[name] for name in sharing]
    with tqdm(total=len(waiting), desc="answers", unit=" answers", disable=not is_main()) as progress:
        for requests in filter(None, groups):
            requests = sorted(requests, key=lambda r: (r.speaker.adapter == BASE, len(r.prompt)))
            size = _size(model.base, [r.prompt for r in requests], rule.max_new_tokens)
            for start in range(0, len(requests), size):
                # The last batch begins with some of the one before: a smaller one would need programs of its own.
                batch = requests[: start + size][-size:]
                if new := sum(request.place in waiting for request in batch):
                    yield batch, adapter_of(batch)
                    progress.update(new)


def _size(base: Base, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """How many of these prompts are answered at once: batches are even, and of few sizes."""
    longest = max(map(len, prompts))
    cache = cache_bytes(base.config, 1, longest + max_new_tokens, str(base.dtype))
    most = max(1, min(_ROWS, _TOKENS // (longest - shared_start(prompts)), _CACHE // cache))
    even = -(-len(prompts) // -(-len(prompts) // most))
    return min(most, len(prompts), -(-even // _STEP) * _STEP)


def _answered(
    model: Answering, base: Base, batch: Sequence[_Request], rule: Rule, adapter: Adapter | None
) -> list[Answer]:
    decode = model.tokenizer.decode

    def marked(row: int, tokens: Sequence[int]) -> bool:
        marker = batch[row].marker
        return marker is not None and marker in decode(tokens[-8:])

    # The key decides the randomness: an answer is the same whichever others are made beside it.
    numbers = [int(request.key[:8], 16) for request in batch]
    made = generate_until(base, [r.prompt for r in batch], marked, rule.sampling, adapter, numbers)
    texts = [decode(one.tokens) for one in made]
    texts = [text.split(r.marker)[0] if r.marker else text for text, r in zip(texts, batch, strict=True)]
    return [
        Answer(r.id, text.strip(), one.ended, len(one.tokens), r.key)
        for r, text, one in zip(batch, texts, made, strict=True)
    ]
