"""Adapters as artifacts: out to Hugging Face PEFT or as merged weights, and in from PEFT.

A folder is whole or not there. Each folder carries its model card, the Gemma terms and the notice they ask for.
"""

from collections.abc import Callable
from pathlib import Path

import safetensors

from helptune.adapt.adapters import Adapters, attach
from helptune.adapt.artifact import WEIGHTS, AdapterCard, load_adapter, save_adapter
from helptune.adapt.certificate import (
    Certificate,
    LogitDifference,
    SiteRounding,
    logit_difference,
    site_rounding,
    token_logits,
    write_certificate,
)
from helptune.adapt.lora import LoraConfig
from helptune.adapt.merge import merge, write_merged
from helptune.adapt.model_card import About, serve_command, write_adapter_card, write_legal, write_merged_card
from helptune.adapt.peft_format import Provenance, provenance, read_peft, write_peft
from helptune.data.conversation import load_curated
from helptune.errors import AdapterError, HelptuneError
from helptune.experiment.config import read_config
from helptune.experiment.models import FROM_FOLDER, Source
from helptune.files import file_sha256, require_vacant, write_folder, write_text
from helptune.gemma.base import Base
from helptune.gemma.chat import TEMPLATE_HASH, render
from helptune.gemma.checkpoints import check_dtype, checkpoint_tokenizer_path, load_checkpoint
from helptune.gemma.config import PUBLISHED, GemmaConfig
from helptune.gemma.hf_config import write_config
from helptune.gemma.hf_folder import CHAT_TEMPLATE, write_generation_config, write_tokenizer
from helptune.gemma.quantize import check_precision
from helptune.gemma.tokenizer import Tokenizer

CERTIFIED_ROWS, CERTIFIED_TOKENS = 8, 48
"""Held-out conversations, and tokens of each, on which merged logits are compared."""
FLOAT32_LIMIT = 2**30
"""Parameters up to which the comparison is made in float32 as well, where two such models must fit into memory."""


def export_adapter(source: Source, adapter: Path, out: Path) -> str:
    """The adapter as a PEFT folder `out`; returns the command with which vLLM serves it.

    Raises SettingError when `out` is taken, AdapterError for an adapter of another base, one that is no LoRA, or one
    that vLLM would refuse.
    """
    require_vacant(out)
    model, adapters, card, lora = _open_adapter(source, adapter)
    about = _about(source, adapter, card, lora, out.name)
    origin = Provenance(card.base_sha256, card.template_hash)
    limit = 0

    def fill(folder: Path) -> None:
        nonlocal limit
        limit = write_peft(folder, adapters, lora, model, about.base, origin)
        write_generation_config(folder, model)
        write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)
        write_adapter_card(folder, about, limit)
        write_legal(folder, source.checkpoint, "every file here; the adapter holds changes to the base only.")

    _write(out, fill)
    return serve_command(about.base, out, limit)


def import_adapter(source: Source, peft: Path, out: Path) -> AdapterCard:
    """A PEFT folder as an adapter folder `out` for this base; returns its card.

    Raises SettingError when `out` is taken, AdapterError for a folder that cannot be read, or that says it was trained
    on other weights or in another chat format.
    """
    require_vacant(out)
    source.check()
    model, sha256 = source.config(), source.sha256()
    adapters, lora = read_peft(peft, model)
    origin = provenance(peft)
    for what, found, needed in (
        ("base weights (sha256)", origin.base_sha256, sha256),
        ("chat template", origin.template_hash, TEMPLATE_HASH),
    ):
        if found not in ("", needed):
            raise AdapterError(f"{peft}: this adapter was trained for {what} {found!r}, here it is {needed!r}")
    card = AdapterCard(model.name, sha256, lora)
    _write(out, lambda folder: save_adapter(folder, adapters, card))
    return card


def merge_adapter(source: Source, adapter: Path, out: Path, precision: str, dtype: str) -> Certificate:
    """The base (in `precision`) with the adapter in it, as a Hugging Face folder `out` of `dtype`, and what that cost.

    The certificate is measured on the files written, read back. Raises SettingError when `out` is taken or for an
    unknown precision or dtype, AdapterError for an adapter of another base, or one that is no LoRA.
    """
    require_vacant(out)
    check_precision(precision)
    check_dtype(dtype)
    model, adapters, card, lora = _open_adapter(source, adapter)
    about = _about(source, adapter, card, lora, out.name)
    tokenizer = source.tokenizer(precision)
    certificate: Certificate | None = None

    def fill(folder: Path) -> None:
        nonlocal certificate
        sites, logits = _write_and_compare(folder, source, precision, adapters, lora, dtype, tokenizer)
        sha256 = file_sha256(adapter / WEIGHTS)
        certificate = Certificate(model.name, card.base_sha256, sha256, precision, dtype, sites, logits)
        write_certificate(folder, certificate)
        write_generation_config(folder, model)
        _write_tokenizer(folder, source, tokenizer)
        write_merged_card(folder, about, dtype, _in_words(certificate))
        write_legal(folder, source.checkpoint, "model*.safetensors, which are the base with an adapter merged into it.")

    _write(out, fill)
    assert certificate is not None
    return certificate


def _open_adapter(source: Source, adapter: Path) -> tuple[GemmaConfig, Adapters, AdapterCard, LoraConfig]:
    source.check()
    model = source.config()
    adapters, card = load_adapter(adapter, model, source.sha256())
    if not isinstance(card.method, LoraConfig):
        raise AdapterError(f"{adapter}: only a LoRA adapter can be merged or exported, other kinds are not linear in x")
    return model, adapters, card, card.method


def _about(source: Source, adapter: Path, card: AdapterCard, lora: LoraConfig, title: str) -> About:
    data, datasets = _data(adapter.resolve().parent / "config.json")
    return About(
        title=title, base=_public_name(source), base_sha256=card.base_sha256,
        embedded=not source.checkpoint, lora=lora, step=card.step, eval_loss=card.eval_loss, data=data,
        datasets=datasets,
    )  # fmt: skip


def _public_name(source: Source) -> str:
    """The base on the Hugging Face Hub if it or its folder is called like a published model, else the folder's name.

    Sizes alone do not tell: a merged model has those of its base.
    """
    name = Path(source.checkpoint).resolve().name if source.model == FROM_FOLDER else source.model
    return f"google/{name}" if name.removesuffix("-it") in [config.name for config in PUBLISHED] else name


def _write(out: Path, fill: Callable[[Path], object]) -> None:
    try:
        write_folder(out, fill)
    except safetensors.SafetensorError as error:  # what a disk that fills up looks like from there
        raise OSError(f"{out}: cannot be written ({error}); make room, or name another folder") from error


def _data(run_config: Path) -> tuple[str, tuple[str, ...]]:
    """What an adapter inside the directory of a run was trained on, as the run's configuration tells."""
    try:
        run = read_config(run_config)
    except HelptuneError:
        return "", ()
    checksum = f" (sha256 of the data `{run.data_sha256}`)" if run.data_sha256 else ""
    if run.train_file:
        return f"{Path(run.train_file).name}{checksum}", ()
    return f"the curated conversations of helptune, Apache 2.0{checksum}", ("helptune-curated",)


def _write_tokenizer(folder: Path, source: Source, tokenizer: Tokenizer) -> None:
    if not source.checkpoint:
        write_tokenizer(folder, tokenizer.processor.serialized_model_proto())
        return
    path = checkpoint_tokenizer_path(source.checkpoint)
    write_tokenizer(folder, path.read_bytes(), path.parent)


def _write_and_compare(
    folder: Path,
    source: Source,
    precision: str,
    adapters: Adapters,
    lora: LoraConfig,
    dtype: str,
    tokenizer: Tokenizer,
) -> tuple[dict[str, SiteRounding], dict[str, LogitDifference]]:
    """Write weights and config.json. The base is gone before the merged model is read: 7B fits into memory once."""
    base = source.base(precision)
    rows = _rows(tokenizer, base.config)
    sites = site_rounding(base, adapters, lora, dtype)
    beside = token_logits(base, rows, attach(adapters, lora))
    write_merged(folder, base, adapters, lora, dtype)
    write_config(folder, base.config, dtype)
    config, small = base.config, base.config.parameters <= FLOAT32_LIMIT
    logits = _compare_in_float32(folder, base, adapters, lora, dtype, rows) if small else {}
    del base
    merged = token_logits(load_checkpoint(folder, config, dtype), rows)
    as_run = f"run: base {precision}, merged {dtype}"
    return sites, {as_run: logit_difference(beside, merged), **logits}


def _compare_in_float32(
    folder: Path, base: Base, adapters: Adapters, lora: LoraConfig, dtype: str, rows: list[list[int]]
) -> dict[str, LogitDifference]:
    """Only the rounding of the weights is left, and, merged in float32, only the order of the sums."""
    beside = token_logits(merge(base, {}, lora, "float32").base, rows, attach(adapters, lora))
    read_back = token_logits(load_checkpoint(folder, base.config, "float32"), rows)
    exact = token_logits(merge(base, adapters, lora, "float32").base, rows)
    return {
        "float32, merged in float32": logit_difference(beside, exact),
        f"float32, merged in {dtype}": logit_difference(beside, read_back),
    }


def _rows(tokenizer: Tokenizer, config: GemmaConfig) -> list[list[int]]:
    """The beginnings of held-out conversations, one of each kind."""
    firsts = {c.category: c for c in reversed(load_curated("heldout"))}
    chosen = [firsts[category] for category in sorted(firsts)][:CERTIFIED_ROWS]
    return [render(c.messages, tokenizer, config)[0][:CERTIFIED_TOKENS] for c in chosen]


def _in_words(certificate: Certificate) -> str:
    lines = [
        f"- Logits differ from those of the adapter beside its base by {d.mean:.1e} on average, {d.max:.1e} at most; "
        f"the likeliest token is the same at {d.same_choice:.1%} of {d.positions} positions ({name})."
        for name, d in certificate.logits.items()
    ]
    lost = max(certificate.sites.values(), key=lambda site: site.lost)
    return "\n".join([*lines, f"- Rounding loses at most {lost.lost:.2%} of what the adapter adds to a site."])
