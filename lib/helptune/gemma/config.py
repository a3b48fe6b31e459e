"""Which Gemma: one frozen configuration drives one model code path for Gemma 1 and Gemma 3.

Figures are those of the models' reference implementations (the `gemma` package by Google DeepMind) and of the
technical reports: Gemma 1, arXiv:2403.08295; Gemma 3, arXiv:2503.19786.
"""

from dataclasses import dataclass, replace

from helptune.errors import SettingError

RMS_NORM_EPS = 1e-6


@dataclass(frozen=True)
class GemmaConfig:
    """Everything that differs between Gemma models.

    `window` is the reach, in tokens, of local (sliding-window) attention; every `global_every`-th layer attends to
    everything before it instead. A model without local layers has `window=None` and `global_every=1`.
    """

    name: str
    layers: int
    width: int
    mlp_width: int
    heads: int
    kv_heads: int
    head_width: int
    vocab: int
    context: int
    turn_start: int
    turn_end: int
    qk_norm: bool = False
    post_norms: bool = False
    window: int | None = None
    global_every: int = 1
    rope_base_local: float = 10_000.0
    rope_base_global: float = 10_000.0

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.name}: heads={self.heads} must be a multiple of kv_heads={self.kv_heads}")
        if self.head_width % 2:
            raise ValueError(f"{self.name}: head_width={self.head_width} must be even, RoPE rotates halves")
        if self.window is None and self.global_every != 1:
            raise ValueError(f"{self.name}: global_every={self.global_every} needs a window for the other layers")

    @property
    def q_width(self) -> int:
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_width

    @property
    def is_global(self) -> tuple[bool, ...]:
        """One flag a layer: layers 5, 11, 17, ... of Gemma 3 are global, all layers of Gemma 1 are."""
        return tuple((i + 1) % self.global_every == 0 for i in range(self.layers))

    @property
    def parameters(self) -> int:
        """Number of parameters, the tied embedding counted once."""
        norms = self.width * (4 if self.post_norms else 2)
        norms += 2 * self.head_width if self.qk_norm else 0
        attention = self.width * (2 * self.q_width + 2 * self.kv_width)
        block = attention + 3 * self.width * self.mlp_width + norms
        return self.vocab * self.width + self.layers * block + self.width


def gemma_2b() -> GemmaConfig:
    return GemmaConfig("gemma-2b", 18, 2048, 16_384, 8, 1, 256, 256_000, 8_192, 106, 107)


def gemma_7b() -> GemmaConfig:
    return GemmaConfig("gemma-7b", 28, 3072, 24_576, 16, 16, 256, 256_000, 8_192, 106, 107)


def _gemma3(name: str, layers: int, width: int, mlp_width: int) -> GemmaConfig:
    return GemmaConfig(
        name, layers, width, mlp_width, heads=4, kv_heads=1, head_width=256, vocab=262_144, context=32_768,
        turn_start=105, turn_end=106, qk_norm=True, post_norms=True, window=512, global_every=6,
        rope_base_global=1_000_000.0,
    )  # fmt: skip


def gemma3_270m() -> GemmaConfig:
    return _gemma3("gemma-3-270m", 18, 640, 2_048)


def gemma3_1b() -> GemmaConfig:
    return _gemma3("gemma-3-1b", 26, 1_152, 6_912)


PUBLISHED = (gemma_2b(), gemma_7b(), gemma3_270m(), gemma3_1b())


def named(name: str) -> GemmaConfig:
    """The published model of that name. An instruction-tuned one ("-it") has the shapes of its base.

    Raises SettingError naming the known models.
    """
    published = {config.name: config for config in PUBLISHED}
    base = name.removesuffix("-it")
    if base not in published:
        raise SettingError(f"model {name!r} is not one of {', '.join(published)}, or one of these with -it")
    return replace(published[base], name=name)


def tiny(gemma: int = 3, vocab: int = 512) -> GemmaConfig:
    """A few thousand parameters with every feature of its generation (1 or 3): for tests and pictures."""
    config = GemmaConfig(
        "tiny-3", layers=4, width=32, mlp_width=64, heads=4, kv_heads=2, head_width=16, vocab=vocab, context=256,
        turn_start=105, turn_end=106, qk_norm=True, post_norms=True, window=8, global_every=3,
        rope_base_global=1_000_000.0,
    )  # fmt: skip
    if gemma == 3:
        return config
    return replace(
        config, name="tiny-1", layers=2, kv_heads=4, turn_start=106, turn_end=107, qk_norm=False, post_norms=False,
        window=None, global_every=1, rope_base_global=10_000.0,
    )  # fmt: skip
