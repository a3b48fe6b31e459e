"""Answers of a model to held-out prompts, how they are asked for, and how they are kept: as JSON lines.

A base model that never saw the chat format is judged unfairly by it, so it also answers a few-shot transcript in plain
text: four solved examples, then the prompt.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from helptune.data.conversation import Conversation, Message
from helptune.errors import ContextError
from helptune.files import write_text
from helptune.gemma.chat import render
from helptune.gemma.config import GemmaConfig
from helptune.gemma.tokenizer import BOS, Tokenizer

_EXAMPLES = 4
_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System"}
NEXT_TURN = "\nUser:"
"""Where a model that goes on in a transcript has finished its answer."""


@dataclass(frozen=True)
class Answer:
    """`ended`: the model stopped by itself before the limit of new tokens. `key`: what decided it (`generations`)."""

    id: str
    text: str
    ended: bool
    tokens: int
    key: str = ""


def read_answers(path: Path, damaged: list[int] | None = None) -> list[Answer]:
    """Answers of a file written by `write_answers`. Lines that hold none are left out; `damaged` gets their numbers."""
    answers = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
    for number, line in enumerate(lines, start=1):
        try:
            answers.append(_parsed(line))
        except (ValueError, TypeError):
            if damaged is not None and line:
                damaged.append(number)
    return answers


def _parsed(line: str) -> Answer:
    answer = Answer(**json.loads(line))
    if [type(value) for value in vars(answer).values()] != [str, str, bool, int, str]:
        raise TypeError(line)
    return answer


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
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
