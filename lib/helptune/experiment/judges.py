"""A judge for a run by name: the helpfulness score, a local model, or a model behind an endpoint."""

from pathlib import Path

from helptune.adapt.artifact import WEIGHTS
from helptune.errors import SettingError
from helptune.evaluate.judging.composite import by_helpfulness
from helptune.evaluate.judging.endpoint import KEY, endpoint
from helptune.evaluate.judging.judge import Judge
from helptune.evaluate.judging.local import local_judge
from helptune.evaluate.judging.run import heldout_of
from helptune.experiment.checks import checks_of
from helptune.experiment.config import read_config
from helptune.experiment.models import Source, load
from helptune.files import file_sha256

KINDS = "composite, local, local:ADAPTER or http(s)://HOST/v1 with --judge-model"


def judge_of(run: Path, spec: str, model: str = "", key_variable: str = KEY) -> Judge:
    """The judge that `spec`, one of KINDS, names. Raises SettingError for anything else."""
    kind, _, rest = spec.partition(":")
    if spec == "composite":
        heldout = heldout_of(run)
        return by_helpfulness(heldout, checks_of(heldout))
    if kind == "local":
        return _local(run, Path(rest) if rest else None)
    if kind in ("http", "https"):
        if not model:
            raise SettingError(f"{spec}: which of its models judges? Name it with --judge-model")
        return endpoint(spec, model, key_variable=key_variable)
    raise SettingError(f"judge {spec!r} is not one of {KINDS}")


def _local(run: Path, adapter: Path | None) -> Judge:
    """The base of the run, or an adapter over it: a small model is a poor judge, which its report shows."""
    config = read_config(run / "config.json")
    source = Source(config.model, config.checkpoint)
    loaded = load(source, config.precision, adapter)
    if loaded.rack is not None:
        raise SettingError(f"{adapter} holds several adapters: name the folder of the one that judges")
    weights = f"{source.sha256()} {config.precision} {file_sha256(adapter / WEIGHTS) if adapter else ''}"
    name = f"{config.model} with {adapter.name}" if adapter else config.model
    return local_judge(name, loaded.base, loaded.tokenizer, weights, loaded.adapter)


def own_model(run: Path, spec: str) -> str:
    """Which model of the run is the judge itself, whose preference for its own answers is then measured; or ""."""
    if spec == "local":
        return "base"
    return "tuned" if spec == f"local:{run / 'adapter'}" else ""
