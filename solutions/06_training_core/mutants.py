# %% exercise="warmup_cosine" hint="no_warmup"
def warmup_cosine(step, peak, warmup, total, final):
    clock = min(1.0, max(0.0, (step - warmup) / (total - warmup)))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * clock)) / 2)


# %% exercise="warmup_cosine" hint="clock_of_the_run"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * min(step / total, 1))) / 2)


# %% exercise="warmup_cosine" hint="warmup_off_by_one"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * (step + 1) / warmup
    clock = min(1.0, (step - warmup) / (total - warmup))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * clock)) / 2)


# %% exercise="warmup_cosine" hint="to_zero"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    return peak * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup)))) / 2


# %% exercise="warmup_cosine" hint="floor_added"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    clock = min(1.0, (step - warmup) / (total - warmup))
    return final * peak + peak * (1 + math.cos(math.pi * clock)) / 2


# %% exercise="warmup_cosine" hint="final_is_a_rate"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    clock = min(1.0, (step - warmup) / (total - warmup))
    return final + (peak - final) * (1 + math.cos(math.pi * clock)) / 2


# %% exercise="warmup_cosine" hint="whole_cosine"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    clock = min(1.0, (step - warmup) / (total - warmup))
    return final * peak + (1 - final) * peak * math.cos(math.pi * clock)


# %% exercise="warmup_cosine" hint="line"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    clock = min(1.0, (step - warmup) / (total - warmup))
    return peak + (final * peak - peak) * clock


# %% exercise="warmup_cosine" hint="rises_again"
def warmup_cosine(step, peak, warmup, total, final):
    if step < warmup:
        return peak * step / warmup
    clock = (step - warmup) / (total - warmup)
    return final * peak + (1 - final) * peak * (1 + math.cos(math.pi * clock)) / 2


# %% exercise="warmup_cosine" right=true
def warmup_cosine(step, peak, warmup, total, final):
    clock = np.clip((step - warmup) / (total - warmup), 0, 1)
    return min(step / warmup, 1) * peak * (final + (1 - final) * np.cos(np.pi / 2 * clock) ** 2)


# %% exercise="accumulate" hint="mean_of_means"
def accumulate(parts):
    means = [jax.tree.map(lambda g, w=w: g / max(w, 1), gradient) for _, w, gradient in parts]
    loss = np.mean([nll / max(w, 1) for nll, w, _ in parts])
    return loss, jax.tree.map(lambda *leaves: sum(leaves) / len(parts), *means)


# %% exercise="accumulate" hint="mean_of_means"
# The loss is right, and the gradient is optax.MultiSteps'.
def accumulate(parts):
    means = [jax.tree.map(lambda g, w=w: g / max(w, 1), gradient) for _, w, gradient in parts]
    loss = sum(nll for nll, _, _ in parts) / max(1, sum(w for _, w, _ in parts))
    return loss, jax.tree.map(lambda *leaves: sum(leaves) / len(parts), *means)


# %% exercise="accumulate" hint="sum_of_means"
def accumulate(parts):
    loss, gradient = 0, jax.tree.map(np.zeros_like, parts[0][2])
    for nll, w, g in parts:
        loss += nll / w
        gradient = jax.tree.map(lambda total, x, w=w: total + x / w, gradient, g)
    return loss, gradient


# %% exercise="accumulate" hint="number_of_parts"
def accumulate(parts):
    nlls, _, gradients = zip(*parts, strict=True)
    return np.mean(nlls), jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *gradients)


# %% exercise="accumulate" hint="last_forgotten"
def accumulate(parts):
    nlls, weights, gradients = zip(*parts[:-1], strict=True)
    weight = max(sum(weights), 1)
    return sum(nlls) / weight, jax.tree.map(lambda *leaves: sum(leaves) / weight, *gradients)


# %% exercise="accumulate" hint="last_not_added"
def accumulate(parts):
    nll, weight, gradient = 0, 0, jax.tree.map(np.zeros_like, parts[0][2])
    for n, w, g in parts:
        old = nll, gradient
        nll, weight, gradient = nll + n, weight + w, jax.tree.map(np.add, gradient, g)
    nll, gradient = old
    return nll / max(weight, 1), jax.tree.map(lambda x: x / max(weight, 1), gradient)


# %% exercise="accumulate" hint="last_weight"
def accumulate(parts):
    nll, gradient = 0, jax.tree.map(np.zeros_like, parts[0][2])
    for n, w, g in parts:
        nll, weight, gradient = nll + n, w, jax.tree.map(np.add, gradient, g)
    return nll / weight, jax.tree.map(lambda x: x / weight, gradient)


# %% exercise="accumulate" hint="last_alone"
def accumulate(parts):
    weight = max(sum(w for _, w, _ in parts), 1)
    for nll, _, gradient in parts:
        loss, result = nll / weight, jax.tree.map(lambda x: x / weight, gradient)
    return loss, result


# %% exercise="accumulate" hint="last_mean"
def accumulate(parts):
    for nll, weight, gradient in parts:
        loss, result = nll / weight, jax.tree.map(lambda x, w=weight: x / w, gradient)
    return loss, result


# %% exercise="accumulate" hint="divided_twice"
def accumulate(parts):
    nlls, weights, gradients = zip(*parts, strict=True)
    weight = sum(weights) * len(parts)
    return sum(nlls) / weight, jax.tree.map(lambda *leaves: sum(leaves) / weight, *gradients)


# %% exercise="accumulate" hint="not_divided"
def accumulate(parts):
    nlls, _, gradients = zip(*parts, strict=True)
    return sum(nlls), jax.tree.map(lambda *leaves: sum(leaves), *gradients)


# %% exercise="accumulate" hint="not_divided"
# The loss is divided, the gradient is not.
def accumulate(parts):
    nlls, weights, gradients = zip(*parts, strict=True)
    return sum(nlls) / max(sum(weights), 1), jax.tree.map(lambda *leaves: sum(leaves), *gradients)


# %% exercise="accumulate" hint="first_twice"
def accumulate(parts):
    weight = max(sum(w for _, w, _ in parts), 1)
    nll, gradient = parts[0][0], parts[0][2]
    for n, _, g in parts:
        nll, gradient = nll + n, jax.tree.map(np.add, gradient, g)
    return nll / weight, jax.tree.map(lambda x: x / weight, gradient)


# %% exercise="accumulate" hint="nothing_supervised"
def accumulate(parts):
    nlls, weights, gradients = zip(*parts, strict=True)
    with np.errstate(invalid="ignore"):
        weight = np.float64(sum(weights))
        return sum(nlls) / weight, jax.tree.map(lambda *leaves: sum(leaves) / weight, *gradients)


# %% exercise="accumulate" hint="wrong_structure"
def accumulate(parts):
    nlls, weights, gradients = zip(*parts, strict=True)
    flat = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(g)]) for g in gradients]
    return sum(nlls) / max(sum(weights), 1), sum(flat) / max(sum(weights), 1)


# %% exercise="accumulate" right=true
def accumulate(parts):
    weight = max(sum(part[1] for part in parts), 1.0)
    gradient = {
        site: {leaf: sum(part[2][site][leaf] for part in parts) / weight for leaf in leaves}
        for site, leaves in parts[0][2].items()
    }
    return sum(part[0] for part in parts) / weight, gradient


# %% exercise="accumulate" right=true
def accumulate(parts):
    nll, weight, gradient = 0.0, 0.0, jax.tree.map(np.zeros_like, parts[0][2])
    for n, w, g in parts:
        nll, weight, gradient = nll + n, weight + w, jax.tree.map(np.add, gradient, g)
    return nll / max(weight, 1), jax.tree.map(lambda x: x / max(weight, 1), gradient)


# %% exercise="accumulate" right=true
# It adds into the first part's arrays, which nothing forbids.
def accumulate(parts):
    nll, weight, gradient = parts[0]
    for n, w, g in parts[1:]:
        nll, weight = nll + n, weight + w
        for site in gradient:
            for leaf in gradient[site]:
                gradient[site][leaf] += g[site][leaf]
    return nll / max(weight, 1), jax.tree.map(lambda x: x / max(weight, 1), gradient)


# %% exercise="accumulate" right=true
# A weighted mean of means is the same thing.
def accumulate(parts):
    total = sum(w for _, w, _ in parts)
    shares = [w / total if total else 0 for _, w, _ in parts]
    counts = [max(w, 1) for _, w, _ in parts]
    loss = sum(s * nll / n for s, n, (nll, _, _) in zip(shares, counts, parts, strict=True))

    def mean(*leaves):
        return sum(s * g / n for s, n, g in zip(shares, counts, leaves, strict=True))

    return loss, jax.tree.map(mean, *(g for _, _, g in parts))


# %% exercise="adamw_step" hint="no_bias_correction"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    new = {k: w - rate * (m[k] / (np.sqrt(v[k]) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": state["count"] + 1, "m": m, "v": v}


# %% exercise="adamw_step" hint="count_starts_at_0"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"]
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / (np.sqrt(v[k] / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t + 1, "m": m, "v": v}


# %% exercise="adamw_step" hint="v_not_corrected"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    new = {k: w - rate * (m[k] / (1 - beta1**t) / (np.sqrt(v[k]) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="coupled_decay"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    g = {k: gradients[k] + decay * params[k] for k in params}
    m = {k: beta1 * state["m"][k] + (1 - beta1) * g[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * g[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * m[k] / c1 / (np.sqrt(v[k] / c2) + eps) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="no_sqrt"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / (v[k] / c2 + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="eps_inside"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / np.sqrt(v[k] / c2 + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="betas_swapped"
def adamw_step(params, gradients, state, rate, beta2, beta1, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / (np.sqrt(v[k] / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="old_moments"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {
        k: w - rate * (state["m"][k] / c1 / (np.sqrt(state["v"][k] / c2) + eps) + decay * w) for k, w in params.items()
    }
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="old_gradient"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t, new, m, v = state["count"] + 1, {}, {}, {}
    for k, w in params.items():
        v[k] = beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2
        step = state["m"][k] / (1 - beta1**t) / (np.sqrt(v[k] / (1 - beta2**t)) + eps)
        new[k] = w - rate * (step + decay * w)
        m[k] = beta1 * state["m"][k] + (1 - beta1) * gradients[k]
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="gradient_not_m"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c2 = 1 - beta2**t
    new = {k: w - rate * (gradients[k] / (np.sqrt(v[k] / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="uphill"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w + rate * m[k] / c1 / (np.sqrt(v[k] / c2) + eps) - rate * decay * w for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="no_decay"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    return {k: w - rate * m[k] / c1 / (np.sqrt(v[k] / c2) + eps) for k, w in params.items()}, {
        "count": t, "m": m, "v": v,
    }  # fmt: skip


# %% exercise="adamw_step" hint="decay_of_new"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * m[k] / c1 / (np.sqrt(v[k] / c2) + eps) for k, w in params.items()}
    return {k: w - rate * decay * w for k, w in new.items()}, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="decay_without_rate"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * m[k] / c1 / (np.sqrt(v[k] / c2) + eps) - decay * w for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="corrected_kept"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: (beta1 * state["m"][k] + (1 - beta1) * gradients[k]) / (1 - beta1**t) for k in params}
    v = {k: (beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2) / (1 - beta2**t) for k in params}
    new = {k: w - rate * (m[k] / (np.sqrt(v[k]) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="old_state"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / (np.sqrt(v[k] / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {**state, "count": t}


# %% exercise="adamw_step" hint="count_not_kept"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / (np.sqrt(v[k] / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": state["count"], "m": m, "v": v}


# %% exercise="adamw_step" hint="not_squared"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: w - rate * (m[k] / c1 / (np.sqrt(abs(v[k]) / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" hint="update_alone"
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * gradients[k] for k in params}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * gradients[k] ** 2 for k in params}
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    new = {k: -rate * (m[k] / c1 / (np.sqrt(v[k] / c2) + eps) + decay * w) for k, w in params.items()}
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" right=true
# Works in place, in the dicts.
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t, m, v = state["count"] + 1, state["m"], state["v"]
    new = {}
    for k, w in params.items():
        m[k] = beta1 * m[k] + (1 - beta1) * gradients[k]
        v[k] = beta2 * v[k] + (1 - beta2) * gradients[k] ** 2
        new[k] = w - rate * (m[k] / (1 - beta1**t) / (np.sqrt(v[k] / (1 - beta2**t)) + eps) + decay * w)
    return new, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" right=true
# Works in place, in the arrays.
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t, m, v = state["count"] + 1, state["m"], state["v"]
    for k, w in params.items():
        m[k] += (1 - beta1) * (gradients[k] - m[k])
        v[k] += (1 - beta2) * (gradients[k] ** 2 - v[k])
        w -= rate * (m[k] / (1 - beta1**t) / (np.sqrt(v[k] / (1 - beta2**t)) + eps) + decay * w)
    return params, {"count": t, "m": m, "v": v}


# %% exercise="adamw_step" right=true
def adamw_step(params, gradients, state, rate, beta1, beta2, eps, decay):
    t = state["count"] + 1
    m = jax.tree.map(lambda old, g: old + (1 - beta1) * (g - old), state["m"], gradients)
    v = jax.tree.map(lambda old, g: old + (1 - beta2) * (g * g - old), state["v"], gradients)

    def update(w, m, v):
        return w * (1 - rate * decay) - rate * (m / (1 - beta1**t)) / (eps + (v / (1 - beta2**t)) ** 0.5)

    return jax.tree.map(update, params, m, v), {"count": t, "m": m, "v": v}


# %% exercise="batch_of_step" hint="depends_on_the_past"
def batch_of_step(step, count, size, seed):
    order = np.random.permutation(count)
    place = step % math.ceil(count / size)
    return order[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="depends_on_the_past"
# A generator that lives on between the calls.
def batch_of_step(step, count, size, seed):
    kept = batch_of_step.__dict__
    rng = kept.setdefault(seed, np.random.default_rng(seed))
    place = step % math.ceil(count / size)
    if place == 0:
        kept[seed, "order"] = rng.permutation(count)
    order = kept.get((seed, "order"), np.arange(count))
    return order[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="no_shuffle"
def batch_of_step(step, count, size, seed):
    place = step % math.ceil(count / size)
    return list(range(count))[place * size : (place + 1) * size]


# %% exercise="batch_of_step" hint="same_every_epoch"
def batch_of_step(step, count, size, seed):
    place = step % math.ceil(count / size)
    return np.random.default_rng(seed).permutation(count)[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="seed_ignored"
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    return np.random.default_rng(epoch).permutation(count)[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="seed_plus_epoch"
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    return np.random.default_rng(seed + epoch).permutation(count)[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="seed_times_epoch"
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    return np.random.default_rng(seed * epoch).permutation(count)[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="floor_not_ceil"
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, count // size)
    return np.random.default_rng([seed, epoch]).permutation(count)[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="drops_examples"
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    order = np.random.default_rng([seed, epoch]).permutation(count)[: count // size * size]
    return order[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="across_the_boundary"
# The last batch is filled up from the start of its epoch.
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [int(order[i % count]) for i in range(place * size, (place + 1) * size)]


# %% exercise="batch_of_step" hint="across_the_boundary"
# One endless stream of epochs, cut into batches: the last batch of an epoch holds the first examples of the next.
def batch_of_step(step, count, size, seed):
    places = range(step * size, (step + 1) * size)
    return [int(np.random.default_rng([seed, i // count]).permutation(count)[i % count]) for i in places]


# %% exercise="batch_of_step" hint="repeats_examples"
# Drawn anew for every step.
def batch_of_step(step, count, size, seed):
    return np.random.default_rng([seed, step]).choice(count, size, replace=False).tolist()


# %% exercise="batch_of_step" hint="repeats_examples"
# Drawn with replacement.
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    order = np.random.default_rng([seed, epoch]).integers(0, count, count)
    return order[place * size : (place + 1) * size].tolist()


# %% exercise="batch_of_step" hint="same_batches"
def batch_of_step(step, count, size, seed):
    steps = math.ceil(count / size)
    epoch, place = divmod(step, steps)
    whole = [np.random.default_rng(seed).permutation(count)[i * size : (i + 1) * size] for i in range(steps)]
    order = [*np.random.default_rng([seed, epoch]).permutation(steps - 1), steps - 1]
    return whole[order[place]].tolist()


# %% exercise="batch_of_step" hint="wrong_size"
def batch_of_step(step, count, size, seed):
    steps = math.ceil(count / size)
    epoch, place = divmod(step, steps)
    return np.array_split(np.random.default_rng([seed, epoch]).permutation(count), steps)[place].tolist()


# %% exercise="batch_of_step" right=true
def batch_of_step(step, count, size, seed):
    import random

    steps = -(-count // size)
    order = list(range(count))
    random.Random(f"{seed}/{step // steps}").shuffle(order)
    return order[step % steps :: steps] if count % size == 0 else order[step % steps * size :][:size]


# %% exercise="batch_of_step" right=true
# JAX's own generator: a key for each epoch, folded into that of the seed.
def batch_of_step(step, count, size, seed):
    epoch, place = divmod(step, math.ceil(count / size))
    key = jax.random.fold_in(jax.random.key(seed), epoch)
    return jax.random.permutation(key, count)[place * size :][:size]
