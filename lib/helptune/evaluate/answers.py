"""Answers of a model to held-out prompts, under the same limits for everyone, kept as JSON lines.

A base model that never saw the chat format is judged unfairly by it, so it also answers a few-shot transcript in plain
text: four solved examples, then the prompt.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

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
_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System"}
_NEXT_TURN = "\nUser:"


@dataclass(frozen=True)
class Answer:
    """`ended`: the model stopped by itself before the limit of new tokens."""

    id: str
    text: str
    ended: bool
    tokens: int


def answer_all(
    base: Base,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    path: Path,
    *,
    adapter: Adapter | None = None,
    examples: Sequence[Conversation] = (),
    max_new_tokens: int = 160,
    repetition_penalty: float = 1.0,
    after_batch: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """Greedy answers to the last user turn of each conversation; `examples` switches to the few-shot transcript.

    Answers already in `path` are not made again, so an interrupted evaluation goes on where it was; `after_batch` may
    raise to interrupt it. In a run of several processes the first one reads and writes `path`, and all of them answer.
    """
    found = from_main(lambda: [asdict(answer) for answer in read_answers(path)])
    done = {answer["id"]: Answer(**answer) for answer in found}
    prompts = {
        c.id: transcript_prompt(c, examples, tokenizer) if examples else chat_prompt(c, base.config, tokenizer)
        for c in conversations
        if c.id not in done
    }
    waiting = sorted(prompts, key=lambda i: len(prompts[i]))
    sampling = Sampling(max_new_tokens=max_new_tokens, repetition_penalty=repetition_penalty)
    marker = _NEXT_TURN if examples else None
    rows = _rows(base, len(prompts[waiting[-1]]), max_new_tokens) if waiting else _ROWS
    batches, base = range(0, len(waiting), rows), prepared(base) if waiting else base
    for start in tqdm(batches, desc=f"answers: {path.stem}", unit="batch", disable=not (waiting and is_main())):
        ids = waiting[start : start + rows]
        texts = _complete(base, tokenizer, [prompts[i] for i in ids], sampling, adapter, marker)
        done |= {i: Answer(i, *result) for i, result in zip(ids, texts, strict=True)}
        if is_main():
            _write_answers(path, done.values())
        after_batch()
    return [done[c.id] for c in conversations]


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
    prompts: list[list[int]],
    sampling: Sampling,
    adapter: Adapter | None,
    marker: str | None,
) -> list[tuple[str, bool, int]]:
    """(text, ended, new tokens) of each prompt; `marker` in the text ends a row like a stop token."""
    tokens: list[list[int]] = [[] for _ in prompts]
    ended, stops = [False] * len(prompts), stop_tokens(base.config)
    for step in stream(base, prompts, sampling, adapter):
        for row, token in enumerate(step):
            if token is None or ended[row]:
                continue
            if token in stops:
                ended[row] = True
                continue
            tokens[row].append(token)
            ended[row] = marker is not None and marker in tokenizer.decode(tokens[row][-8:])
        if all(ended):
            break
    texts = [tokenizer.decode(t) for t in tokens]
    texts = [text.split(marker)[0] if marker else text for text in texts]
    return [(text.strip(), end, len(t)) for text, end, t in zip(texts, ended, tokens, strict=True)]
