"""The exercises of 05_helpfulness_data: similarity, repeats, agreement and leaks, beside the library's own."""

import numpy as np

from helptune.data.agreement.coefficients import measure
from helptune.data.agreement.ratings import MISSING, Ratings
from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.decontaminate import hash_set, index_sets, matches
from helptune.data.duplicates import ANSWER_PERMUTATIONS, PERMUTATIONS, NearDuplicates, shingles
from helptune.data.words import words
from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, expect

_FILLERS = ("and", "slowly", "the", "green", "window", "of", "seven", "uncles")


@check
def jaccard(answer, seed: int = 0) -> None:
    """Which share of their word trigrams two texts have in common.

    `answer(first, second)` takes two texts of three words or more, and gives the Jaccard similarity of their trigrams.
    """
    pairs = _copies(seed)
    tokens = [[words(text) for text in pair] for pair in pairs]
    grams = [[_runs(w, 3) for w in pair] for pair in tokens]
    right = [_over_union(*(set(shingles([Message("user", text)])) for text in pair)) for pair in pairs]
    plain = [[_runs(text.split(), 3) for text in pair] for pair in pairs]
    small = [[_runs(text.lower().split(), 3) for text in pair] for pair in pairs]
    known = [
        Known(
            "words_not_trigrams",
            [_over_union(set(a), set(b)) for a, b in tokens],
            "these are single words, whose order is lost: take runs of three",
        ),
        Known(
            "pairs_not_trigrams",
            [_over_union(set(_runs(a, 2)), set(_runs(b, 2))) for a, b in tokens],
            "these are pairs of words: a text of N words has N - 2 runs of three",
        ),
        Known(
            "last_run_missing",
            [_over_union(set(a[:-1]), set(b[:-1])) for a, b in grams],
            "the last run is missing: a text of N words has N - 2 runs of three",
        ),
        Known(
            "smaller_not_union",
            [len({*a} & {*b}) / min(len({*a}), len({*b})) for a, b in grams],
            "divide by the size of the union, not by that of the smaller set: else a text is the same as its beginning",
        ),
        Known(
            "first_not_union",
            [len({*a} & {*b}) / len({*a}) for a, b in grams],
            "divide by the size of the union, not by that of the first set: similarity has no direction",
        ),
        Known(
            "dice",
            [2 * len({*a} & {*b}) / (len({*a}) + len({*b})) for a, b in grams],
            "this counts what is shared twice (Dice): divide by the size of the union",
        ),
        Known(
            "repeats_counted",
            [sum(gram in b for gram in a) / (len(a) + sum(gram not in a for gram in b)) for a, b in grams],
            "a run that comes twice counts once: make sets of the lists",
        ),
        Known(
            "not_normalized",
            [_over_union(set(a), set(b)) for a, b in plain],
            "case and punctuation count here: split the texts by `words`, not by `split`",
        ),
        Known(
            "punctuation_counts",
            [_over_union(set(a), set(b)) for a, b in small],
            "punctuation counts here: split the texts by `words`, not by `split`",
        ),
    ]
    expect([answer(*pair) for pair in pairs], right, known, what="the similarities")


@check
def keep_first(answer, seed: int = 0) -> None:
    """Of several alike, keep the first.

    `answer(similarity, threshold)` with similarity [N, N] gives the list of the indices that stay, in order.
    """
    signatures, threshold = _signatures(seed), 0.75
    alike = (signatures[:, None, :PERMUTATIONS] == signatures[None, :, :PERMUTATIONS]).mean(-1)
    near = NearDuplicates(threshold)
    right = [i for i, signature in enumerate(signatures) if near.first_like(str(i), signature) is None]
    count = len(alike)
    others = (alike >= threshold) & ~np.eye(count, dtype=bool)
    earlier = np.tril(others)
    stays = np.isin(np.arange(count), right)
    known = [
        Known(
            "strict_threshold",
            _greedy(alike > threshold, range(count)),
            "a pair of exactly the threshold is alike, too: at least, not more than",
        ),
        Known(
            "keeps_last",
            sorted(_greedy(others, reversed(range(count)))),
            "of several alike the first stays, and here the last one does",
        ),
        Known(
            "drops_both",
            np.flatnonzero(~others.any(1)).tolist(),
            "whoever has a copy is dropped here, and the original with it: look at earlier texts alone",
        ),
        Known(
            "compared_with_dropped",
            np.flatnonzero(~earlier.any(1)).tolist(),
            "a text goes only for one that *stayed*: here it also goes for one that was dropped itself",
        ),
        Known(
            "whole_clusters",
            _first_of_clusters(others),
            "a chain of similar texts is one group here: but its ends may have little in common, so both stay",
        ),
        Known(
            "neighbors_only",
            [0, *(i for i in range(1, count) if not others[i, i - 1])],
            "each text is compared with the one before it alone: a copy may stand far away",
        ),
        Known(
            "compared_with_itself",
            [],
            "every text is like itself, and nothing stays: compare with those that stayed before it",
        ),
        Known(
            "dropped_not_kept",
            np.flatnonzero(~stays).tolist(),
            "these are the indices of what goes: return those that stay",
        ),
        Known(
            "mask_not_indices", stays.tolist(), "return the indices of what stays, not a True or False for each text"
        ),
    ]
    expect(answer(alike, threshold), right, known, what="the kept indices")


@check
def kappa(answer, seed: int = 0) -> None:
    """Cohen's kappa of two raters, some of whose ratings are missing.

    `answer(first, second)` with int arrays [N], -1 for no rating, gives one number.
    """
    first, second = _two_raters(seed)
    ratings = Ratings("x", tuple(map(str, range(len(first)))), ("first", "second"), np.stack([first, second], axis=1))
    right = measure(ratings, "cohen_kappa", "nominal", resamples=1).value or 0.0
    both = (first != MISSING) & (second != MISSING)
    a, b = first[both], second[both]
    agree, chance, (p, q) = _agreement(a, b)
    filled, filled_chance, _ = _agreement(first, second)
    either = (first != MISSING) | (second != MISSING)
    one_rated, one_rated_chance, _ = _agreement(first[either], second[either])
    every = sum(np.mean(first[first != MISSING] == c) * np.mean(second[second != MISSING] == c) for c in range(3))
    known = [
        Known("plain_agreement", agree, "this is the share of items they agree on: what chance would give must go"),
        Known(
            "chance_is_uniform",
            (agree - 1 / 3) / (1 - 1 / 3),
            "chance is not 1 over the number of ratings: raters have habits, so use how often each gave each rating",
        ),
        Known(
            "one_raters_habits",
            [(agree - r @ r) / (1 - r @ r) for r in (p, q)],
            "chance here is that one rater meets another with the same habits: multiply the shares of the two raters",
        ),
        Known(
            "pooled_habits",
            (agree - ((p + q) / 2) @ ((p + q) / 2)) / (1 - ((p + q) / 2) @ ((p + q) / 2)),
            "the two raters are put into one pot (Scott's pi): each has shares of its own",
        ),
        Known("not_divided", agree - chance, "divide by what was left to gain, 1 - chance: else 1 is never reached"),
        Known(
            "divided_by_chance",
            (agree - chance) / chance,
            "divide by what was left to gain, 1 - chance, and not by chance",
        ),
        Known("disagreement", 1 - right, "this is 1 - kappa: disagreement over what chance would give"),
        Known(
            "missing_is_a_rating",
            (filled - filled_chance) / (1 - filled_chance),
            "-1 is no rating: two raters who both gave none agree about nothing",
        ),
        Known(
            "one_is_enough",
            (one_rated - one_rated_chance) / (1 - one_rated_chance),
            "items that only one of the two has rated are still in: keep those that both have rated (`&`, not `|`)",
        ),
        Known(
            "missing_disagrees",
            (agree * both.mean() - chance) / (1 - chance),
            "the agreement is divided by all items: divide by those that both have rated",
        ),
        Known(
            "habits_of_other_items",
            (agree - every) / (1 - every),
            "the shares include items that only one of the two has rated: drop these first",
        ),
    ]
    known = [
        Known(k.hint, value, k.text)
        for k in known
        for value in (k.value if isinstance(k.value, list) else [k.value])
        if not np.isclose(value, right, rtol=1e-3)  # two raters may have nearly the same habits
    ]
    expect(answer(first, second), right, known, what="kappa")


@check
def leaked(answer, seed: int = 0) -> None:
    """Which share of an evaluation prompt a training text contains.

    `answer(prompt, text)` takes two texts; the result is the share of the prompt's distinct word trigrams that are in
    the text.
    """
    cases = _leaks(seed)
    right = [_library_share(*case) for case in cases]
    tokens = [[words(text) for text in case] for case in cases]
    grams = [[_runs(w, 3) for w in case] for case in tokens]
    plain = [[_runs(text.split(), 3) for text in case] for case in cases]
    small = [[_runs(text.lower().split(), 3) for text in case] for case in cases]
    known = [
        Known(
            "whole_prompt_only",
            [float(f" {' '.join(p)} " in f" {' '.join(t)} ") for p, t in tokens],
            "only a whole prompt is found here: one word changed, and it slips through. Count its trigrams",
        ),
        Known(
            "not_normalized",
            [_share(p, t) for p, t in plain],
            "case and punctuation count here: split the texts by `words`, not by `split`",
        ),
        Known(
            "punctuation_counts",
            [_share(p, t) for p, t in small],
            "punctuation counts here: split the texts by `words`, not by `split`",
        ),
        Known(
            "words_not_trigrams",
            [_share(p, t) for p, t in tokens],
            "these are single words: any long text has the most of them. Take runs of three",
        ),
        Known(
            "pairs_not_trigrams",
            [_share(_runs(p, 2), _runs(t, 2)) for p, t in tokens],
            "these are pairs of words: take runs of three",
        ),
        Known(
            "reversed",
            [_share(t, p) for p, t in grams],
            "the direction is reversed: which share of the *prompt* is in the text? A leak may stand in a long text",
        ),
        Known(
            "union_not_prompt",
            [_over_union(set(p), set(t)) for p, t in grams],
            "this is Jaccard similarity, which a long text makes small: divide by the prompt's trigrams alone",
        ),
        Known(
            "repeats_counted",
            [sum(gram in t for gram in p) / len(p) for p, t in grams],
            "a trigram that comes twice in the prompt counts once: make a set of the list",
        ),
        Known(
            "yes_or_no",
            [float(share >= 0.5) for share in right],
            "this is the decision: return the share, and let the recipe decide",
        ),
    ]
    expect([answer(*case) for case in cases], right, known, what="the shares")


def _runs(w: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(w[i : i + size]) for i in range(len(w) - size + 1)]


def _over_union(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def _share(inner: list, outer: list) -> float:
    return len({*inner} & {*outer}) / len({*inner})


def _texts(seed: int, count: int) -> list[list[str]]:
    """Words of curated prompts, so that a learner meets real ones."""
    rng = np.random.default_rng(seed)
    long = [w for c in load_curated("heldout") if len(w := words(c.messages[0].content)) >= 14]
    return [long[i][:20] for i in rng.choice(len(long), count, replace=False)]


def _copies(seed: int) -> list[tuple[str, str]]:
    """A copy typed otherwise with one word changed, its beginning, one with a run that comes twice, and strangers."""
    one, two, three, four, five = _texts(seed, 5)
    changed = [*one[:5], "otherwise", *one[6:]]
    again = [*three[:4], *three[:4], *three[:4], *three[4:]]
    return [
        (" ".join(one), f"{' '.join(changed[:8]).upper()}, {' '.join(changed[8:])}!"),
        (" ".join(two), " ".join(two[:9])),
        (" ".join(again), " ".join(three)),
        (" ".join(four), " ".join(five)),
    ]


def _signatures(seed: int) -> np.ndarray:
    """Made so that all of these come up: a chain, a bridge that comes last, a pair of exactly 0.75, and loners."""
    rng = np.random.default_rng(seed)

    def fresh(size: int = PERMUTATIONS) -> np.ndarray:
        return rng.integers(0, 2**32, size, dtype=np.uint32)

    def changed(base: np.ndarray, start: int, stop: int) -> np.ndarray:
        copy = base.copy()
        copy[start:stop] = fresh(stop - start)
        return copy

    chain, bridge, exact = fresh(), fresh(), fresh()
    link = changed(chain, 0, 26)
    end = changed(bridge, 0, 52)
    between = np.concatenate([end[:26], bridge[26:]])
    rounds = [
        [chain, bridge, exact, fresh()],
        [link, end, changed(exact, 0, PERMUTATIONS // 4), fresh()],
        [changed(link, 26, 52), between, fresh()],
    ]
    wholes = [part[i] for part in rounds for i in rng.permutation(len(part))]
    answers = np.zeros(ANSWER_PERMUTATIONS, np.uint32)
    return np.stack([np.concatenate([whole, answers]) for whole in wholes])


def _greedy(alike: np.ndarray, order) -> list[int]:
    kept: list[int] = []
    for i in order:
        if not any(alike[i, j] for j in kept):
            kept.append(i)
    return kept


def _first_of_clusters(alike: np.ndarray) -> list[int]:
    reach = alike | np.eye(len(alike), dtype=bool)
    for _ in range(len(alike)):
        reach = reach @ reach
    return sorted({int(row.argmax()) for row in reach})


def _two_raters(seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """One is generous and one is strict; each leaves some items out, a few of them both."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(1.2, 0.9, count)
    seen = [np.clip(np.rint(quality + shift + rng.normal(0, 0.5, count)), 0, 2) for shift in (0.5, -0.3)]
    first, second = (ratings.astype(np.int8) for ratings in seen)
    first[rng.choice(count, 14, replace=False)] = MISSING
    second[quality.argsort()[:12]] = MISSING
    first[quality.argsort()[:4]] = MISSING
    return first, second


def _agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float, tuple[np.ndarray, np.ndarray]]:
    """(observed agreement, that by chance, both raters' shares of each rating)."""
    ratings = np.union1d(a, b)
    p, q = (np.array([np.mean(x == c) for c in ratings]) for x in (a, b))
    return float(np.mean(a == b)), float(p @ q), (p, q)


def _leaks(seed: int) -> list[tuple[str, str]]:
    """(prompt, text): wrapped and typed otherwise; with one word changed; half of one with a repeat; a stranger."""
    one, two, three, four, five = _texts(seed, 5)
    rng = np.random.default_rng(seed)
    changed = [*two[:6], "otherwise", *two[7:]]
    again = [*three[:5], *three[:5], *three[5:]]
    before, after = (list(rng.choice(_FILLERS, 6)) for _ in range(2))
    return [
        (" ".join(one), f"Hello! {' '.join(one[:7]).upper()}, {' '.join(one[7:])}? {' '.join(after)}"),
        (" ".join(two), " ".join([*before, *changed, *after])),
        (" ".join(again), " ".join([*before, *three[:5], *after])),
        (" ".join(four), " ".join(five)),
    ]


def _library_share(prompt: str, text: str) -> float:
    index = index_sets([hash_set([prompt], "exam", "", "")])
    talk = Conversation("x", "x", "x", (Message("user", text), Message("assistant", "Yes.")))
    return max((match.share for match in matches(talk, index, share=0.0)), default=0.0)
