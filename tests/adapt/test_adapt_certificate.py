"""Laws of the certificate: it measures what rounding took from the adapter, and whether that shows in the logits."""

import io
import json
import math
from dataclasses import asdict

import jax
import numpy as np
import pytest
from rich.console import Console

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.certificate import (
    CERTIFICATE,
    Certificate,
    logit_difference,
    show,
    site_rounding,
    token_logits,
    write_certificate,
)
from helptune.adapt.lora import LoraConfig
from helptune.adapt.merge import merge
from helptune.gemma.base import SITES, init_base
from helptune.gemma.checkpoints import load_base
from helptune.gemma.config import tiny
from helptune.gemma.tokenizer import BOS

CONFIG = LoraConfig(rank=4, alpha=8.0)
ROWS = [[2, 5, 7, 11], [2, 13]]


def bfloat16_base(gemma=3):
    return init_base(tiny(gemma), jax.random.key(0), "bfloat16")


def test_the_loss_of_a_site_is_the_norm_of_what_rounding_changed(trained):
    base, adapters = bfloat16_base(), trained(CONFIG, tiny(3))
    found = site_rounding(base, adapters, CONFIG, "bfloat16")
    assert list(found) == list(adapters)
    for site, pair in adapters.items():
        delta = CONFIG.scale * np.einsum("LIR,LRO->LIO", np.asarray(pair["a"]), np.asarray(pair["b"]))
        before = np.asarray(base.blocks[site], np.float32)
        after = np.asarray(merge(base, adapters, CONFIG).base.blocks[site], np.float32)
        lost = np.linalg.norm(after - (before + delta)) / np.linalg.norm(delta)
        assert found[site].lost == pytest.approx(lost, rel=1e-3)
        assert found[site].unchanged == pytest.approx((after == before).mean(), abs=1e-6)


def test_an_adapter_too_small_for_bfloat16_is_lost_and_in_float32_is_not():
    base = bfloat16_base()
    adapters = init_adapters(CONFIG, base.config, jax.random.key(1))
    adapters = {site: {**pair, "b": pair["b"] + 1e-7} for site, pair in adapters.items()}
    for rounding in site_rounding(base, adapters, CONFIG, "bfloat16").values():
        assert rounding.lost == pytest.approx(1, abs=0.1)
        assert rounding.unchanged > 0.99
    assert all(r.lost < 0.1 for r in site_rounding(base, adapters, CONFIG, "float32").values())


def test_a_new_adapter_loses_nothing_and_changes_nothing():
    base = bfloat16_base()
    adapters = init_adapters(CONFIG, base.config, jax.random.key(1))
    assert all((r.lost, r.unchanged) == (0, 1) for r in site_rounding(base, adapters, CONFIG, "bfloat16").values())


def test_a_row_has_the_same_logits_alone_as_beside_longer_ones(tiny_base):
    together, alone = token_logits(tiny_base, ROWS)[1], token_logits(tiny_base, ROWS[1:])[0]
    assert together.shape == (2, 512)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_equal_models_do_not_differ_and_shifted_logits_say_the_same():
    logits = [np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)]
    same = logit_difference(logits, logits)
    assert (same.max, same.mean, same.same_choice, same.positions) == (0, 0, 1, 3)
    assert same.kl == pytest.approx(0, abs=1e-12)
    shifted = logit_difference(logits, [logits[0] + 2])
    assert (shifted.max, shifted.mean) == (pytest.approx(2), pytest.approx(2))
    assert shifted.kl == pytest.approx(0, abs=1e-6)


def test_the_kl_of_two_coins_is_the_one_of_the_textbook():
    p, q = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    found = logit_difference([p], [q])
    assert found.kl == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))


def test_the_certificate_is_written_and_shown(tmp_path, trained):
    base, adapters = bfloat16_base(), trained(CONFIG, tiny(3))
    beside = token_logits(base, ROWS, attach(adapters, CONFIG))
    merged = token_logits(merge(base, adapters, CONFIG).base, ROWS)
    logits = {"run": logit_difference(beside, merged)}
    sites = site_rounding(base, adapters, CONFIG, "bfloat16")
    certificate = Certificate("tiny-3", "ab" * 32, "cd" * 32, "bfloat16", "bfloat16", sites, logits)
    write_certificate(tmp_path, certificate)
    assert json.loads((tmp_path / CERTIFICATE).read_text()) == asdict(certificate)
    out = io.StringIO()
    show(certificate, Console(file=out, width=120))
    assert all(f" {site} " in out.getvalue() for site in SITES)
    assert f"{logits['run'].max:.2e}" in out.getvalue()


@pytest.mark.real
def test_what_merging_costs_the_real_model(tokenizer):
    """All sites, and an adapter of the size that 60 steps of training gave: A as it starts, B of 0.0023 on average."""
    base, config = load_base("bfloat16"), LoraConfig(rank=16, alpha=32.0)
    adapters = init_adapters(config, base.config, jax.random.key(0))
    adapters = {
        site: {**pair, "b": 2.3e-3 * jax.random.normal(jax.random.key(1), pair["b"].shape)}
        for site, pair in adapters.items()
    }
    rows = [[BOS, *tokenizer.encode(text)] for text in ("The sky is blue because", "Bees make honey out of")]
    sites = site_rounding(base, adapters, config, "bfloat16")
    beside = token_logits(merge(base, {}, config, "float32").base, rows, attach(adapters, config))
    exact = logit_difference(beside, token_logits(merge(base, adapters, config, "float32").base, rows))
    in_bfloat16 = merge(merge(base, adapters, config).base, {}, config, "float32").base  # only its values are rounded
    rounded = logit_difference(beside, token_logits(in_bfloat16, rows))
    print(f"\ndelta lost to rounding: {', '.join(f'{site} {r.lost:.1%}' for site, r in sites.items())}")
    print(
        f"logits, merged in float32: max {exact.max:.1e}; in bfloat16: max {rounded.max:.2f}, mean {rounded.mean:.3f}"
    )
    print(f"the same choice at {rounded.same_choice:.1%}, KL {rounded.kl:.1e} nats")
    assert all(0.05 < r.lost < 0.3 for r in sites.values())
    assert exact.max < 1e-3
    assert exact.same_choice == 1
    assert rounded.mean < 0.1
    assert rounded.kl < 1e-3
