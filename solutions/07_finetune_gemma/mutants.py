# %% exercise="perplexity" hint="no_exp"
def perplexity(losses, weights):
    return losses.sum() / weights.sum()


# %% exercise="perplexity" hint="mean_of_means"
def perplexity(losses, weights):
    return np.exp(np.mean(losses / weights))


# %% exercise="perplexity" hint="exp_before_mean"
def perplexity(losses, weights):
    return np.exp(losses / weights).mean()


# %% exercise="perplexity" hint="per_conversation"
def perplexity(losses, weights):
    return np.exp(losses.mean())


# %% exercise="perplexity" hint="base_two"
def perplexity(losses, weights):
    return 2 ** (losses.sum() / weights.sum())


# %% exercise="perplexity" right=true
def perplexity(losses, weights):
    per_token = losses / weights
    return float(np.e ** np.average(per_token, weights=weights))


# %% exercise="early_stopping" hint="keeps_the_last"
def early_stopping(losses, patience):
    best, since = losses[0], 0
    for index, loss in enumerate(losses[1:], start=1):
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since == patience:
            return index, index
    return len(losses) - 1, len(losses) - 1


# %% exercise="early_stopping" hint="never_stops"
def early_stopping(losses, patience):
    return int(np.argmin(losses)), len(losses) - 1


# %% exercise="early_stopping" hint="compares_with_the_previous"
def early_stopping(losses, patience):
    kept, since = 0, 0
    for index in range(1, len(losses)):
        if losses[index] < losses[index - 1]:
            kept, since = index, 0
        else:
            since += 1
        if since == patience:
            return kept, index
    return kept, len(losses) - 1


# %% exercise="early_stopping" hint="ties_improve"
def early_stopping(losses, patience):
    best, kept, since = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], start=1):
        if loss <= best:
            best, kept, since = loss, index, 0
        else:
            since += 1
        if since == patience:
            return kept, index
    return kept, len(losses) - 1


# %% exercise="early_stopping" hint="one_too_patient"
def early_stopping(losses, patience):
    best, kept, since = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], start=1):
        if loss < best:
            best, kept, since = loss, index, 0
        else:
            since += 1
        if since > patience:
            return kept, index
    return kept, len(losses) - 1


# %% exercise="early_stopping" hint="sees_the_future"
def early_stopping(losses, patience):
    kept = int(np.argmin(losses))
    since, best = 0, losses[0]
    for index, loss in enumerate(losses[1:], start=1):
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since == patience:
            return kept, index
    return kept, len(losses) - 1


# %% exercise="early_stopping" hint="forgets_the_base"
def early_stopping(losses, patience):
    best, kept, since = losses[1], 1, 0
    for index, loss in enumerate(losses[2:], start=2):
        if loss < best:
            best, kept, since = loss, index, 0
        else:
            since += 1
        if since == patience:
            return kept, index
    return kept, len(losses) - 1


# %% exercise="early_stopping" hint="counts_all"
def early_stopping(losses, patience):
    best, kept, bad = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], start=1):
        if loss < best:
            best, kept = loss, index
        else:
            bad += 1
        if bad == patience:
            return kept, index
    return kept, len(losses) - 1


# %% exercise="early_stopping" hint="swapped"
def early_stopping(losses, patience):
    best, kept, since = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], start=1):
        best, kept, since = (loss, index, 0) if loss < best else (best, kept, since + 1)
        if since == patience:
            return index, kept
    return len(losses) - 1, kept


# %% exercise="early_stopping" hint="nothing_returned"
def early_stopping(losses, patience):
    best, kept, since = losses[0], 0, 0
    for index, loss in enumerate(losses[1:], start=1):
        best, kept, since = (loss, index, 0) if loss < best else (best, kept, since + 1)
        if since == patience:
            return kept, index


# %% exercise="early_stopping" hint="wrong_shape"
def early_stopping(losses, patience):
    return int(np.argmin(losses))


# %% exercise="early_stopping" right=true
def early_stopping(losses, patience):
    lowest = np.minimum.accumulate(losses)
    for ended in range(patience, len(losses)):
        if lowest[ended] == lowest[ended - patience]:
            return int(np.argmin(losses[: ended + 1])), ended
    return int(np.argmin(losses)), len(losses) - 1


# %% exercise="clip" hint="each_leaf"
def clip(grads, limit):
    return {name: g * min(1.0, limit / max(np.linalg.norm(g), 1e-9)) for name, g in grads.items()}


# %% exercise="clip" hint="divides_by_zero"
def clip(grads, limit):
    with np.errstate(all="ignore"):
        return {name: g * np.minimum(1.0, limit / np.sqrt((g**2).sum())) * (g / g) for name, g in grads.items()}


# %% exercise="clip" hint="each_number"
def clip(grads, limit):
    return {name: np.clip(g, -limit, limit) for name, g in grads.items()}


# %% exercise="clip" hint="squared_norm"
def clip(grads, limit):
    norm = sum((g**2).sum() for g in grads.values())
    return {name: min(1.0, limit / norm) * g for name, g in grads.items()}


# %% exercise="clip" hint="sum_of_norms"
def clip(grads, limit):
    norm = sum(np.linalg.norm(g) for g in grads.values())
    return {name: min(1.0, limit / norm) * g for name, g in grads.items()}


# %% exercise="clip" hint="largest_norm"
def clip(grads, limit):
    norm = max(np.sqrt((g**2).sum()) for g in grads.values())
    return {name: g * min(1, limit / norm) for name, g in grads.items()}


# %% exercise="clip" hint="largest_number"
def clip(grads, limit):
    norm = max(abs(g).max() for g in grads.values())
    return {name: g * min(1, limit / norm) for name, g in grads.items()}


# %% exercise="clip" hint="scales_up"
def clip(grads, limit):
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: limit / norm * g for name, g in grads.items()}


# %% exercise="clip" hint="not_clipped"
def clip(grads, limit):
    return grads


# %% exercise="clip" hint="upside_down"
def clip(grads, limit):
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: max(1.0, norm / limit) * g for name, g in grads.items()}


# %% exercise="clip" hint="mean_square"
def clip(grads, limit):
    norm = np.sqrt(np.mean(np.concatenate([g.ravel() ** 2 for g in grads.values()])))
    return {name: min(1.0, limit / norm) * g for name, g in grads.items()}


# %% exercise="clip" hint="to_length_one"
def clip(grads, limit):
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: g / norm if norm > limit else g for name, g in grads.items()}


# %% exercise="clip" right=true
def clip(grads, limit):
    flat = np.concatenate([np.ravel(g) for g in grads.values()])
    norm = np.linalg.norm(flat)
    return grads if norm <= limit else {name: g / norm * limit for name, g in grads.items()}


# %% exercise="clip" right=true
def clip(grads, limit):
    norm = np.sqrt(sum(np.vdot(g, g) for g in grads.values()))
    if norm > limit:
        for g in grads.values():
            g *= limit / norm
    return grads
