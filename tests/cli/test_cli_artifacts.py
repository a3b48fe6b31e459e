"""Adapters passed on from the command line: exported, imported and merged, on a tiny base with the real tokenizer."""

import json

import jax
import numpy as np
import pytest
import safetensors
import yaml

from helptune.adapt.adapters import init_adapters
from helptune.adapt.artifact import AdapterCard, load_adapter, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.adapt.merge import merge
from helptune.adapt.model_card import NOTICE, TERMS, write_legal
from helptune.adapt.peft_format import PEFT_CONFIG, PEFT_WEIGHTS, PROVENANCE
from helptune.experiment import exporting
from helptune.experiment.config import RunConfig, to_json
from helptune.experiment.models import Source, load
from helptune.gemma.checkpoints import embedded_sha256
from helptune.gemma.config import gemma3_270m
from helptune.gemma.hf_config import write_config
from helptune.gemma.hf_folder import write_tokenizer, write_weights

LORA = LoraConfig(rank=4, alpha=8.0, sites=("q", "up"))
SENTENCE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"


@pytest.fixture(autouse=True)
def few_positions(monkeypatch):
    """Logits over the real vocabulary take their time."""
    monkeypatch.setattr(exporting, "CERTIFIED_ROWS", 2)
    monkeypatch.setattr(exporting, "CERTIFIED_TOKENS", 12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, word_base, tokenizer):
    """A Hugging Face folder of the tiny base, with a licence of its own."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()

    def leaf(name, layer):
        if layer is not None:
            return np.asarray(word_base.blocks[name][layer])
        return np.asarray(word_base.embedding if name == "embedding" else word_base.final_norm)

    write_weights(folder, word_base.config, leaf)
    write_config(folder, word_base.config, "float32")
    write_tokenizer(folder, tokenizer.processor.serialized_model_proto())
    (folder / "LICENSE.txt").write_text("theirs")
    return folder


@pytest.fixture(scope="module")
def source(checkpoint):
    return Source("config.json", str(checkpoint))


@pytest.fixture(scope="module")
def adapter(source, tmp_path_factory):
    """An adapter of that base, as a run of three steps would have left it."""
    model, folder = source.config(), tmp_path_factory.mktemp("run") / "adapter"
    adapters = init_adapters(LORA, model, jax.random.key(1))
    adapters = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(jax.random.key(2), leaf.shape), adapters)
    save_adapter(folder, adapters, AdapterCard(model.name, source.sha256(), LORA, step=3, eval_loss=1.25))
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def header(folder):
    _, fields, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(fields), text


def test_an_exported_adapter_comes_back_with_its_base(helptune, checkpoint, source, adapter, tmp_path):
    out = tmp_path / "exports" / "helpful"
    code, printed, err = helptune("export", "--adapter", adapter, "--out", out, "--checkpoint", checkpoint)
    assert (code, err) == (0, "")
    assert f"vllm serve tiny --enable-lora --max-lora-rank 8 --lora-modules helpful={out} " in printed
    legal = [TERMS, NOTICE, "README.md", "base_notices/LICENSE.txt"]
    served = ["chat_template.jinja", "generation_config.json", PEFT_CONFIG, PEFT_WEIGHTS, PROVENANCE]
    assert files(out) == sorted([*legal, *served])

    back = tmp_path / "back"
    code, printed, err = helptune("import", "--peft", out, "--out", back, "--checkpoint", checkpoint)
    assert (code, err) == (0, "")
    assert "rank 4, alpha 8, on q, up, for gemma3_text" in printed
    found, card = load_adapter(back, source.config(), source.sha256())
    expected, _ = load_adapter(adapter, source.config(), source.sha256())
    assert card.method == LORA
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_an_export_carries_its_card_the_terms_and_the_notice(helptune, checkpoint, source, adapter, tmp_path):
    helptune("export", "--adapter", adapter, "--out", tmp_path / "a", "--checkpoint", checkpoint)
    fields, text = header(tmp_path / "a")
    assert (fields["license"], fields["base_model"], fields["library_name"]) == ("gemma", "tiny", "peft")
    assert (fields["pipeline_tag"], fields["tags"]) == ("text-generation", ["gemma", "helptune", "sft", "lora"])
    for told in (source.sha256(), "| rank, alpha | 4, 8 |", "q, up", "| optimizer steps | 3 |", "1.2500 nats"):
        assert told in text
    assert "Q4_K_M" not in text
    notice = (tmp_path / "a" / NOTICE).read_text()
    assert notice.startswith(SENTENCE + "\n")
    assert "Modified: every file here" in notice
    assert b"Gemma Terms of Use" in (tmp_path / "a" / TERMS).read_bytes()
    assert (tmp_path / "a" / "base_notices" / "LICENSE.txt").read_text() == "theirs"


def test_the_same_export_has_the_same_bits(helptune, checkpoint, adapter, tmp_path):
    for parent in "ab":
        helptune("export", "--adapter", adapter, "--out", tmp_path / parent / "x", "--checkpoint", checkpoint)
    for file in files(tmp_path / "a" / "x"):
        assert (tmp_path / "a" / "x" / file).read_bytes() == (tmp_path / "b" / "x" / file).read_bytes()


def test_an_adapter_of_a_run_on_the_embedded_model_says_what_it_was_trained_on(helptune, tmp_path):
    """Data, and that the base is a slightly perturbed one."""
    (tmp_path / "config.json").write_text(to_json(RunConfig()))
    adapters = init_adapters(LORA, gemma3_270m(), jax.random.key(0))
    save_adapter(tmp_path / "adapter", adapters, AdapterCard("gemma-3-270m", embedded_sha256(), LORA))
    code, printed, _ = helptune("export", "--adapter", tmp_path / "adapter", "--out", tmp_path / "out")
    assert code == 0
    assert "vllm serve google/gemma-3-270m " in printed
    fields, text = header(tmp_path / "out")
    assert fields["base_model"] == "google/gemma-3-270m"
    assert fields["datasets"] == ["helptune-curated"]
    assert "the curated conversations of helptune" in text
    assert "dequantized from a 4-bit file (Q4_K_M), which differs slightly" in text
    assert embedded_sha256() in text
    assert json.loads((tmp_path / "out" / PEFT_CONFIG).read_text())["base_model_name_or_path"] == "google/gemma-3-270m"


@pytest.mark.parametrize(
    ("model", "checkpoint", "name"),
    [
        ("gemma-3-270m", "", "google/gemma-3-270m"),
        ("gemma-7b-it", "models/mine", "google/gemma-7b-it"),
        ("config.json", "models/gemma-7b-it", "google/gemma-7b-it"),
        ("config.json", "models/merged", "merged"),
    ],
)
def test_a_base_is_called_what_its_user_or_its_folder_calls_it(model, checkpoint, name):
    assert exporting._public_name(Source(model, checkpoint)) == name


def test_a_merged_folder_is_a_checkpoint_with_a_certificate(helptune, checkpoint, source, adapter, tmp_path):
    out = tmp_path / "merged"
    code, printed, err = helptune("merge", "--adapter", adapter, "--out", out, "--checkpoint", checkpoint, "--json")
    assert (code, err) == (0, "")
    certificate = json.loads(printed)
    assert json.loads((out / "certificate.json").read_text()) == certificate
    assert set(certificate["sites"]) == set(LORA.sites)
    run = certificate["logits"]["run: base bfloat16, merged bfloat16"]
    exact, rounded = (certificate["logits"][f"float32, merged in {dtype}"] for dtype in ("float32", "bfloat16"))
    assert exact["max"] < 1e-4 < rounded["max"] < 1
    assert run["positions"] == 2 * 12
    weights = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"]
    legal = [TERMS, NOTICE, "README.md", "base_notices/LICENSE.txt", "certificate.json"]
    assert files(out) == sorted(weights + legal)
    assert header(out)[0]["library_name"] == "transformers"

    loaded = load(source, "bfloat16")
    adapters, card = load_adapter(adapter, source.config(), source.sha256())
    expected = merge(loaded.base, adapters, card.method).base
    found = load(Source("config.json", str(out)), "bfloat16")  # as every verb with --checkpoint does
    jax.tree.map(np.testing.assert_array_equal, found.base.blocks, expected.blocks)
    assert found.tokenizer.encode("Hello") == loaded.tokenizer.encode("Hello")


def test_a_base_that_was_merged_itself_passes_on_the_notices_of_its_base(tmp_path):
    """Its own as well: files of the same name do not replace each other."""
    base, first, second = (tmp_path / name for name in ("base", "first", "second"))
    for folder in (base, first, second):
        folder.mkdir()
    for name in ("LICENSE.txt", NOTICE):
        (base / name).write_text(f"{name} of others")
    write_legal(first, str(base), "the first merge.")
    write_legal(second, str(first), "the second merge.")
    kept = second / "base_notices"
    assert (kept / NOTICE).read_bytes() == (first / NOTICE).read_bytes()
    for name in ("LICENSE.txt", NOTICE):
        assert (kept / "base_notices" / name).read_text() == f"{name} of others"


def test_a_full_disk_is_an_error_that_names_the_folder(helptune, checkpoint, adapter, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    for verb in ("export", "merge"):
        code, _, err = helptune(verb, "--adapter", adapter, "--out", tmp_path / "x", "--checkpoint", checkpoint)
        assert code == 1
        assert "x: cannot be written (No space left on device); make room" in err
        assert files(tmp_path) == []


def test_the_certificate_is_printed_as_tables(helptune, checkpoint, adapter, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ["--checkpoint", checkpoint, "--dtype", "float32", "--base", "float32"]
    code, printed, _ = helptune("merge", "--adapter", adapter, "--out", tmp_path / "m", *arguments)
    assert code == 0
    assert "delta lost to rounding" in printed
    assert "float32, merged in float32" in printed
    assert printed.endswith(f"{tmp_path / 'm'}: the merged model\n")


def taken(folder):
    (folder / "out").mkdir()
    (folder / "out" / "mine").write_text("")
    return {}, "out: exists and is not empty; name a new folder"


# What is wrong -> folder -> options that replace the right ones, and what the message must say.
MISTAKES = {
    "taken": taken,
    "no adapter": lambda folder: ({"--adapter": folder / "no"}, "no: not an adapter folder"),
    "embedded base": lambda folder: ({"--checkpoint": ""}, "trained for base model 'gemma3_text"),
    "no checkpoint": lambda folder: ({"--checkpoint": folder / "no"}, "no: no such folder"),
}


@pytest.mark.parametrize("verb", ["export", "merge"])
@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(verb, kind, helptune, checkpoint, adapter, tmp_path):
    changed, told = MISTAKES[kind](tmp_path)
    before = files(tmp_path)
    options = {"--adapter": adapter, "--out": tmp_path / "out", "--checkpoint": checkpoint} | changed
    code, out, err = helptune(verb, *(part for option in options.items() for part in option))
    assert (code, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--dtype", "int8"], "dtype 'int8' is not one of"), (["--base", "int3"], "precision 'int3' of the base is not")],
)
def test_an_unknown_precision_is_refused_before_any_work(options, told, helptune, checkpoint, adapter, tmp_path):
    code, _, err = helptune(
        "merge", "--adapter", adapter, "--out", tmp_path / "out", "--checkpoint", checkpoint, *options
    )
    assert code == 1
    assert told in err


def test_an_adapter_exported_from_another_base_is_not_imported(helptune, checkpoint, adapter, tmp_path):
    helptune("export", "--adapter", adapter, "--out", tmp_path / "peft", "--checkpoint", checkpoint)
    (tmp_path / "peft" / PROVENANCE).write_text(json.dumps({"base_sha256": "ffff"}))
    arguments = ["import", "--peft", tmp_path / "peft", "--out", tmp_path / "back", "--checkpoint", checkpoint]
    code, _, err = helptune(*arguments)
    assert code == 1
    assert "peft: this adapter was trained for base weights (sha256) 'ffff', here it is" in err
    assert not (tmp_path / "back").exists()
    (tmp_path / "peft" / PROVENANCE).unlink()  # one from elsewhere does not say
    assert helptune(*arguments)[0] == 0
