"""How fast are training and generation here? One line of JSON each, comparable between machines and versions."""

import statistics
import time
from typing import Any

import jax
import numpy as np

from helptune.adapt.adapters import Adapters, attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import BASE, mixed, rack_of
from helptune.errors import SettingError
from helptune.experiment.models import Source
from helptune.experiment.steps import random_batch, timed_steps
from helptune.gemma.config import GemmaConfig
from helptune.gemma.generate import stream
from helptune.gemma.layout import prepared
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import BOS
from helptune.train.config import TrainConfig
from helptune.train.optimizer import OptimizerConfig
from helptune.train.peak import peak_rss_gib


def bench_train(
    batch: int, seq_len: int, steps: int, precision: str, rank: int, accumulate: int = 1, remat: str = "none"
) -> dict[str, Any]:
    """Median time of optimizer steps on the real weights: all seven sites, half of the random tokens supervised."""
    if min(batch, seq_len, steps) < 1:
        raise SettingError(f"batch={batch}, seq_len={seq_len}, steps={steps}: all must be at least 1")
    TrainConfig(seq_len=seq_len, batch_rows=batch, accumulate=accumulate, remat=remat)  # checks what is left
    base, lora = Source().base(precision), LoraConfig(rank=rank, alpha=2.0 * rank)
    data = random_batch(base.config.vocab, batch, seq_len, prompt=seq_len // 2, parts=accumulate)
    _, seconds = timed_steps(base, lora, OptimizerConfig(), data, steps + 1, remat=remat)
    median = statistics.median(seconds[1:])
    return {
        "model": base.config.name,
        "batch": batch,
        "accumulate": accumulate,
        "seq_len": seq_len,
        "remat": remat,
        "precision": precision,
        "steps": steps,
        "first_step_s": round(seconds[0], 3),
        "median_step_s": round(median, 3),
        "tokens_per_s": round(batch * seq_len / median, 1),
        "peak_rss_gib": round(peak_rss_gib(), 3),
    }


def bench_generate(batch: int, prompt: int, new_tokens: int, repeats: int, precision: str) -> dict[str, Any]:
    """Median time of greedy answers of exactly `new_tokens`, the prompt's own pass included, on the real weights.

    The prompts are random tokens, the same for every precision. A first answer, which compiles, is not counted.
    """
    if min(batch, prompt, repeats) < 1 or new_tokens < 2:
        raise SettingError(
            f"batch={batch}, prompt={prompt}, repeats={repeats}: all must be at least 1; new_tokens={new_tokens}: 2"
        )
    base, prompts = prepared(Source().base(precision)), _prompts(batch, prompt)
    sampling, totals, firsts = Sampling(max_new_tokens=new_tokens, ignore_stops=True), [], []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        steps = stream(base, prompts, sampling)
        next(steps)
        firsts.append(time.perf_counter() - started)
        for _ in steps:
            pass
        totals.append(time.perf_counter() - started)
    total, first = statistics.median(totals[1:]), statistics.median(firsts[1:])
    return {
        "model": base.config.name,
        "batch": batch,
        "prompt_tokens": prompt,
        "new_tokens": new_tokens,
        "precision": precision,
        "repeats": repeats,
        "first_answer_s": round(totals[0], 3),
        "first_token_s": round(first, 3),
        "median_answer_s": round(total, 3),
        "tokens_per_s": round(batch * new_tokens / total, 1),
        "decode_tokens_per_s": round(batch * (new_tokens - 1) / (total - first), 1),
        "peak_rss_gib": round(peak_rss_gib(), 3),
    }


def bench_mixed(
    adapters: int, batch: int, prompt: int, new_tokens: int, repeats: int, rank: int, precision: str
) -> dict[str, Any]:
    """Median time of greedy answers by one adapter, and by the base and `adapters` others in one batch, by turns.

    What the adapters hold is random: it costs the same. A first round, which compiles, is not counted.
    """
    if min(adapters, prompt, repeats) < 1 or batch <= adapters or new_tokens < 2:
        raise SettingError(
            f"adapters={adapters}, batch={batch}: the batch must hold the base and each of them; prompt={prompt}, "
            f"repeats={repeats}: at least 1; new_tokens={new_tokens}: at least 2"
        )
    base, lora = prepared(Source().base(precision)), LoraConfig(rank=rank, alpha=2.0 * rank)
    named = {f"adapter-{i}": (_random_adapter(lora, base.config, i), lora) for i in range(adapters)}
    names = [[BASE, *named][row % (adapters + 1)] for row in range(batch)]
    kinds = {
        "single": attach(*named["adapter-0"]),
        "mixed": mixed(rack_of(named, base.config, base.dtype, adapters), names),
    }
    prompts, sampling = _prompts(batch, prompt), Sampling(max_new_tokens=new_tokens, ignore_stops=True)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats + 1):
        for kind, adapter in kinds.items():
            started = time.perf_counter()
            for _ in stream(base, prompts, sampling, adapter):
                pass
            seconds[kind].append(time.perf_counter() - started)
    single, several = (statistics.median(times[1:]) for times in seconds.values())
    return {
        "model": base.config.name,
        "adapters": adapters,
        "batch": batch,
        "prompt_tokens": prompt,
        "new_tokens": new_tokens,
        "precision": precision,
        "rank": rank,
        "repeats": repeats,
        "single_s": round(single, 3),
        "mixed_s": round(several, 3),
        "ratio": round(several / single, 3),
        "peak_rss_gib": round(peak_rss_gib(), 3),
    }


def _prompts(batch: int, tokens: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [[BOS, *map(int, rng.integers(1_000, 200_000, tokens - 1))] for _ in range(batch)]


def _random_adapter(lora: LoraConfig, model: GemmaConfig, seed: int) -> Adapters:
    key = jax.random.key(seed)
    return jax.tree.map(lambda x: x + 0.01 * jax.random.normal(key, x.shape), init_adapters(lora, model, key))
