"""What the taxonomy does not name: failing answers without a category, grouped by the words they share.

TF-IDF and average-linkage agglomerative clustering on cosine distance: the number of groups comes from the answers, and
the same answers give the same groups. A group is named by its heaviest words, and shown by its medoid, the answer most
like the others. What is like no other stays alone and is not shown as a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helptune.data.words import words

_APART = 0.85
"""Cosine distance above which two groups are not joined."""

_WORDS = 4


@dataclass(frozen=True)
class Cluster:
    """Positions of its texts among those that were given; `medoid` is one of them."""

    name: str
    medoid: int
    members: tuple[int, ...]


def cluster(texts: Sequence[str], least: int = 3) -> list[Cluster]:
    """The groups of at least `least` texts, the largest first; none where too few texts have words of content."""
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.text import TfidfVectorizer

    kept = np.array([i for i, text in enumerate(texts) if _content(text)], int)
    if len(kept) < max(2, least):
        return []
    vectorizer = TfidfVectorizer(analyzer=_content, sublinear_tf=True)
    weights = vectorizer.fit_transform([texts[i] for i in kept]).toarray()
    grouping = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=_APART
    ).fit(weights)
    vocabulary = vectorizer.get_feature_names_out()
    found = []
    for label in range(grouping.n_clusters_):
        own = np.flatnonzero(grouping.labels_ == label)
        if len(own) >= least:
            mean = weights[own].mean(axis=0)
            heaviest = np.lexsort((vocabulary, -mean))[:_WORDS]
            medoid = kept[own[np.argmax(weights[own] @ mean)]]
            name = ", ".join(vocabulary[i] for i in heaviest if mean[i] > 0)
            found.append(Cluster(name, int(medoid), tuple(int(i) for i in kept[own])))
    return sorted(found, key=lambda one: (-len(one.members), one.members))


def _content(text: str) -> list[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return [word for word in words(text) if len(word) > 2 and word not in ENGLISH_STOP_WORDS]
