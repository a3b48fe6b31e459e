# %% exercise="win_probability" hint="swapped"
def win_probability(ours, theirs):
    return 1 / (1 + np.exp(ours - theirs))


# %% exercise="win_probability" hint="odds"
def win_probability(ours, theirs):
    return np.exp(ours - theirs)


# %% exercise="win_probability" hint="share"
def win_probability(ours, theirs):
    return ours / (ours + theirs)


# %% exercise="win_probability" hint="difference"
def win_probability(ours, theirs):
    return ours - theirs


# %% exercise="win_probability" hint="sum"
def win_probability(ours, theirs):
    return 1 / (1 + np.exp(-ours - theirs))


# %% exercise="win_probability" hint="ours_alone"
def win_probability(ours, theirs):
    return 1 / (1 + np.exp(-ours))


# %% exercise="win_probability" hint="certain"
def win_probability(ours, theirs):
    return np.where(ours > theirs, 1.0, 0.0)


# %% exercise="win_probability" right=true
def win_probability(ours, theirs):
    return np.exp(ours) / (np.exp(ours) + np.exp(theirs))


# %% exercise="sft_loss" hint="sign"
def sft_loss(log_probs, tokens, supervised):
    targets, mask = tokens[:, 1:], supervised[:, 1:]
    chosen = np.take_along_axis(log_probs[:, :-1], targets[..., None], axis=-1)[..., 0]
    return (chosen * mask).sum() / mask.sum()


# %% exercise="sft_loss" hint="prompt_tokens"
def sft_loss(log_probs, tokens, supervised):
    return -np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1).mean()


# %% exercise="sft_loss" hint="no_shift"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    return -(chosen * supervised).sum() / supervised.sum()


# %% exercise="sft_loss" hint="no_shift_no_mask"
def sft_loss(log_probs, tokens, supervised):
    return -np.take_along_axis(log_probs, tokens[..., None], axis=-1).mean()


# %% exercise="sft_loss" hint="mask_not_shifted"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -chosen[supervised[:, :-1]].mean()


# %% exercise="sft_loss" hint="mask_not_shifted"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -(chosen * supervised[:, :-1]).sum() / supervised.sum()


# %% exercise="sft_loss" hint="backwards"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, 1:], tokens[:, :-1, None], axis=-1)[..., 0]
    return -chosen[supervised[:, :-1]].mean()


# %% exercise="sft_loss" hint="backwards"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, 1:], tokens[:, :-1, None], axis=-1)[..., 0]
    return -chosen[supervised[:, 1:]].mean()


# %% exercise="sft_loss" hint="all_tokens"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -(chosen * supervised[:, 1:]).mean()


# %% exercise="sft_loss" hint="all_places"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -(chosen * supervised[:, 1:]).sum() / tokens.size


# %% exercise="sft_loss" hint="sum"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -(chosen * supervised[:, 1:]).sum()


# %% exercise="sft_loss" hint="rows"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -(chosen * supervised[:, 1:]).sum(axis=1).mean()


# %% exercise="sft_loss" hint="row_means"
def sft_loss(log_probs, tokens, supervised):
    losses = []
    for row, ids, mask in zip(log_probs, tokens, supervised, strict=True):
        chosen = row[np.arange(len(ids) - 1), ids[1:]]
        losses.append(-chosen[mask[1:]].mean())
    return np.mean(losses)


# %% exercise="sft_loss" hint="perplexity"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return np.exp(-chosen[supervised[:, 1:]].mean())


# %% exercise="sft_loss" hint="not_log"
def sft_loss(log_probs, tokens, supervised):
    chosen = np.take_along_axis(np.exp(log_probs)[:, :-1], tokens[:, 1:, None], axis=-1)[..., 0]
    return -chosen[supervised[:, 1:]].mean()


# %% exercise="sft_loss" right=true
def sft_loss(log_probs, tokens, supervised):
    total, count = 0.0, 0
    for row, ids, mask in zip(log_probs, tokens, supervised, strict=True):
        for place in range(1, len(ids)):
            if mask[place]:
                total -= row[place - 1, ids[place]]
                count += 1
    return total / count


# %% exercise="sft_loss" right=true
def sft_loss(log_probs, tokens, supervised):
    import jax
    import jax.numpy as jnp

    one_hot = jax.nn.one_hot(tokens, log_probs.shape[-1])
    chosen = jnp.sum(jnp.roll(log_probs, 1, axis=1) * one_hot, axis=-1)
    return -jnp.mean(chosen, where=jnp.asarray(supervised))


# %% exercise="preference_loss" hint="swapped"
def preference_loss(rewards, comparisons):
    loss, gradient = 0.0, np.zeros(len(rewards))
    for other, preferred in comparisons:
        p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
        loss -= np.log(p) / len(comparisons)
        gradient[preferred] -= (1 - p) / len(comparisons)
        gradient[other] += (1 - p) / len(comparisons)
    return loss, gradient


# %% exercise="preference_loss" hint="no_minus"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    gradient = np.zeros(len(rewards))
    np.add.at(gradient, preferred, 1 - p)
    np.add.at(gradient, other, p - 1)
    return np.log(p).mean(), gradient / len(p)


# %% exercise="preference_loss" hint="no_sigmoid"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    gradient = np.zeros(len(rewards))
    np.add.at(gradient, preferred, -1 / len(preferred))
    np.add.at(gradient, other, 1 / len(preferred))
    return -(rewards[preferred] - rewards[other]).mean(), gradient


# %% exercise="preference_loss" hint="no_log"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    return -p.mean(), np.zeros(len(rewards))


# %% exercise="preference_loss" hint="error_rate"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    return (1 - p).mean(), np.zeros(len(rewards))


# %% exercise="preference_loss" hint="sum"
def preference_loss(rewards, comparisons):
    loss, gradient = 0.0, np.zeros(len(rewards))
    for preferred, other in comparisons:
        p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
        loss -= np.log(p)
        gradient[preferred] -= 1 - p
        gradient[other] += 1 - p
    return loss, gradient


# %% exercise="preference_loss" hint="bits"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    return -np.log2(p).mean(), np.zeros(len(rewards))


# %% exercise="preference_loss" hint="ascends"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    gradient = np.zeros(len(rewards))
    np.add.at(gradient, preferred, 1 - p)
    np.add.at(gradient, other, p - 1)
    return -np.log(p).mean(), gradient / len(p)


# %% exercise="preference_loss" hint="wrong_weight"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    gradient = np.zeros(len(rewards))
    np.add.at(gradient, preferred, -p)
    np.add.at(gradient, other, p)
    return -np.log(p).mean(), gradient / len(p)


# %% exercise="preference_loss" hint="no_weight"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    gradient = np.bincount(other, minlength=len(rewards)) - np.bincount(preferred, minlength=len(rewards))
    return -np.log(p).mean(), gradient / len(p)


# %% exercise="preference_loss" hint="one_side"
def preference_loss(rewards, comparisons):
    loss, gradient = 0.0, np.zeros(len(rewards))
    for preferred, other in comparisons:
        p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
        loss -= np.log(p) / len(comparisons)
        gradient[preferred] -= (1 - p) / len(comparisons)
    return loss, gradient


# %% exercise="preference_loss" hint="overwritten"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    gradient = np.zeros(len(rewards))
    gradient[preferred] -= (1 - p) / len(p)
    gradient[other] += (1 - p) / len(p)
    return -np.log(p).mean(), gradient


# %% exercise="preference_loss" hint="gradient_sum"
def preference_loss(rewards, comparisons):
    loss, gradient = 0.0, np.zeros(len(rewards))
    for preferred, other in comparisons:
        p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
        loss -= np.log(p) / len(comparisons)
        gradient[preferred] -= 1 - p
        gradient[other] += 1 - p
    return loss, gradient


# %% exercise="preference_loss" hint="of_p"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    p = 1 / (1 + np.exp(rewards[other] - rewards[preferred]))
    gradient = np.zeros(len(rewards))
    np.add.at(gradient, preferred, -p * (1 - p))
    np.add.at(gradient, other, p * (1 - p))
    return -np.log(p).mean(), gradient / len(p)


# %% exercise="preference_loss" hint="wrong_structure"
def preference_loss(rewards, comparisons):
    preferred, other = np.array(comparisons).T
    return -np.log(1 / (1 + np.exp(rewards[other] - rewards[preferred]))).mean()


# %% exercise="preference_loss" right=true
def preference_loss(rewards, comparisons):
    import jax
    import jax.numpy as jnp

    def loss(rewards):
        pairs = rewards[jnp.asarray(comparisons)]
        return -jax.nn.log_sigmoid(pairs[:, 0] - pairs[:, 1]).mean()

    return jax.value_and_grad(loss)(jnp.asarray(rewards))
