"""The main job, start to finish: measure the base, train, measure again, write the report.

Every stage leaves its result in the run's directory and is skipped when the result is there, so the same command
continues after any interruption.
"""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from helptune.adapt.adapters import AdapterConfig, Adapters, init_adapters, parameter_count
from helptune.adapt.artifact import WEIGHTS, load_adapter
from helptune.data.conversation import Conversation, write_conversations
from helptune.data.packing import Example, tokenize
from helptune.errors import HelptuneError, RunError, SettingError
from helptune.evaluate.answers import check_prompts, solved_examples
from helptune.evaluate.generations import Answering, Rule, Speaker, answer_sets
from helptune.experiment.advice import Settings, advice
from helptune.experiment.config import RunConfig
from helptune.experiment.devices import preallocation, this_machine
from helptune.experiment.evidence import EXAMPLES, HELDOUT, read_evidence
from helptune.experiment.gradients import category_gradients
from helptune.experiment.heed import heed_stop
from helptune.experiment.models import Source
from helptune.experiment.plan import mesh_shape
from helptune.experiment.report import write_report
from helptune.experiment.runs import open_run, read_json
from helptune.experiment.samples import sampler
from helptune.experiment.split import few_shot_candidates, held_back, kept_for_training, read_data
from helptune.files import write_text
from helptune.gemma.base import Base
from helptune.gemma.config import GemmaConfig
from helptune.gemma.sharding import make_mesh, on_mesh, replicate
from helptune.gemma.tokenizer import Tokenizer
from helptune.lock import working_alone
from helptune.train.config import TrainConfig
from helptune.train.distributed import all_hosts_needed, from_main, is_main
from helptune.train.fit import eval_batches, fit
from helptune.train.memory import MeshShape
from helptune.train.peak import peak_device_gib, peak_rss_gib
from helptune.train.step import eval_step
from helptune.train.stop import withdraw_stop
from helptune.train.topology import Topology


def finetune(config: RunConfig, run: Path) -> dict[str, Any]:
    """Run or continue a whole experiment in the directory `run`; returns what is in its `eval/summary.json`.

    In a run of several processes all of them compute and the first alone writes the directory, which all must see.
    Raises RunError, DataError, ContextError, SettingError or WeightsError before any work is lost, Interrupted after
    Ctrl-C.
    """
    train_set, heldout = read_data(config)
    source, machine = Source(config.model, config.checkpoint), this_machine()
    source.check()
    model, tokenizer = source.config(), source.tokenizer(config.precision)
    shape = mesh_shape(model, config, machine)
    require_memory(model, config, shape, machine)
    examples = tokenize(train_set, tokenizer, model, config.train.seq_len)
    # Whatever is too long is found before anything is loaded.
    tokenize(heldout, tokenizer, model, config.train.seq_len)
    check_prompts(heldout, tokenizer, model, config.max_new_tokens)
    solved = solved_examples(few_shot_candidates(train_set), heldout, tokenizer, model, config.max_new_tokens)
    config = with_fingerprints(config, train_set, heldout, source.sha256())
    mesh = make_mesh(shape) if machine.count > 1 else None
    with all_hosts_needed():
        base = source.base(config.precision, mesh)
        if is_main():  # only now: a configuration that cannot run must not occupy the directory
            open_run(run, config)
        with working_alone(run) if is_main() else contextlib.nullcontext():
            if is_main():  # here alone: whoever sees the lock may ask it to stop
                withdraw_stop(run)
            if not from_main(lambda: _is_complete(run, base.config, config.base_sha256)):
                if is_main():
                    write_conversations(run / HELDOUT, heldout)
                    write_conversations(run / EXAMPLES, solved)
                summary = _run_stages(config, run, base, tokenizer, mesh, examples, solved, train_set, heldout)
                if is_main():
                    write_text(run / "eval" / "summary.json", json.dumps(summary, indent=2) + "\n")
            if is_main():
                write_report(run)
        return from_main(lambda: read_json(run / "eval" / "summary.json"))


def require_memory(model: GemmaConfig, config: RunConfig, mesh: MeshShape, machine: Topology) -> None:
    """Raises SettingError, with what would fit, when a training step needs more memory than a device here has."""
    found = advice(model, config.method, Settings(mesh, config.train, config.precision), machine.memory)
    if found["verdict"] != "fits":
        taken = f". JAX takes {preallocation('gpu', os.environ)}" if machine.platform == "gpu" else ""
        raise SettingError(f"too little memory for {model.name}: {found['advice']}{taken}")


def _is_complete(run: Path, model: GemmaConfig, base_sha256: str) -> bool:
    """Nothing is left to do, and nothing of what was done is lost or damaged."""
    try:
        read_evidence(run)
        load_adapter(run / "adapter", model, base_sha256)
    except (HelptuneError, KeyError, TypeError):
        return False
    return True


def _run_stages(
    config: RunConfig,
    run: Path,
    base: Base,
    tokenizer: Tokenizer,
    mesh: Mesh | None,
    examples: Sequence[Example],
    solved: Sequence[Conversation],
    train_set: Sequence[Conversation],
    heldout: Sequence[Conversation],
) -> dict[str, Any]:
    train, dev = kept_for_training(examples), held_back(examples)
    stages = _Stages(run / "eval" / "stages.json")
    rule = Rule(config.max_new_tokens, config.repetition_penalty)
    model = Answering(base, tokenizer, config.base_sha256, config.precision)

    def answer(model: Answering, speaker: Speaker) -> None:
        """Every model answers under the same rule. Answers that are there are not made again, missing ones are."""
        with stages.timed(f"{speaker.name}_answers"), _set(mesh):
            answer_sets(model, heldout, [speaker], rule, run / "eval", after_batch=lambda: heed_stop(run))

    def loss(adapters: Adapters) -> dict[str, Any]:
        heed_stop(run)
        with _set(mesh):
            return heldout_loss(base, tokenizer, adapters, config.method, config.train, heldout)

    untrained = init_adapters(config.method, base.config, jax.random.key(config.train.seed))
    untrained = untrained if mesh is None else replicate(untrained, mesh)
    losses = {"base": stages.run("base_loss", lambda: loss(untrained))}
    answer(model, Speaker("base"))
    answer(model, Speaker("few_shot", examples=tuple(solved)))
    sample = sampler(base, tokenizer, held_back(train_set), config.method, config.repetition_penalty)
    with stages.timed("train"):
        result = fit(base, train, dev, config.method, config.train, run, config.base_sha256, mesh, sample)
    losses["tuned"] = stages.run("tuned_loss", lambda: loss(result.adapters))
    tuned = replace(model, adapters={"tuned": (result.adapters, config.method)})
    answer(tuned, Speaker("tuned", "tuned"))
    categories = [c.category for c in kept_for_training(train_set)]
    tasks = stages.run(
        "gradients",
        lambda: category_gradients(base, result.adapters, config.method, config.train, train, categories, mesh=mesh),
    )
    return {
        "model": base.config.name,
        "mesh": [1, 1, 1] if mesh is None else list(mesh.shape.values()),
        "heldout_loss": losses,
        "task_gradients": tasks,
        "conversations": {"train": len(train), "held_back": len(dev), "held_out": len(heldout)},
        "training": {k: v for k, v in vars(result).items() if k != "adapters"},
        "parameters": {"base": base.config.parameters, "trainable": parameter_count(result.adapters)},
        "adapter_bytes": (run / "adapter" / WEIGHTS).stat().st_size,
        "seconds": stages.seconds,
        "peak_rss_gib": stages.peak_rss_gib,
        "peak_device_gib": stages.peak_device_gib,
    }


def _set(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def with_fingerprints(
    config: RunConfig, train: Sequence[Conversation], heldout: Sequence[Conversation], base_sha256: str
) -> RunConfig:
    """The configuration with the sha256 of its data and base. Raises RunError when it was made with others."""
    text = json.dumps([[asdict(c) for c in part] for part in (train, heldout)], sort_keys=True)
    found = {"data_sha256": hashlib.sha256(text.encode()).hexdigest(), "base_sha256": base_sha256}
    for name, what in (("data_sha256", "conversations"), ("base_sha256", "weights of the base")):
        if getattr(config, name) not in ("", found[name]):
            raise RunError(
                f"the {what} are not those of this configuration ({name} {getattr(config, name)[:12]}, "
                f"found {found[name][:12]}): restore them, or empty {name} to use what is there"
            )
    return replace(config, data_sha256=found["data_sha256"], base_sha256=base_sha256)


def heldout_loss(
    base: Base,
    tokenizer: Tokenizer,
    adapters: Adapters,
    method: AdapterConfig,
    train: TrainConfig,
    heldout: Sequence[Conversation],
) -> dict[str, Any]:
    """Nats per response token over the held-out set, overall and by category."""
    totals = {}
    for category in dict.fromkeys(c.category for c in heldout):
        members = [c for c in heldout if c.category == category]
        totals[category or "all"] = _nll(base, tokenizer, adapters, method, train, members)
    nll, weight = (sum(t[i] for t in totals.values()) for i in (0, 1))
    if not math.isfinite(nll):
        raise RunError(
            f"the held-out loss is {nll}: the weights of the base or of the adapter hold NaN or infinity. Fetch the "
            "base again, or train anew with a lower --learning-rate"
        )
    return {"overall": nll / weight, "by_category": {name: n / w for name, (n, w) in totals.items()}}


def _nll(
    base: Base,
    tokenizer: Tokenizer,
    adapters: Adapters,
    method: AdapterConfig,
    train: TrainConfig,
    members: list[Conversation],
) -> tuple[float, float]:
    examples = tokenize(members, tokenizer, base.config, train.seq_len)
    sums = [eval_step(base, adapters, on_mesh(batch), method=method) for batch in eval_batches(examples, train)]
    nll, weight = (float(jnp.sum(jnp.stack(part))) for part in zip(*sums, strict=True))
    return nll, weight


class _Stages:
    """Results and durations of finished stages, in one JSON file, so that a continued run repeats none of them."""

    def __init__(self, path: Path):
        self.path = path
        stored = from_main(lambda: _read_stages(path))
        self.results, self.seconds = stored.get("results", {}), stored.get("seconds", {})
        self.peak_rss_gib, self.peak_device_gib = stored.get("peak_rss_gib", 0.0), stored.get("peak_device_gib", 0.0)

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        if name not in self.results:
            with self.timed(name):
                self.results[name] = work()
        return self.results[name]

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of the block, also when it is interrupted, to what earlier attempts took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self.peak_rss_gib = max(self.peak_rss_gib, peak_rss_gib())
            self.peak_device_gib = max(self.peak_device_gib, peak_device_gib())
            if is_main():
                kept = {name: value for name, value in vars(self).items() if name != "path"}
                write_text(self.path, json.dumps(kept, indent=2) + "\n")


def _read_stages(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # not there yet, or damaged: its stages are cheap to repeat
        return {}
