"""Answers of models to prompts, under the same limits for everyone, kept as JSON lines.

A base model that never saw the chat format is judged unfairly by it, so it also answers a few-shot transcript in plain
text: four solved examples, then the prompt. Every answer is kept under a key, a hash of all that decides it: an answer
that was made otherwise is made again. Several speakers, the base and adapters over it, answer in the same batches.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from helptune.adapt.mixed import BASE
from helptune.data.conversation import Conversation, Message
from helptune.errors import ContextError
from helptune.files import write_text
from helptune.gemma.base import Base
from helptune.gemma.chat import render
from helptune.gemma.config import GemmaConfig
from helptune.gemma.generate import Sampling, stop_tokens, stream
from helptune.gemma.layout import prepared
from helptune.gemma.model import Adapter
from helptune.gemma.tokenizer import BOS, Tokenizer
from helptune.train.distributed import from_main, is_main
from helptune.train.memory import cache_bytes

# Of a batch at most, so that its memory stays small: rows, tokens of prompts, bytes of cached keys and values.
_ROWS, _TOKENS, _CACHE = 24, 24 * 1024, 2 * 2**30
_EXAMPLES = 4
_VERSION = 1
"""Of how answers are made: those of another one are made again."""
_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System"}
_NEXT_TURN = "\nUser:"


@dataclass(frozen=True)
class Answer:
    """`ended`: the model stopped by itself before the limit of new tokens. `key` is that of its request."""

    id: str
    text: str
    ended: bool
    tokens: int
    key: str = ""


@dataclass(frozen=True)
class Speaker:
    """Who answers: a name on a rack of adapters, or the base; with `examples` it is asked in a few-shot transcript.

    `identity` names the weights (hashes of base and adapter, precision): answers of other weights are not reused.
    """

    name: str
    adapter: str = BASE
    examples: tuple[Conversation, ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class _Request:
    speaker: Speaker
    id: str
    prompt: list[int]
    key: str

    @property
    def marker(self) -> str | None:
        """Text that ends a row like a stop token: in a transcript the next turn of the user."""
        return _NEXT_TURN if self.speaker.examples else None


def answer_all(
    base: Base,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    path: Path,
    *,
    adapter: Adapter | None = None,
    examples: Sequence[Conversation] = (),
    identity: str = "",
    max_new_tokens: int = 160,
    repetition_penalty: float = 1.0,
    after_batch: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """Greedy answers to the last user turn of each conversation; `examples` switches to the few-shot transcript.

    Answers already in `path` are not made again, so an interrupted evaluation goes on where it was; `after_batch` may
    raise to interrupt it. In a run of several processes the first one reads and writes `path`, and all of them answer.
    """
    speaker = Speaker(path.stem, examples=tuple(examples), identity=identity)
    sampling = Sampling(max_new_tokens=max_new_tokens, repetition_penalty=repetition_penalty)
    found = answer_sets(
        base, tokenizer, conversations, [speaker], path.parent, sampling, lambda _: adapter, after_batch
    )
    return found[speaker.name]


def answer_sets(
    base: Base,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    speakers: Sequence[Speaker],
    folder: Path,
    sampling: Sampling,
    adapter_of: Callable[[Sequence[Speaker]], Adapter | None],
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, list[Answer]]:
    """Answers of every speaker to every conversation, by name, in `folder`/NAME.jsonl.

    `adapter_of` gives the adapter of a batch whose rows are of these speakers: a mixed one, or the one they share.
    Raises ContextError for a prompt that leaves no room for its answer.
    """
    found = from_main(lambda: {s.name: [asdict(a) for a in read_answers(folder / f"{s.name}.jsonl")] for s in speakers})
    wanted = [_request(s, c, base.config, tokenizer, sampling) for s in speakers for c in conversations]
    keys = {(request.speaker.name, request.id): request.key for request in wanted}
    done = {
        name: {a["id"]: Answer(**a) for a in answers if keys.get((name, a["id"])) == a["key"]}
        for name, answers in found.items()
    }
    waiting = [request for request in wanted if request.id not in done[request.speaker.name]]
    waiting.sort(key=lambda request: len(request.prompt))
    rows = _rows(base, len(waiting[-1].prompt), sampling.max_new_tokens) if waiting else _ROWS
    base = prepared(base) if waiting else base
    desc = f"answers: {', '.join(s.name for s in speakers)}"
    for start in tqdm(range(0, len(waiting), rows), desc=desc, unit="batch", disable=not (waiting and is_main())):
        batch = waiting[start : start + rows]
        adapter = adapter_of([request.speaker for request in batch])
        texts = _complete(base, tokenizer, batch, sampling, adapter)
        for request, result in zip(batch, texts, strict=True):
            done[request.speaker.name][request.id] = Answer(request.id, *result, request.key)
        if is_main():
            for name in dict.fromkeys(request.speaker.name for request in batch):
                _write_answers(folder / f"{name}.jsonl", done[name].values())
        after_batch()
    return {s.name: [done[s.name][c.id] for c in conversations] for s in speakers}


def _request(
    speaker: Speaker, conversation: Conversation, config: GemmaConfig, tokenizer: Tokenizer, sampling: Sampling
) -> _Request:
    if speaker.examples:
        prompt = transcript_prompt(conversation, speaker.examples, tokenizer)
    else:
        prompt = chat_prompt(conversation, config, tokenizer)
    rule = asdict(sampling) | {"marker": _NEXT_TURN if speaker.examples else ""}
    text = json.dumps([_VERSION, speaker.identity, prompt, rule], sort_keys=True)
    return _Request(speaker, conversation.id, prompt, hashlib.sha256(text.encode()).hexdigest()[:16])


def _rows(base: Base, longest: int, max_new_tokens: int) -> int:
    """How many prompts of at most `longest` tokens are answered at once."""
    cache = cache_bytes(base.config, 1, longest + max_new_tokens, str(base.dtype))
    return max(1, min(_ROWS, _TOKENS // longest, _CACHE // cache))


def read_answers(path: Path) -> list[Answer]:
    """Answers of a file written by `answer_all`; a last line cut short by a kill is ignored."""
    answers = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []:
        try:
            answers.append(Answer(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return answers


def _write_answers(path: Path, answers: Iterable[Answer]) -> None:
    lines = "".join(json.dumps(asdict(a), ensure_ascii=False) + "\n" for a in answers)
    write_text(path, lines)


def check_prompts(
    conversations: Sequence[Conversation], tokenizer: Tokenizer, config: GemmaConfig, max_new_tokens: int
) -> None:
    """Raises ContextError naming a conversation whose prompt and answer may not fit the context."""
    for conversation in conversations:
        length = len(chat_prompt(conversation, config, tokenizer))
        if length + max_new_tokens > config.context:
            raise ContextError(
                f"conversation {conversation.id!r}: its prompt of {length} tokens and {max_new_tokens} new ones exceed "
                f"the context of {config.context}: shorten it, leave it out, or lower --max-new-tokens"
            )


def solved_examples(
    candidates: Iterable[Conversation],
    conversations: Sequence[Conversation],
    tokenizer: Tokenizer,
    config: GemmaConfig,
    max_new_tokens: int,
) -> list[Conversation]:
    """The first four of `candidates` that fit the context before the longest prompt; one at least, or ContextError."""
    longest = max(len(transcript_prompt(c, (), tokenizer)) for c in conversations)
    room = config.context - max_new_tokens - longest
    chosen: list[Conversation] = []
    for candidate in candidates:
        if len(chosen) == _EXAMPLES:
            break
        length = len(tokenizer.encode(_transcript(candidate.messages) + "\n"))
        if length <= room:
            chosen.append(candidate)
            room -= length
    if not chosen:
        raise ContextError(
            f"no training conversation fits the context of {config.context} as a solved example for the base model, "
            f"before a prompt of {longest} tokens and {max_new_tokens} new ones: lower --max-new-tokens, or shorten "
            "the longest held-out prompt"
        )
    return chosen


def chat_prompt(conversation: Conversation, config: GemmaConfig, tokenizer: Tokenizer) -> list[int]:
    return render(conversation.prompt, tokenizer, config, reply=True)[0]


def transcript_prompt(conversation: Conversation, examples: Sequence[Conversation], tokenizer: Tokenizer) -> list[int]:
    """<bos>User: ...\\nAssistant: ... of the examples, then of the conversation, up to where the answer begins."""
    solved = "".join(_transcript(example.messages) + "\n" for example in examples)
    return [BOS, *tokenizer.encode(f"{solved}{_transcript(conversation.prompt)}Assistant:")]


def _transcript(messages: Sequence[Message]) -> str:
    return "".join(f"{_SPEAKER[m.role]}: {m.content}\n" for m in messages)


def _complete(
    base: Base,
    tokenizer: Tokenizer,
    requests: Sequence[_Request],
    sampling: Sampling,
    adapter: Adapter | None,
) -> list[tuple[str, bool, int]]:
    """(text, ended, new tokens) of each request."""
    tokens: list[list[int]] = [[] for _ in requests]
    markers = [request.marker for request in requests]
    ended, stops = [False] * len(requests), stop_tokens(base.config)
    for step in stream(base, [request.prompt for request in requests], sampling, adapter):
        for row, token in enumerate(step):
            if token is None or ended[row]:
                continue
            if token in stops:
                ended[row] = True
                continue
            tokens[row].append(token)
            marker = markers[row]
            ended[row] = marker is not None and marker in tokenizer.decode(tokens[row][-8:])
        if all(ended):
            break
    texts = [tokenizer.decode(t) for t in tokens]
    texts = [text.split(marker)[0] if marker else text for text, marker in zip(texts, markers, strict=True)]
    return [(text.strip(), end, len(t)) for text, end, t in zip(texts, ended, tokens, strict=True)]
