"""A conversation in the terminal: one line in, one answer out, as it is written or as JSON when it is complete."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from helptune.adapt.mixed import BASE, Rack, mixed
from helptune.errors import AdapterError, ContextError, DataError
from helptune.experiment.models import Loaded
from helptune.gemma.chat import render
from helptune.gemma.generate import generate, stream_text
from helptune.gemma.layout import prepared
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import BOS
from helptune.text import printable

_USE = "/use "


def converse(loaded: Loaded, sampling: Sampling, *, raw: bool, as_json: bool) -> None:
    """Answer line after line, each with what was said before, until an empty one. Ctrl-C stops an answer only.

    With several adapters `/use NAME` says who answers from here on; at first it is the base.
    """
    history: list[dict[str, str]] = []
    loaded = replace(loaded, base=prepared(loaded.base))
    if loaded.rack is not None:
        print(f"/use {', /use '.join((BASE, *loaded.rack.names))}: who answers", file=sys.stderr)
    while text := read_line():
        if loaded.rack is not None and text.startswith(_USE):
            loaded = _switched(loaded, loaded.rack, text.removeprefix(_USE).strip())
            continue
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


def _switched(loaded: Loaded, rack: Rack, name: str) -> Loaded:
    try:
        return replace(loaded, adapter=mixed(rack, [name]))
    except AdapterError as error:
        print(f"error: {error}", file=sys.stderr)
        return loaded


def say_side_by_side(
    loaded: Loaded, rack: Rack, turns: Sequence[dict[str, str]], sampling: Sampling, *, raw: bool, as_json: bool
) -> None:
    """Print the answers of the base and of every adapter on the rack to the last turn, written in one batch."""
    names, ids = [BASE, *rack.names], _prompt(loaded, turns, raw=raw)
    answers = generate(loaded.base, [ids] * len(names), sampling, mixed(rack, names))
    texts = [loaded.tokenizer.decode(answer.tokens) for answer in answers]
    if as_json:
        print(json.dumps({n: {"text": t, "ended": a.ended} for n, t, a in zip(names, texts, answers, strict=True)}))
        return
    for name, text in zip(names, texts, strict=True):
        print(f"{name}> {printable(text)}")


def _prompt(loaded: Loaded, turns: Sequence[dict[str, str]], *, raw: bool) -> list[int]:
    if raw:
        return [BOS, *loaded.tokenizer.encode(turns[-1]["content"])]
    return render(turns, loaded.tokenizer, loaded.base.config, reply=True)[0]


def say(loaded: Loaded, turns: Sequence[dict[str, str]], sampling: Sampling, *, raw: bool, as_json: bool) -> str:
    """Print the answer to the last turn and return it. `raw` continues that turn as plain text, without the format."""
    base, tokenizer, ids = loaded.base, loaded.tokenizer, _prompt(loaded, turns, raw=raw)
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
