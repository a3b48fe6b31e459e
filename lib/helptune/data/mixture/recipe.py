"""What a dataset is made of and by which rules, as TOML: the same recipe and the same files give the same bytes.

    name = "helpful"
    seed = 17

    [[source]]
    name = "oasst2"
    path = "downloads/oasst2"
    weight = 2.0

Everything that is not said has the default below.
"""

import json
import re
import tomllib
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Any

from helptune.data.agreement.gate import Gate
from helptune.data.duplicates import LEAST_THRESHOLD, THRESHOLD
from helptune.data.safety.classifier import TARGETS
from helptune.errors import SettingError
from helptune.typed import built

SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class SourceSpec:
    """One source of a recipe.

    `name` is a row of `sources.table`; `path` a file or folder in its schema, without which it is read from the hub;
    `data_dir` a part of it, such as one site of many.
    `id` tells two parts of one source apart. `weight` is its share of the
    mixture beside the other sources', 0 for all it has; `cap` how many conversations it may give at most, 0 for all.
    Only the first `limit` records are read, 0 for all. `options` go to its reader.
    """

    name: str
    id: str = ""
    path: str = ""
    revision: str = ""
    data_dir: str = ""
    split: str = "train"
    weight: float = 0.0
    cap: int = 0
    limit: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.id or self.name


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates are those whose estimated Jaccard index is at least `threshold`; the first of them stays."""

    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Decontamination:
    """Hashed evaluation sets, by shipped name or by path, and what a match does: `fail` the build, or `drop`."""

    sets: tuple[str, ...] = ("curated-heldout",)
    on_match: str = "fail"


@dataclass(frozen=True)
class Safety:
    """`classifier` as `data.safety.find` takes it, or `none`; `threshold` 0 is its own one for each target.

    On two cores the probe judges five conversations a second; for a hundred thousand take `lexical`.
    """

    classifier: str = "probe"
    targets: tuple[str, ...] = ("prompt", "response")
    threshold: float = 0.0


@dataclass(frozen=True)
class Balance:
    """At most so many conversations of one category and difficulty; 0 for all. `by` order: `seed` or `quality`."""

    per_cell: int = 0
    by: str = "seed"


@dataclass(frozen=True)
class Agreement:
    """The raters' file that the build depends on, by path, and the gate that their agreement must pass.

    A rated conversation whose ratings the gate's filters do not keep is dropped; who was not rated stays.
    """

    ratings: str = ""
    attribute: str = "helpfulness"
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True)
class Recipe:
    """`filters` holds parameters by the name of a filter; `skip` names filters that are not wanted.

    `size` is the number of conversations wanted, 0 for as many as the weights allow; `heldout` of them are written
    apart, or a few fewer, as all answers to one prompt go together. `max_malformed` is the share of a source's rows
    above which a build stops; 1 never stops it. `share_alike` admits sources whose licence binds what is made from
    them. `difficulty` says what a conversation that nobody labelled is estimated from: `features`, or `loss`, which
    adds the base model's own, minutes a thousand.
    """

    name: str
    source: tuple[SourceSpec, ...]
    seed: int = 17
    size: int = 0
    heldout: int = 0
    max_malformed: float = 1.0
    share_alike: bool = False
    difficulty: str = "features"
    skip: tuple[str, ...] = ()
    filters: dict[str, Any] = field(default_factory=dict)
    duplicates: Duplicates = field(default_factory=Duplicates)
    decontamination: Decontamination = field(default_factory=Decontamination)
    safety: Safety = field(default_factory=Safety)
    balance: Balance = field(default_factory=Balance)
    agreement: Agreement = field(default_factory=Agreement)

    def __post_init__(self) -> None:
        checks = (
            (re.fullmatch(r"[a-z0-9][a-z0-9._-]*", self.name), "name", "small letters, digits, . _ and -"),
            (self.source, "source", "at least one [[source]]"),
            (self.size >= 0 and self.heldout >= 0, "size, heldout", "0 or more"),
            (0 <= self.max_malformed <= 1, "max_malformed", "a share from 0 to 1"),
            (
                LEAST_THRESHOLD <= self.duplicates.threshold <= 1,
                "duplicates.threshold",
                f"from {LEAST_THRESHOLD} to 1; pairs less alike are not found reliably",
            ),
            (self.decontamination.on_match in ("fail", "drop"), "decontamination.on_match", "fail or drop"),
            (0 <= self.safety.threshold <= 1, "safety.threshold", "a probability"),
            (
                self.safety.targets and {*self.safety.targets} <= {*TARGETS},
                "safety.targets",
                "prompt, response or both",
            ),
            (self.difficulty in ("features", "loss"), "difficulty", "features or loss"),
            (self.balance.per_cell >= 0, "balance.per_cell", "0 or more"),
            (self.balance.by in ("seed", "quality"), "balance.by", "seed or quality"),
            (all(0 <= s.weight < inf for s in self.source), "source.weight", "a number from 0 up"),
            (all(s.cap >= 0 and s.limit >= 0 for s in self.source), "source.cap, source.limit", "0 or more"),
        )
        for valid, name, wanted in checks:
            if not valid:
                raise SettingError(f"{name}: must be {wanted}")
        weighted = [s.weight > 0 for s in self.source]
        if any(weighted) and not all(weighted):
            bare = self.source[weighted.index(False)].key
            raise SettingError(f"source {bare!r}: has no weight while others have one; weigh all sources, or none")
        if self.size and not any(weighted):
            raise SettingError("size: is shared out by weights, and no source has one; give each a weight")
        keys = [s.key for s in self.source]
        if again := next((key for i, key in enumerate(keys) if key in keys[:i]), None):
            raise SettingError(f"source {again!r} comes twice; give each part an id of its own")
        for key in keys:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", key):
                raise SettingError(f"source id {key!r}: must be letters, digits, . _ and -")


def find_recipe(name: str) -> Path:
    """A file, or the name of a recipe that comes with helptune. Raises SettingError that lists these."""
    if (path := Path(name)).is_file():
        return path
    if (shipped := SHIPPED / f"{name}.toml").is_file() and path.name == name:
        return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
    raise SettingError(f"{name}: no such recipe; give the path of a TOML file, or one of {names}")


def read_recipe(path: Path) -> Recipe:
    """Raises SettingError naming file and field."""
    try:
        recipe: Recipe = built(Recipe, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, SettingError) as error:
        raise SettingError(f"{path}: not a recipe: {error}") from error
    return recipe


def to_json(recipe: Recipe) -> str:
    return json.dumps(asdict(recipe), indent=2) + "\n"


def fingerprint(*parts: str) -> str:
    """Sixteen hexadecimal digits: the version of a dataset is that of its recipe and of the bytes it read."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()
