# %% exercise="own_tokens" hint="end_forgotten"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * n + [False] + [False]
    return flags


# %% exercise="own_tokens" hint="every_end"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * n + [True] + [False]
    return flags


# %% exercise="own_tokens" hint="newline_after_end"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * (n + 1) + [role == "assistant"]
    return flags


# %% exercise="own_tokens" hint="header"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [role == "assistant"] * 3 + [role == "assistant"] * (n + 1) + [False]
    return flags


# %% exercise="own_tokens" hint="users_tokens"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "user"] * (n + 1) + [False]
    return flags


# %% exercise="own_tokens" hint="no_bos"
def own_tokens(turns):
    flags = []
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * (n + 1) + [False]
    return flags


# %% exercise="own_tokens" hint="everything"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * (n + 1) + [False]
    return [True] * len(flags)


# %% exercise="own_tokens" hint="shifted"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * (n + 1) + [False]
    return flags[1:] + flags[:1]


# %% exercise="own_tokens" hint="last_answer_only"
def own_tokens(turns):
    flags = [False]
    for number, (role, n) in enumerate(turns):
        flags += [False] * 3 + [role == "assistant" and number == len(turns) - 1] * (n + 1) + [False]
    return flags


# %% exercise="own_tokens" right=true
def own_tokens(turns):
    template = {"user": "...{}..", "assistant": "...{}#."}
    text = "." + "".join(template[role].format(("." if role == "user" else "#") * n) for role, n in turns)
    return np.array([mark == "#" for mark in text])


# %% exercise="response_loss" hint="no_shift"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits, tokens, own
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="wrong_way"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, 1:], tokens[:, :-1], own[:, :-1]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="flags_not_shifted"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, :-1]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="prompt_counts"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], tokens[:, 1:] != 0
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="padding_counts"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:] | (tokens[:, 1:] == 0)
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="everything_counts"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], np.ones_like(own[:, 1:])
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="mean_over_all"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).mean()


# %% exercise="response_loss" hint="mean_over_real"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / (targets != 0).sum()


# %% exercise="response_loss" hint="mean_of_means"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return ((nll * counts).sum(axis=1) / counts.sum(axis=1)).mean()


# %% exercise="response_loss" hint="sum"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum()


# %% exercise="response_loss" hint="sign"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="no_log_sum_exp"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    log_p = scores
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="wrong_axis"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="probability"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = 1 - np.exp(np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0])
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="log_2"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    scores = scores - scores.max(axis=-1, keepdims=True)
    log_p = (scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))) / np.log(2)
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" hint="overflow"
def response_loss(logits, tokens, own):
    scores, targets, counts = logits[:, :-1], tokens[:, 1:], own[:, 1:]
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (nll * counts).sum() / counts.sum()


# %% exercise="response_loss" right=true
def response_loss(logits, tokens, own):
    import jax
    import jax.numpy as jnp

    log_p = jax.nn.log_softmax(jnp.asarray(logits), axis=-1)
    total, count = 0.0, 0
    for b, row in enumerate(tokens):
        for t in range(1, len(row)):
            if own[b, t]:
                total, count = total - float(log_p[b, t - 1, row[t]]), count + 1
    return total / count


# %% exercise="packed_row" hint="no_restart"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    positions = place
    mask = same & (place[:, None] >= place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="starts_at_one"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = right.sum(axis=1)
    mask = same & (place[:, None] >= place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="padding_positions"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    positions = (same & (place[:, None] > place[None, :])).sum(axis=1)
    mask = same & (place[:, None] >= place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="backwards"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = (right.T.sum(axis=1) - 1) * real
    mask = same & (place[:, None] >= place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="segments_returned"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    positions = segments
    mask = same & (place[:, None] >= place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="segments_leak"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = (place[:, None] >= place[None, :]) & real[:, None] & real[None, :]
    return positions, mask


# %% exercise="packed_row" hint="segments_leak"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = place[:, None] >= place[None, :]
    return positions, mask


# %% exercise="packed_row" hint="future_seen"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = same & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="anti_causal"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = same & (place[:, None] <= place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="padding_sees"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = same & (place[:, None] >= place[None, :])
    return positions, mask


# %% exercise="packed_row" hint="not_itself"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = same & (place[:, None] > place[None, :]) & real[:, None]
    return positions, mask


# %% exercise="packed_row" hint="by_position"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = positions[:, None] >= positions[None, :]
    return positions, mask


# %% exercise="packed_row" hint="inverted"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    right = same & (place[:, None] >= place[None, :]) & real[:, None]
    positions = np.maximum(right.sum(axis=1) - 1, 0)
    mask = ~right
    return positions, mask


# %% exercise="packed_row" right=true
def packed_row(segments):
    T = len(segments)
    positions, mask = np.zeros(T, int), np.zeros((T, T), bool)
    for t in range(T):
        if segments[t]:
            start = int(np.argmax(segments == segments[t]))
            positions[t] = t - start
            mask[t, start : t + 1] = True
    return positions, mask


# %% exercise="streaming_nll" hint="no_rescale"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s) - own


# %% exercise="streaming_nll" hint="rescale_upside_down"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = (hidden @ embedding[:size].T).max(axis=1), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(new - m) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s) - own


# %% exercise="streaming_nll" hint="last_block_left_out"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding) // size * size, size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s) - own


# %% exercise="streaming_nll" hint="last_block_only"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = scores.max(axis=1)
        s = np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s) - own


# %% exercise="streaming_nll" hint="maximum_not_put_back"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return np.log(s) - own


# %% exercise="streaming_nll" hint="no_log"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + s - own


# %% exercise="streaming_nll" hint="no_target"
def streaming_nll(hidden, embedding, targets, size):
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s)


# %% exercise="streaming_nll" hint="sign"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return own - m - np.log(s)


# %% exercise="streaming_nll" hint="maximum_only"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m - own


# %% exercise="streaming_nll" hint="starts_at_zero"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.zeros(len(hidden)), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return m + np.log(s) - own


# %% exercise="streaming_nll" hint="averaged"
def streaming_nll(hidden, embedding, targets, size):
    own = (hidden * embedding[targets]).sum(axis=1)
    m, s = np.full(len(hidden), -np.inf), np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = np.maximum(m, scores.max(axis=1))
        s = s * np.exp(m - new) + np.exp(scores - new[:, None]).sum(axis=1)
        m = new
    return np.full(len(hidden), (m + np.log(s) - own).mean())


# %% exercise="streaming_nll" hint="overflow"
def streaming_nll(hidden, embedding, targets, size):
    s = np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        s = s + np.exp(hidden @ embedding[start : start + size].T).sum(axis=1)
    return np.log(s) - (hidden * embedding[targets]).sum(axis=1)


# %% exercise="streaming_nll" hint="mean_of_blocks"
def streaming_nll(hidden, embedding, targets, size):
    parts = []
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        m = scores.max(axis=1)
        parts.append(m + np.log(np.exp(scores - m[:, None]).sum(axis=1)))
    return np.mean(parts, axis=0) - (hidden * embedding[targets]).sum(axis=1)


# %% exercise="streaming_nll" hint="sum_of_logs"
def streaming_nll(hidden, embedding, targets, size):
    parts = []
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        m = scores.max(axis=1)
        parts.append(m + np.log(np.exp(scores - m[:, None]).sum(axis=1)))
    return np.sum(parts, axis=0) - (hidden * embedding[targets]).sum(axis=1)


# %% exercise="streaming_nll" right=true
def streaming_nll(hidden, embedding, targets, size):
    total = np.full(len(hidden), -np.inf)
    for start in range(0, len(embedding), size):
        total = np.logaddexp(total, np.logaddexp.reduce(hidden @ embedding[start : start + size].T, axis=1))
    return total - np.einsum("pd,pd->p", hidden, embedding[targets])


# %% exercise="streaming_nll" hint="shared_maximum"
def streaming_nll(hidden, embedding, targets, size):
    m, s = -np.inf, np.zeros(len(hidden))
    for start in range(0, len(embedding), size):
        scores = hidden @ embedding[start : start + size].T
        new = max(m, scores.max())
        s = s * np.exp(m - new) + np.exp(scores - new).sum(axis=1)
        m = new
    return m + np.log(s) - (hidden * embedding[targets]).sum(axis=1)


# %% exercise="own_tokens" hint="nothing"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "model"] * (n + 1) + [False]
    return flags


# %% exercise="own_tokens" hint="no_newline"
def own_tokens(turns):
    flags = [False]
    for role, n in turns:
        flags += [False] * 3 + [role == "assistant"] * (n + 1)
    return flags


# %% exercise="packed_row" hint="padding_positions"
def packed_row(segments):
    place, real = np.arange(len(segments)), segments != 0
    same = segments[:, None] == segments[None, :]
    mask = same & (place[:, None] >= place[None, :]) & real[:, None]
    return mask.sum(axis=1) - 1, mask
