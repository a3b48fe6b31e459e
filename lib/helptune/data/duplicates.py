"""Exact and near duplicates: the first copy stays, in the order in which records are consulted.

Near duplicates share most of their word trigrams. MinHash (Broder, "On the resemblance and containment of documents",
1997) estimates that Jaccard similarity from a short signature, and banding (Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", ch. 3) finds the signatures worth comparing. What is compared is the whole conversation: one
short answer to two prompts is worth learning from twice. So are two answers to one prompt, and a prompt that quotes a
long text, or a template, would make those alike: hence the last answers must have something in common too.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import UInt32

from helptune.data.conversation import Conversation, Message
from helptune.data.words import words

PERMUTATIONS, SEED = 128, 1
SHINGLE = 3
"""Words in a shingle: at 3, two texts on one subject share few; at 1 they share many."""
THRESHOLD, LEAST_THRESHOLD = 0.8, 0.7
"""Below the least, too many pairs would never be compared."""
ANSWER_PERMUTATIONS, ANSWER_THRESHOLD = 32, 0.3
"""Of the last answers alone: different answers share next to no trigrams, ten words with one edited 0.45."""
BANDS, ROWS = 32, 4
"""A band is ROWS values of the whole and one of the answer, so that a shared prompt alone makes no candidates.

A pair whose wholes agree in a share s of their values, and whose answers do in n of 32, is compared with probability
1 - (1 - s^4)^n: at a threshold of .8 .995 for n = 10, the fewest that count, and .9999 for n = 18; at .7 .94 and .993.
"""
BUCKET = 16
"""Of a bucket the latest so many records are compared: a set with one template for all its texts fills a few."""


def exact_key(conversation: Conversation) -> bytes:
    """16 bytes, the same for conversations whose turns have the same words."""
    turns = (f"{m.role} {' '.join(words(m.content) or m.content.split())}" for m in conversation.messages)
    return blake2b("\n".join(turns).encode(), digest_size=16).digest()


def opening_key(conversation: Conversation) -> int:
    """64 bits, the same for conversations whose first question has the same words, whatever they were answered."""
    asked = next(m.content for m in conversation.messages if m.role == "user")
    digest = blake2b(" ".join(words(asked) or asked.split()).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def shingles(messages: Sequence[Message]) -> list[str]:
    """Runs of SHINGLE words within each turn, and who says them; a shorter turn is one shingle."""
    found: dict[str, None] = {}
    for message in messages:
        w = words(message.content) or message.content.split()
        for i in range(max(1, len(w) - SHINGLE + 1)):
            found[f"{message.role} {' '.join(w[i : i + SHINGLE])}"] = None
    return list(found)


def signature(conversation: Conversation) -> UInt32[np.ndarray, "160"]:
    """The MinHash of all turns' shingles, then that of the last answer's; the same in every process."""
    whole = minhash(shingles(conversation.messages), PERMUTATIONS)
    return np.concatenate([whole, minhash(shingles(conversation.messages[-1:]), ANSWER_PERMUTATIONS)])


def minhash(items: Sequence[str], permutations: int) -> UInt32[np.ndarray, " permutations"]:
    """The least hash of any item under each permutation; two sets agree in about their Jaccard similarity of them."""
    from rensa import RMinHash

    sketch = RMinHash(num_perm=permutations, seed=SEED)
    sketch.update(items)
    return np.array(sketch.digest(), dtype=np.uint32)


class NearDuplicates:
    """Signatures seen so far, some 1.2 kB for each, in arrays that double when they are full.

    Signatures are kept at 16 bits (Li and König, "b-bit minwise hashing", 2010): two values that differ agree in these
    once in 65,536. Each band has a table of buckets; `_head` names the last record of a bucket and `_next` the one
    before it.
    """

    def __init__(self, threshold: float = THRESHOLD, capacity: int = 1024):
        self.threshold, self.ids = threshold, list[str]()
        self._signatures = np.empty((capacity, PERMUTATIONS + ANSWER_PERMUTATIONS), np.uint16)
        self._link(capacity)

    def __len__(self) -> int:
        return len(self.ids)

    def first_like(self, id: str, signature: UInt32[np.ndarray, "160"]) -> str | None:
        """The id of the earliest record found to be at least `threshold` similar; else None, and this one is added.

        At most BANDS * BUCKET records are compared, however many there are.
        """
        short = signature.astype(np.uint16)
        buckets = self._buckets(short[None])[0]
        near = self._similar(short, self._candidates(buckets))
        if near is not None:
            return self.ids[near]
        if len(self.ids) == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
            self._link(len(self._signatures))
            buckets = self._buckets(short[None])[0]
        row = len(self.ids)
        self.ids.append(id)
        self._signatures[row] = short
        self._next[row] = self._head[_EVERY_BAND, buckets]
        self._head[_EVERY_BAND, buckets] = row
        return None

    def _candidates(self, buckets: np.ndarray) -> np.ndarray:
        """The latest BUCKET records of each bucket, each once, in the order in which they came."""
        bands, rows = _EVERY_BAND, self._head[_EVERY_BAND, buckets]
        found = []
        for _ in range(BUCKET):
            bands, rows = bands[rows >= 0], rows[rows >= 0]
            if not rows.size:
                break
            found.append(rows)
            rows = self._next[rows, bands]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int32)

    def _similar(self, short: np.ndarray, candidates: np.ndarray) -> int | None:
        if not candidates.size:
            return None
        same = self._signatures[candidates] == short
        alike = same[:, :PERMUTATIONS].mean(axis=1) >= self.threshold
        alike &= same[:, PERMUTATIONS:].mean(axis=1) >= ANSWER_THRESHOLD
        return int(candidates[alike.argmax()]) if alike.any() else None

    def _buckets(self, short: np.ndarray) -> np.ndarray:
        """[N, BANDS]: the bucket of each signature in each band's table."""
        whole, answer = short[:, :PERMUTATIONS].reshape(-1, BANDS, ROWS), short[:, PERMUTATIONS:, None]
        mixed = (np.concatenate([whole, answer], axis=2).astype(np.uint64) * _ODD).sum(axis=2, dtype=np.uint64)
        return ((mixed >> np.uint64(20)) & np.uint64(self._head.shape[1] - 1)).astype(np.int64)

    def _link(self, capacity: int) -> None:
        """Tables of twice as many buckets as there is room for, and every record in them."""
        count = len(self.ids)
        self._head = np.full((BANDS, 2 * capacity), -1, np.int32)
        self._next = np.empty((capacity, BANDS), np.int32)
        for start in range(0, count, 4096):
            stop = min(start + 4096, count)
            buckets = self._buckets(self._signatures[start:stop])
            for row in range(start, stop):
                self._next[row] = self._head[_EVERY_BAND, buckets[row - start]]
                self._head[_EVERY_BAND, buckets[row - start]] = row


_EVERY_BAND = np.arange(BANDS)
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
                dtype=np.uint64)  # fmt: skip
