"""How fast is the data station here, and how much memory does it take? Synthetic records through the whole pipeline."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from helptune.data.conversation import Conversation, read_conversations
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Recipe, Safety, SourceSpec
from helptune.data.mixture.writing import TRAIN
from helptune.errors import SettingError
from helptune.experiment.synthetic import OPTIONS, write_sources

_EVERY = 0.2
"""Seconds between two looks at the memory."""


def bench_data(conversations: int, workers: int, probed: int) -> dict[str, Any]:
    """Time and peak memory of a build of synthetic conversations in the schemas of four sources, lexical screen.

    Beside it the rate of the probe on Gemma, on `probed` of the conversations that were kept; 0 leaves it out.
    """
    if conversations < 4:
        raise SettingError(f"conversations={conversations}: at least 4, one a source")
    with tempfile.TemporaryDirectory() as folder:
        files = write_sources(Path(folder), conversations)
        recipe = Recipe(
            name="bench",
            source=tuple(
                SourceSpec(name, path=str(path), options=OPTIONS.get(name, {})) for name, path in files.items()
            ),
            share_alike=True,
            safety=Safety("lexical"),
        )
        start, out = time.perf_counter(), Path(folder) / "out"
        with _peak_memory() as peak:
            manifest = build(recipe, Path(folder), out, workers)
        seconds = time.perf_counter() - start
        records = sum(manifest["funnel"]["read"].values())
        found = {
            "records": records,
            "kept": sum(manifest["funnel"]["kept"].values()),
            "workers": workers,
            "seconds": round(seconds, 1),
            "records_per_second": round(records / seconds, 1),
            "peak_gib_of_all_processes": round(peak[0] / 2**30, 2),
            "safety": recipe.safety.classifier,
        }
        if probed:
            kept = list(islice(read_conversations(out / TRAIN), probed))
            found["probe_conversations_per_second"] = round(_probe_rate(kept), 1)
    return found


def _probe_rate(kept: list[Conversation]) -> float:
    """Of both targets, as a build asks for them; what is loaded and compiled first is not counted."""
    from helptune.data.safety import find

    probe = find("probe")
    for target in ("prompt", "response"):
        probe.score(kept, target)
    start = time.perf_counter()
    for target in ("prompt", "response"):
        probe.score(kept, target)
    return len(kept) / (time.perf_counter() - start)


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """The largest sum of the resident memory of this process and its children, in bytes; shared pages count twice."""
    peak, done, own = [0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not done.wait(_EVERY):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
