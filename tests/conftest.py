"""Fixtures that several stations share: the real model and tokenizer, loaded once."""

from dataclasses import replace
from pathlib import Path

import jax
import pytest

from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import load_base, load_embedded_tokenizer
from helptune.gemma.config import tiny

_MAPS = Path("/proc/self/maps")
_MANY = 30_000


@pytest.fixture(autouse=True, scope="module")
def not_too_many_compiled_programs():
    """Each is mapped into memory in several pieces. Linux allows a process 65,530, and XLA crashes on the next one."""
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MANY:
        jax.clear_caches()


@pytest.fixture(scope="session")
def real_base():
    """Gemma 3 270M in float32."""
    return load_base("float32")


@pytest.fixture(scope="session")
def tokenizer():
    return load_embedded_tokenizer()


@pytest.fixture(scope="session", params=[1, 3], ids=["gemma1", "gemma3"])
def tiny_base(request):
    """A model of a few thousand random parameters with every feature of its generation."""
    return init_base(tiny(request.param), jax.random.key(0))


@pytest.fixture(scope="session")
def word_base():
    """A tiny Gemma 3 with the real vocabulary, for the real tokenizer: its answers are nonsense, the rest is real."""
    return init_base(replace(tiny(3, vocab=262_144), context=2_048), jax.random.key(0))
