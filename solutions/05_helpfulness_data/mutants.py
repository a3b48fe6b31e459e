# %% exercise="jaccard" hint="words_not_trigrams"
def jaccard(first, second):
    a, b = set(words(first)), set(words(second))
    return len(a & b) / len(a | b)


# %% exercise="jaccard" hint="pairs_not_trigrams"
def jaccard(first, second):
    a, b = ({(w[i], w[i + 1]) for i in range(len(w) - 1)} for w in (words(first), words(second)))
    return len(a & b) / len(a | b)


# %% exercise="jaccard" hint="last_run_missing"
def jaccard(first, second):
    a, b = ({tuple(w[i : i + 3]) for i in range(len(w) - 3)} for w in (words(first), words(second)))
    return len(a & b) / len(a | b)


# %% exercise="jaccard" hint="smaller_not_union"
def jaccard(first, second):
    a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words(first), words(second)))
    return len(a & b) / min(len(a), len(b))


# %% exercise="jaccard" hint="first_not_union"
def jaccard(first, second):
    a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words(first), words(second)))
    return len(a & b) / len(a)


# %% exercise="jaccard" hint="dice"
def jaccard(first, second):
    a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words(first), words(second)))
    return 2 * len(a & b) / (len(a) + len(b))


# %% exercise="jaccard" hint="repeats_counted"
def jaccard(first, second):
    a, b = (list(zip(w, w[1:], w[2:], strict=False)) for w in (words(first), words(second)))
    shared = [gram for gram in a if gram in b]
    either = a + [gram for gram in b if gram not in a]
    return len(shared) / len(either)


# %% exercise="jaccard" hint="not_normalized"
def jaccard(first, second):
    a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (first.split(), second.split()))
    return len(a & b) / len(a | b)


# %% exercise="jaccard" hint="punctuation_counts"
def jaccard(first, second):
    a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (first.lower().split(), second.lower().split()))
    return len(a & b) / len(a | b)


# %% exercise="jaccard" right=true
def jaccard(first, second):
    def grams(text):
        w = words(text)
        return {" ".join(w[i : i + 3]) for i in range(len(w) - 2)}

    a, b = grams(first), grams(second)
    both = len(a.intersection(b))
    return both / (len(a) + len(b) - both)


# %% exercise="keep_first" hint="strict_threshold"
def keep_first(similarity, threshold):
    kept = []
    for i in range(len(similarity)):
        if not any(similarity[i, j] > threshold for j in kept):
            kept.append(i)
    return kept


# %% exercise="keep_first" hint="keeps_last"
def keep_first(similarity, threshold):
    kept = []
    for i in reversed(range(len(similarity))):
        if all(similarity[i, j] < threshold for j in kept):
            kept.append(i)
    return sorted(kept)


# %% exercise="keep_first" hint="drops_both"
def keep_first(similarity, threshold):
    return [i for i, row in enumerate(similarity) if (row >= threshold).sum() == 1]


# %% exercise="keep_first" hint="compared_with_dropped"
def keep_first(similarity, threshold):
    return [i for i in range(len(similarity)) if not (similarity[i, :i] >= threshold).any()]


# %% exercise="keep_first" hint="whole_clusters"
def keep_first(similarity, threshold):
    group = list(range(len(similarity)))
    for i in range(len(group)):
        for j in range(i):
            if similarity[i, j] >= threshold:
                low, high = sorted((group[i], group[j]))
                group = [low if g == high else g for g in group]
    return sorted(set(group))


# %% exercise="keep_first" hint="neighbors_only"
def keep_first(similarity, threshold):
    return [i for i in range(len(similarity)) if i == 0 or similarity[i, i - 1] < threshold]


# %% exercise="keep_first" hint="compared_with_itself"
def keep_first(similarity, threshold):
    return [i for i, row in enumerate(similarity) if (row < threshold).all()]


# %% exercise="keep_first" hint="dropped_not_kept"
def keep_first(similarity, threshold):
    kept, dropped = [], []
    for i in range(len(similarity)):
        (dropped if any(similarity[i, j] >= threshold for j in kept) else kept).append(i)
    return dropped


# %% exercise="keep_first" hint="mask_not_indices"
def keep_first(similarity, threshold):
    stays = np.ones(len(similarity), bool)
    for i in range(len(similarity)):
        stays[i] = not (similarity[i, :i][stays[:i]] >= threshold).any()
    return stays


# %% exercise="keep_first" right=true
def keep_first(similarity, threshold):
    open_, kept = list(range(len(similarity))), []
    while open_:
        first = open_.pop(0)
        kept.append(first)
        open_ = [i for i in open_ if similarity[first, i] < threshold]
    return kept


# %% exercise="kappa" hint="plain_agreement"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    return np.mean(first[both] == second[both])


# %% exercise="kappa" hint="chance_is_uniform"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    chance = 1 / len(np.union1d(a, b))
    return (np.mean(a == b) - chance) / (1 - chance)


# %% exercise="kappa" hint="one_raters_habits"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    chance = sum(np.mean(a == c) ** 2 for c in np.unique(a))
    return (np.mean(a == b) - chance) / (1 - chance)


# %% exercise="kappa" hint="pooled_habits"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    pot = np.concatenate([a, b])
    chance = sum(np.mean(pot == c) ** 2 for c in np.unique(pot))
    return (np.mean(a == b) - chance) / (1 - chance)


# %% exercise="kappa" hint="not_divided"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    return np.mean(a == b) - sum(np.mean(a == c) * np.mean(b == c) for c in np.unique(a))


# %% exercise="kappa" hint="divided_by_chance"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    chance = sum(np.mean(a == c) * np.mean(b == c) for c in np.unique(a))
    return (np.mean(a == b) - chance) / chance


# %% exercise="kappa" hint="disagreement"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    chance = sum(np.mean(a == c) * np.mean(b == c) for c in np.unique(a))
    return (1 - np.mean(a == b)) / (1 - chance)


# %% exercise="kappa" hint="missing_is_a_rating"
def kappa(first, second):
    chance = sum(np.mean(first == c) * np.mean(second == c) for c in np.unique(first))
    return (np.mean(first == second) - chance) / (1 - chance)


# %% exercise="kappa" hint="missing_disagrees"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    chance = sum(np.mean(a == c) * np.mean(b == c) for c in np.unique(a))
    return (np.sum(a == b) / len(first) - chance) / (1 - chance)


# %% exercise="kappa" hint="habits_of_other_items"
def kappa(first, second):
    both = (first >= 0) & (second >= 0)
    a, b = first[first >= 0], second[second >= 0]
    chance = sum(np.mean(a == c) * np.mean(b == c) for c in np.unique(a))
    return (np.mean(first[both] == second[both]) - chance) / (1 - chance)


# %% exercise="kappa" hint="one_is_enough"
def kappa(first, second):
    rated = (first >= 0) | (second >= 0)
    a, b = first[rated], second[rated]
    chance = sum(np.mean(a == c) * np.mean(b == c) for c in np.union1d(a, b))
    return (np.mean(a == b) - chance) / (1 - chance)


# %% exercise="kappa" right=true
def kappa(first, second):
    table = np.zeros((3, 3))
    for a, b in zip(first, second, strict=True):
        if min(a, b) >= 0:
            table[a, b] += 1
    total = table.sum()
    expected = np.outer(table.sum(1), table.sum(0)) / total
    return 1 - (total - np.trace(table)) / (total - np.trace(expected))


# %% exercise="leaked" hint="whole_prompt_only"
def leaked(prompt, text):
    return float(" ".join(words(prompt)) in " ".join(words(text)))


# %% exercise="leaked" hint="not_normalized"
def leaked(prompt, text):
    p, t = (set(zip(w, w[1:], w[2:], strict=False)) for w in (prompt.split(), text.split()))
    return len(p & t) / len(p)


# %% exercise="leaked" hint="words_not_trigrams"
def leaked(prompt, text):
    p, t = set(words(prompt)), set(words(text))
    return len(p & t) / len(p)


# %% exercise="leaked" hint="pairs_not_trigrams"
def leaked(prompt, text):
    p, t = ({(w[i], w[i + 1]) for i in range(len(w) - 1)} for w in (words(prompt), words(text)))
    return len(p & t) / len(p)


# %% exercise="leaked" hint="reversed"
def leaked(prompt, text):
    p, t = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words(prompt), words(text)))
    return len(p & t) / len(t)


# %% exercise="leaked" hint="union_not_prompt"
def leaked(prompt, text):
    p, t = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words(prompt), words(text)))
    return len(p & t) / len(p | t)


# %% exercise="leaked" hint="repeats_counted"
def leaked(prompt, text):
    p, t = (list(zip(w, w[1:], w[2:], strict=False)) for w in (words(prompt), words(text)))
    return sum(gram in t for gram in p) / len(p)


# %% exercise="leaked" hint="yes_or_no"
def leaked(prompt, text):
    p, t = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words(prompt), words(text)))
    return len(p & t) / len(p) >= 0.5


# %% exercise="leaked" hint="punctuation_counts"
def leaked(prompt, text):
    p, t = (set(zip(w, w[1:], w[2:], strict=False)) for w in (prompt.lower().split(), text.lower().split()))
    return len(p & t) / len(p)


# %% exercise="leaked" right=true
def leaked(prompt, text):
    w = words(prompt)
    asked = {" ".join(w[i : i + 3]) for i in range(len(w) - 2)}
    learned = f" {' '.join(words(text))} "
    return np.mean([f" {gram} " in learned for gram in asked])
