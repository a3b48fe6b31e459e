"""Our models in EleutherAI's lm-evaluation-harness, so that its hundreds of published tasks can be run on them.

The harness asks three things of a model: how likely a text is after another, how likely it is on its own, and what the
model writes. It is an optional package (`pip install "helptune[harness]"`); its tasks bring their data from the Hugging
Face hub, and a folder of tasks may hold code, which the harness runs: include only what you trust.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helptune.errors import ContextError, SettingError
from helptune.evaluate.likelihood import likelihoods
from helptune.evaluate.table import Row
from helptune.experiment.models import Loaded
from helptune.gemma.generate import generate_until
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import BOS, EOS

try:
    from lm_eval.api.model import TemplateLM
except ImportError as error:
    raise SettingError('lm-evaluation-harness is not installed: pip install "helptune[harness]"') from error

PART = "harness"
_ROWS = 16
_NEW_TOKENS = 256
"""Where a task states no limit."""
_TAIL = 32
"""Tokens in which a stop text is looked for: longer than any that a task names."""
_SAMPLING = {"until", "do_sample", "temperature", "top_k", "top_p", "max_gen_toks"}


@dataclass(frozen=True)
class TaskScore:
    """One figure of a task as the harness reports it; intervals are computed from the rows, as everywhere else."""

    task: str
    metric: str
    value: float
    items: int


class HarnessModel(TemplateLM):
    """A base, with its adapter if it has one. Texts are taken as they are, after <bos>, without a chat format."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.loaded, self.context = loaded, loaded.base.config.context

    @property
    def eot_token_id(self) -> int:
        return EOS

    @property
    def prefix_token_id(self) -> int:
        return BOS

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        ids = self.loaded.tokenizer.encode(string)
        return ids if add_special_tokens is False else [BOS, *ids]

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        """What does not fit the context is cut at its beginning, as the harness does everywhere."""
        pairs = []
        for (_, text), before, after in requests:
            if len(after) > self.context:
                raise ContextError(
                    f"a text of {len(after)} tokens exceeds the context of {self.context}: {text[:40]!r}..."
                )
            pairs.append((before[-(self.context + 1 - len(after)) :], after))
        found = likelihoods(self.loaded.base, self.loaded.tokenizer, pairs, self.loaded.adapter, "likelihoods")
        return [(one.logprob, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """A text longer than the context goes in windows, each token being scored once."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        texts = [self.loaded.tokenizer.encode(request.args[0]) for request in requests]
        windows = [
            [make_disjoint_window(w) for w in get_rolling_token_windows(ids, BOS, self.context, 1)] for ids in texts
        ]
        pairs = [pair for own in windows for pair in own]
        found = iter(likelihoods(self.loaded.base, self.loaded.tokenizer, pairs, self.loaded.adapter, "texts"))
        return [sum(next(found).logprob for _ in own) for own in windows]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Each answer up to the first of its stop texts, without it."""
        written: dict[int, str] = {}
        rules: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            rules.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(number)
        with tqdm(total=len(requests), desc="answers", disable=disable_tqdm) as progress:
            for rule, numbers in rules.items():
                sampling, stops = _sampling(json.loads(rule))
                prompts = {i: self._prompt(requests[i].args[0], sampling.max_new_tokens) for i in numbers}
                numbers.sort(key=lambda i: len(prompts[i]))
                for start in range(0, len(numbers), _ROWS):
                    batch = numbers[start : start + _ROWS]
                    texts = self._write([prompts[i] for i in batch], sampling, stops)
                    written |= dict(zip(batch, texts, strict=True))
                    progress.update(len(batch))
        return [written[number] for number in range(len(requests))]

    def _prompt(self, text: str, new_tokens: int) -> list[int]:
        if new_tokens >= self.context:
            raise ContextError(f"{new_tokens} new tokens leave no room for a prompt in a context of {self.context}")
        return self.tok_encode(text)[-(self.context - new_tokens) :]

    def _write(self, prompts: list[list[int]], sampling: Sampling, stops: Sequence[str]) -> list[str]:
        decode = self.loaded.tokenizer.decode

        def stopped(row: int, tokens: Sequence[int]) -> bool:
            return any(stop in decode(tokens[-_TAIL:]) for stop in stops)

        made = generate_until(self.loaded.base, prompts, stopped, sampling, self.loaded.adapter)
        return [_cut(decode(one.tokens), stops) for one in made]


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


def _sampling(asked: dict[str, Any]) -> tuple[Sampling, list[str]]:
    """Raises SettingError for a setting of a task that we do not have, rather than measuring something else."""
    if unknown := sorted(set(asked) - _SAMPLING):
        raise SettingError(f"a task asks for generation with {unknown[0]!r}, known are {', '.join(sorted(_SAMPLING))}")
    stops = asked.get("until") or []
    temperature = asked.get("temperature", 1.0) if asked.get("do_sample", asked.get("temperature", 0) > 0) else 0.0
    limit = int(asked.get("max_gen_toks", _NEW_TOKENS))
    sampling = Sampling(temperature, asked.get("top_k"), asked.get("top_p"), max_new_tokens=limit)
    return sampling, [stops] if isinstance(stops, str) else list(stops)


def evaluate_tasks(
    loaded: Loaded,
    tasks: Sequence[str],
    model: str = "base",
    *,
    include: Path | None = None,
    fewshot: int | None = None,
    limit: int | None = None,
) -> tuple[list[TaskScore], list[Row]]:
    """The figures of the harness, and a row for each item, so that two models can be compared pair by pair.

    `include` is a folder of further tasks, `fewshot` the number of solved examples where it is not the task's own,
    `limit` the first so many items of each task. Rows are of part "harness", metrics as the harness names them, labels
    {"task"}. Raises SettingError for an unknown task.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=None if include is None else str(include))
    if unknown := sorted(set(tasks) - set(manager.all_tasks)):
        raise SettingError(f"lm-evaluation-harness has no task {unknown[0]!r}: `lm-eval ls tasks` lists them")
    found = simple_evaluate(
        HarnessModel(loaded),
        tasks=list(tasks),
        num_fewshot=fewshot,
        limit=limit,
        task_manager=manager,
        bootstrap_iters=0,
    )
    if found is None:
        raise SettingError("lm-evaluation-harness gave no results: it runs in the first of several processes only")
    return _scores(found), _rows(found, model)


def _scores(found: Any) -> list[TaskScore]:
    counts, scores = found["n-samples"], list[TaskScore]()
    for task, figures in found["results"].items():
        for name, value in figures.items():
            metric, _, filtered = name.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            label = metric if filtered == "none" else f"{metric} ({filtered})"
            items = counts.get(task, {}).get("effective", 0)
            scores.append(TaskScore(task, label, float(value), items))
    return scores


def _rows(found: Any, model: str) -> list[Row]:
    """A filter of the harness is a way to read an answer: with several, each is an item of its own."""
    rows = []
    for task, samples in found["samples"].items():
        for sample in samples:
            filtered = sample["filter"]
            item = f"{task}-{sample['doc_id']}" + ("" if filtered == "none" else f"-{filtered}")
            metrics = {name: _number(sample.get(name)) for name in sample["metrics"]}
            rows.append(Row(PART, item, model, metrics, f"{task}-{sample['doc_id']}", {"task": task}))
    return rows


def _number(value: Any) -> float | None:
    """None for what a task keeps as a pair, such as a likelihood with its count of words, and for "N/A"."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
