"""The lexical screen: which words and pieces of words speak for an unsafe text? TF-IDF and logistic regression.

It reads no meaning, so it is fooled both ways by texts that share their words ("kill a process"); it is fast, and every
coefficient can be looked up. scikit-learn fits it; scoring is our own, because 100,000 conversations should take half a
minute: the character n-grams of a whole batch are found at once, each step of all of them one look-up in a trie.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.conversation import Conversation
from helptune.data.safety.classifier import TARGETS, SafetyScore, Thresholds, check_target, turns
from helptune.data.safety.labelled import POLICY, Labelled
from helptune.data.safety.refusal import is_refusal
from helptune.data.safety.weights import SHIPPED, read_thresholds, read_weights, write_weights
from helptune.errors import WeightsError
from helptune.shapes import Float

NAME = "lexical"
WORD_GRAMS, CHAR_GRAMS = (1, 2), (3, 5)
_AT_ONCE = 1_000_000
"""Characters of one batch: 30 MB of indices."""
_KNOWN = 0.5
"""Share of a text's characters that occur in some known n-gram, below which the screen abstains: another script."""

_WORD, _SPACES = re.compile(r"(?u)\b\w\w+\b"), re.compile(r"\s\s+")  # as in scikit-learn's vectorizers


@dataclass(frozen=True)
class Screen:
    """One fitted screen. `words` and `chars` are its n-grams in the order of `idf` and `coefficients`, words first."""

    words: tuple[str, ...]
    chars: tuple[str, ...]
    idf: Float[np.ndarray, "F"]
    coefficients: Float[np.ndarray, "F"]
    intercept: float

    def probabilities(self, texts: Sequence[str]) -> tuple[Float[np.ndarray, "B"], Float[np.ndarray, "B"]]:
        """(p_unsafe of each text, share of its characters that the screen knows)."""
        lowered = [text.lower() for text in texts]
        n = len(self.words)
        chars, known = self._count_chars(lowered)
        scores = np.full(len(texts), self.intercept)
        for counts, own in ((self._count_words(lowered), slice(0, n)), (chars, slice(n, None))):
            scores += _weighted(counts, self.idf[own], self.coefficients[own])
        return 1 / (1 + np.exp(-scores)), known

    def _count_words(self, lowered: Sequence[str]) -> Any:
        found: list[int] = []
        ends = [0]
        column = self._word_columns
        for text in lowered:
            words = _WORD.findall(text)
            pairs = map(" ".join, pairwise(words))
            found.extend(c for c in map(column.get, chain(words, pairs)) if c is not None)
            ends.append(len(found))
        rows = np.repeat(np.arange(len(lowered)), np.diff(ends))
        return _counts(rows, np.array(found, int), (len(lowered), len(self.words)))

    def _count_chars(self, lowered: Sequence[str]) -> tuple[Any, Float[np.ndarray, "B"]]:
        """Counts, and the share of a text's characters that are in the alphabet."""
        clean = [_SPACES.sub(" ", text) + "\0" for text in lowered]
        lengths = np.array([len(text) for text in clean])
        points = np.frombuffer("".join(clean).encode("utf-32-le", "surrogatepass"), np.uint32)
        rows = np.repeat(np.arange(len(clean)), lengths)
        next_node, column = self._trie
        ids = np.pad(self._char_ids[points], (0, CHAR_GRAMS[1]))
        at, node = np.arange(len(points)), next_node[0, ids[: len(points)]]
        known = np.bincount(rows, ids[: len(points)] > 0) / np.maximum(1, lengths - 1)
        hit_rows, hits = [], []
        for length in range(2, CHAR_GRAMS[1] + 1):
            alive = node > 0
            at, node = at[alive], node[alive]
            node = next_node[node, ids[at + length - 1]]
            found = column[node]
            hit_rows.append(rows[at[found >= 0]])
            hits.append(found[found >= 0])
        return _counts(np.concatenate(hit_rows), np.concatenate(hits), (len(clean), len(self.chars))), known

    @cached_property
    def _word_columns(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _char_ids(self) -> np.ndarray:
        """Code point -> its number in this screen's alphabet; 0 for what no n-gram contains, NUL among them."""
        ids = np.zeros(0x110000, np.int32)
        for i, character in enumerate(sorted(set("".join(self.chars))), start=1):
            ids[ord(character)] = i
        return ids

    @cached_property
    def _trie(self) -> tuple[np.ndarray, np.ndarray]:
        """(node, character) -> node, from node 0; and the n-gram that ends at a node, or -1. No way is node 0 again."""
        ids = self._char_ids
        ways: dict[tuple[int, int], int] = {}
        ends: dict[int, int] = {}
        for column, gram in enumerate(self.chars):
            node = 0
            for character in gram:
                node = ways.setdefault((node, int(ids[ord(character)])), len(ways) + 1)
            ends[node] = column
        next_node = np.zeros((len(ways) + 1, int(ids.max()) + 1), np.int32)
        for way, following in ways.items():
            next_node[way] = following
        columns = np.full(len(ways) + 1, -1, np.int32)
        columns[list(ends)] = list(ends.values())
        return next_node, columns


def _counts(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows)), (rows, columns)), shape)


def _weighted(counts: Any, idf: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Sublinear TF-IDF of each row, at unit length, times the coefficients: [B]."""
    counts.data = (1 + np.log(counts.data)) * idf[counts.indices]
    squares = counts.copy()
    squares.data = counts.data**2
    length = np.sqrt(squares.sum(axis=1))
    return (counts @ coefficients) / np.where(length > 0, length, 1)


@dataclass(frozen=True)
class LexicalScreen:
    """A `SafetyClassifier` of two screens, one for prompts and one for responses."""

    screens: Mapping[str, Screen]
    thresholds: Thresholds
    model_hash: str
    name: str = NAME
    policy: str = POLICY

    @property
    def version(self) -> str:
        return self.model_hash[:12]

    def score(self, conversations: Sequence[Conversation], target: str = "prompt") -> list[SafetyScore]:
        """Each turn is judged on its own; the most unsafe one counts. Raises SettingError for another target."""
        check_target(target)
        scores: list[SafetyScore] = []
        for batch in _batches([turns(c, target) for c in conversations]):
            scores += self._score_batch(batch, target)
        return scores

    def _score_batch(self, batch: Sequence[Sequence[str]], target: str) -> list[SafetyScore]:
        p, known = self.screens[target].probabilities([text for texts in batch for text in texts])
        ends = np.cumsum([len(texts) for texts in batch])
        scores = []
        for texts, end in zip(batch, ends, strict=True):
            own = slice(end - len(texts), end)
            judged = known[own] >= _KNOWN
            p_unsafe = float(max(p[own][judged], default=0.0))
            refusal = target == "response" and any(map(is_refusal, texts))
            scores.append(SafetyScore(p_unsafe, {}, refusal, not judged.all() or not texts, self.model_hash))
        return scores


def _batches(texts: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """In order, each of about `_AT_ONCE` characters."""
    batches: list[list[Sequence[str]]] = []
    room = 0
    for own in texts:
        size = sum(map(len, own))
        if room < size or not batches:
            batches.append([])
            room = _AT_ONCE
        batches[-1].append(own)
        room -= size
    return batches


def fit(records: Sequence[Labelled], inverse_penalty: float) -> Screen:
    """A screen of the records' own target texts by scikit-learn; `inverse_penalty` is its C."""
    pipeline = _pipeline(inverse_penalty)
    pipeline.fit([r.text for r in records], [r.unsafe for r in records])
    return _from_sklearn(pipeline)


def _pipeline(inverse_penalty: float) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=WORD_GRAMS, min_df=2, sublinear_tf=True)
    chars = TfidfVectorizer(analyzer="char", ngram_range=CHAR_GRAMS, min_df=2, sublinear_tf=True)
    return make_pipeline(
        make_union(words, chars),
        LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=2_000, tol=1e-8),
    )


def _from_sklearn(pipeline: Any) -> Screen:
    union, regression = pipeline[0], pipeline[1]
    (_, words), (_, chars) = union.transformer_list
    idf = np.concatenate([words.idf_, chars.idf_]).astype(np.float32)
    names = tuple(words.get_feature_names_out().tolist()), tuple(chars.get_feature_names_out().tolist())
    return Screen(*names, idf, regression.coef_[0].astype(np.float32), float(regression.intercept_[0]))


def save(folder: Path, screens: Mapping[str, Screen], record: Mapping[str, Any]) -> None:
    """`record` holds the thresholds and whatever else the reader of the JSON should know."""
    arrays = {f"{target}.idf": screen.idf for target, screen in screens.items()}
    arrays |= {f"{target}.coefficients": screen.coefficients for target, screen in screens.items()}
    grams = {
        target: {"intercept": screen.intercept, "words": screen.words, "chars": screen.chars}
        for target, screen in screens.items()
    }
    write_weights(folder, NAME, arrays, {**record, "screens": grams})


def load(folder: Path = SHIPPED) -> LexicalScreen:
    """The screen in a folder. Raises WeightsError when its files are damaged."""
    arrays, record = read_weights(folder, NAME)
    path = folder / f"{NAME}.json"
    try:
        screens = {
            target: Screen(
                tuple(map(str, own["words"])), tuple(map(str, own["chars"])),
                arrays[f"{target}.idf"], arrays[f"{target}.coefficients"], float(own["intercept"]),
            )
            for target, own in record["screens"].items()
        }  # fmt: skip
        wrong = [t for t, s in screens.items() if not len(s.words) + len(s.chars) == len(s.idf) == len(s.coefficients)]
        if wrong or set(screens) != set(TARGETS):
            raise ValueError(f"screens {sorted(screens)}, of the wrong size: {wrong}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: not a lexical screen ({error}); train the classifier again") from error
    return LexicalScreen(screens, read_thresholds(record, path), record["sha256"])
