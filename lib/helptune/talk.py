"""A conversation in the terminal: one line in, one answer out, as it is written or as JSON when it is complete."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from helptune.errors import ContextError, DataError
from helptune.experiment.models import Loaded
from helptune.gemma.chat import render
from helptune.gemma.generate import Sampling, generate, stream_text
from helptune.gemma.layout import prepared
from helptune.gemma.tokenizer import BOS
from helptune.text import printable


def converse(loaded: Loaded, sampling: Sampling, *, raw: bool, as_json: bool) -> None:
    """Answer line after line, each with what was said before, until an empty one. Ctrl-C stops an answer only."""
    history: list[dict[str, str]] = []
    loaded = replace(loaded, base=prepared(loaded.base))
    while text := read_line():
        turns = [*history, {"role": "user", "content": text}]
        try:
            answer = say(loaded, turns, sampling, raw=raw, as_json=as_json)
        except KeyboardInterrupt:
            print(" (stopped; this question is forgotten)")
            continue
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            continue
        except ContextError as error:
            print(f"error: {error}", file=sys.stderr)
            if history:
                print("what was said before is forgotten; ask again", file=sys.stderr)
            history = []
            continue
        history = [] if raw else [*turns, {"role": "assistant", "content": answer}]


def say(loaded: Loaded, turns: Sequence[dict[str, str]], sampling: Sampling, *, raw: bool, as_json: bool) -> str:
    """Print the answer to the last turn and return it. `raw` continues that turn as plain text, without the format."""
    base, tokenizer = loaded.base, loaded.tokenizer
    if raw:
        ids = [BOS, *tokenizer.encode(turns[-1]["content"])]
    else:
        ids, _ = render(turns, tokenizer, base.config, reply=True)
    if not as_json:
        pieces = []
        for piece in stream_text(base, tokenizer, ids, sampling, loaded.adapter):
            print(printable(piece), end="", flush=True)
            pieces.append(piece)
        print()
        return "".join(pieces)
    started = time.perf_counter()
    (completion,) = generate(base, [ids], sampling, loaded.adapter)
    text = tokenizer.decode(completion.tokens)
    seconds = round(time.perf_counter() - started, 3)
    print(json.dumps({"text": text, "ended": completion.ended, "tokens": len(completion.tokens), "seconds": seconds}))
    return text


def read_line() -> str:
    """What the user types, empty at Ctrl-D or Ctrl-C."""
    try:
        return input("you> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""
