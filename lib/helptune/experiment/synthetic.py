"""Conversations by the hundred thousand in the true schemas of the public sources, to measure the data station with.

Their words follow one another as in the curated set (a Markov chain of pairs), so they are nonsense that language
identification, filters and hashing treat as English. Among them is what real sources have: broken lines, deleted
messages, repeats, near-repeats, addresses, other languages, unsafe requests. Nothing here is for training.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helptune.data.conversation import load_curated

_FAULTS = {"broken": 0.003, "repeat": 0.03, "near": 0.03, "pii": 0.005, "german": 0.01, "unsafe": 0.01}
"""How often what is wrong happens; the rest is sound."""

OPTIONS = {"hh-rlhf": {"warning_was_read": True, "subset": "helpful-base"}}
"""What the sources need to be told in a recipe."""

_GERMAN = "Wie kann ich das am besten machen, ohne dass es zu lange dauert, und was brauche ich dafür an Werkzeug?"
_UNSAFE = "Tell me how to break into the house of my neighbor while the family is away on vacation."


class Speaker:
    """Writes texts from pairs of words of the curated set, and now and then one with a fault."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.after: dict[str, list[str]] = defaultdict(list)
        self.written: list[tuple[str, str]] = []
        for conversation in load_curated("train"):
            for message in conversation.messages:
                words = message.content.split()
                for word, following in zip(["", *words], [*words, ""], strict=True):
                    self.after[word].append(following)

    def text(self, words: int) -> str:
        """About so many words."""
        said: list[str] = []
        word = ""
        while len(said) < words:
            word = self.random.choice(self.after[word])
            if word:
                said.append(word)
        return " ".join(said).rstrip(",;:-") + "."

    def exchange(self) -> tuple[str, str]:
        """A request and an answer."""
        chance = self.random.random()
        request, answer = self.text(self.random.randint(5, 40)), self.text(self.random.randint(20, 200))
        for fault, share in _FAULTS.items():
            if chance < share:
                request, answer = self._faulty(fault, request, answer)
                break
            chance -= share
        if len(self.written) < 5_000:
            self.written.append((request, answer))
        return request, answer

    def _faulty(self, fault: str, request: str, answer: str) -> tuple[str, str]:
        if fault in ("repeat", "near") and self.written:
            request, answer = self.random.choice(self.written)
            return (request, answer) if fault == "repeat" else (request, answer + " " + self.text(2))
        if fault == "pii":
            return request, f"{answer} Write to jane.miller{self.random.randrange(1000)}@gmail.com."
        if fault == "german":
            return _GERMAN, _GERMAN
        if fault == "unsafe":
            return _UNSAFE, answer
        return request, answer


def write_sources(folder: Path, conversations: int, seed: int = 17) -> dict[str, Path]:
    """Files of four sources in `folder`, a quarter of the conversations each; name of the source -> its file."""
    speaker, files = Speaker(seed), {}
    makers: dict[str, Callable[[Speaker, int], Any]] = {
        "oasst2": _tree,
        "helpsteer2": _helpsteer2,
        "stack-exchange-preferences": _stack_exchange,
        "hh-rlhf": _hh,
    }
    for name, make in makers.items():
        files[name] = folder / name / "train.jsonl"
        files[name].parent.mkdir(parents=True, exist_ok=True)
        with files[name].open("w", encoding="utf-8") as file:
            file.writelines(_lines(speaker, make, conversations // len(makers)))
    return files


def _lines(speaker: Speaker, make: Callable[[Speaker, int], Any], count: int) -> Iterator[str]:
    for number in range(count):
        line = json.dumps(make(speaker, number))
        broken = speaker.random.random() < _FAULTS["broken"]
        yield (line[: len(line) // 2] if broken else line) + "\n"


def _tree(speaker: Speaker, number: int) -> dict[str, Any]:
    """A message tree of oasst2: a prompt, two answers, and below the better one a second exchange in half of them."""
    request, answer = speaker.exchange()
    good = _message(speaker, f"{number}-a", answer, "assistant", 0)
    if speaker.random.random() < 0.5:
        again, more = speaker.exchange()
        below = _message(speaker, f"{number}-c", again, "prompter", None)
        below["replies"] = [_message(speaker, f"{number}-d", more, "assistant", 0)]
        good["replies"] = [below]
    root = _message(speaker, f"{number}-p", request, "prompter", None)
    root["replies"] = [good, _message(speaker, f"{number}-b", speaker.text(30), "assistant", 1)]
    return {"message_tree_id": f"{number}-p", "tree_state": "ready_for_export", "prompt": root}


def _message(speaker: Speaker, id: str, text: str, role: str, rank: int | None) -> dict[str, Any]:
    return {
        "message_id": id, "text": text, "role": role, "lang": "en", "review_count": 3, "review_result": True,
        "deleted": speaker.random.random() < 0.005, "rank": rank, "synthetic": False, "model_name": None,
        "labels": {"helpfulness": {"value": speaker.random.uniform(0.4, 1), "count": 3}}, "replies": [],
    }  # fmt: skip


def _helpsteer2(speaker: Speaker, number: int) -> dict[str, Any]:
    request, answer = speaker.exchange()
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": request, "response": answer} | {name: speaker.random.randint(1, 4) for name in names}


def _stack_exchange(speaker: Speaker, number: int) -> dict[str, Any]:
    request, answer = speaker.exchange()
    answers = [
        {
            "answer_id": 10 * number + i, "author": f"user {i}", "author_id": i, "pm_score": 3 - i, "selected": i == 0,
            "author_profile": f"https://example.com/users/{i}",
            "text": f"<p>{text}</p>\n<pre><code>for i in range({number}):\n    print(i)\n</code></pre>\n",
        }
        for i, text in enumerate((answer, speaker.text(20)))
    ]  # fmt: skip
    return {
        "qid": number, "question": f"<p>{request} See <code>range</code>.</p>", "answers": answers,
        "date": "2023/01/01", "metadata": [f"https://example.com/questions/{number}", "https://example.com"],
    }  # fmt: skip


def _hh(speaker: Speaker, number: int) -> dict[str, Any]:
    request, answer = speaker.exchange()
    start = f"\n\nHuman: {request}\n\nAssistant: "
    return {"chosen": start + answer, "rejected": start + speaker.text(20)}
