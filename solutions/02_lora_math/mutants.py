# %% exercise="count_adapter" hint="rank_times_full"
def count_adapter(shapes, layers, rank):
    return layers * sum(rank * d_in * d_out for d_in, d_out in shapes)


# %% exercise="count_adapter" hint="full_matrices"
def count_adapter(shapes, layers, rank):
    return layers * sum(d_in * d_out for d_in, d_out in shapes)


# %% exercise="count_adapter" hint="one_layer"
def count_adapter(shapes, layers, rank):
    return sum(rank * (d_in + d_out) for d_in, d_out in shapes)


# %% exercise="count_adapter" hint="only_a"
def count_adapter(shapes, layers, rank):
    return layers * sum(d_in * rank for d_in, d_out in shapes)


# %% exercise="count_adapter" hint="only_b"
def count_adapter(shapes, layers, rank):
    return layers * sum(rank * d_out for d_in, d_out in shapes)


# %% exercise="count_adapter" hint="no_rank"
def count_adapter(shapes, layers, rank):
    return layers * sum(d_in + d_out for d_in, d_out in shapes)


# %% exercise="count_adapter" right=true
def count_adapter(shapes, layers, rank):
    total = 0
    for _ in range(layers):
        for d_in, d_out in shapes:
            total += np.zeros((d_in, rank)).size + np.zeros((rank, d_out)).size
    return total


# %% exercise="lora_forward" hint="no_scale"
def lora_forward(x, w, a, b, alpha):
    return x @ w + x @ a @ b


# %% exercise="lora_forward" hint="alpha_only"
def lora_forward(x, w, a, b, alpha):
    return x @ w + alpha * (x @ a @ b)


# %% exercise="lora_forward" hint="alpha_times_rank"
def lora_forward(x, w, a, b, alpha):
    return x @ w + alpha * a.shape[1] * (x @ a @ b)


# %% exercise="lora_forward" hint="divided_by_in"
def lora_forward(x, w, a, b, alpha):
    return x @ w + alpha / a.shape[0] * (x @ a @ b)


# %% exercise="lora_forward" hint="divided_by_out"
def lora_forward(x, w, a, b, alpha):
    return x @ w + alpha / b.shape[1] * (x @ a @ b)


# %% exercise="lora_forward" hint="root_of_rank"
def lora_forward(x, w, a, b, alpha):
    return x @ w + alpha / a.shape[1] ** 0.5 * (x @ a @ b)


# %% exercise="lora_forward" hint="scaled_twice"
def lora_forward(x, w, a, b, alpha):
    scale = alpha / a.shape[1]
    return x @ w + (x @ (scale * a)) @ (scale * b)


# %% exercise="lora_forward" hint="base_scaled"
def lora_forward(x, w, a, b, alpha):
    return alpha / a.shape[1] * x @ (w + a @ b)


# %% exercise="lora_forward" hint="no_base"
def lora_forward(x, w, a, b, alpha):
    return alpha / a.shape[1] * (x @ a @ b)


# %% exercise="lora_forward" hint="no_update"
def lora_forward(x, w, a, b, alpha):
    b = jnp.zeros_like(b)
    return x @ w + alpha / a.shape[1] * (x @ a @ b)


# %% exercise="lora_forward" hint="nothing_returned"
def lora_forward(x, w, a, b, alpha):
    x @ w + alpha / a.shape[1] * (x @ a @ b)


# %% exercise="lora_forward" right=true
def lora_forward(x, w, a, b, alpha):
    rank = b.shape[0]
    return jnp.einsum("ti,io->to", x, w + alpha * (a @ b) / rank)


# %% exercise="lora_gradients" hint="no_scale"
def lora_gradients(x, a, b, alpha, g):
    return {"a": x.T @ (g @ b.T), "b": (x @ a).T @ g}


# %% exercise="lora_gradients" hint="alpha_only"
def lora_gradients(x, a, b, alpha, g):
    return {"a": alpha * x.T @ (g @ b.T), "b": alpha * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="scaled_twice"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    a, b, g = s * a, s * b, s * g
    return {"a": x.T @ (g @ b.T), "b": (x @ a).T @ g}


# %% exercise="lora_gradients" hint="scaled_twice_on_a"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    dz = s * g @ b.T
    return {"a": s * x.T @ dz, "b": s * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="scaled_twice_on_b"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    z = s * x @ a
    return {"a": s * x.T @ (g @ b.T), "b": s * z.T @ g}


# %% exercise="lora_gradients" hint="negative"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"a": -s * x.T @ (g @ b.T), "b": -s * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="mean_over_tokens"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1] / len(x)
    return {"a": s * x.T @ (g @ b.T), "b": s * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="scale_on_b_only"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"a": x.T @ (g @ b.T), "b": s * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="scale_on_a_only"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"a": s * x.T @ (g @ b.T), "b": (x @ a).T @ g}


# %% exercise="lora_gradients" hint="swapped"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"b": s * x.T @ (g @ b.T), "a": s * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="transposed"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"a": s * (b @ g.T) @ x, "b": s * g.T @ (x @ a)}


# %% exercise="lora_gradients" hint="b_without_a"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"a": s * x.T @ (g @ b.T), "b": s * x.T @ g}


# %% exercise="lora_gradients" hint="a_without_b"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"a": s * x.T @ g, "b": s * (x @ a).T @ g}


# %% exercise="lora_gradients" hint="trains_the_base"
def lora_gradients(x, a, b, alpha, g):
    s = alpha / a.shape[1]
    return {"w": x.T @ g, "a": s * x.T @ (g @ b.T), "b": s * (x @ a).T @ g}


# %% exercise="lora_gradients" right=true
def lora_gradients(x, a, b, alpha, g):
    whole = alpha / b.shape[0] * jnp.einsum("ti,to->io", x, g)  # as if A B were one matrix
    return {"a": whole @ b.T, "b": a.T @ whole}


# %% exercise="lora_gradients" right=true
def lora_gradients(x, a, b, alpha, g):
    import jax

    return dict(
        zip("ab", jax.grad(lambda a, b: jnp.sum(g * (alpha / a.shape[1] * x @ a @ b)), (0, 1))(a, b), strict=True)
    )


# %% exercise="nearest_pair" hint="smallest"
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    return {"a": U[:, -rank:] * S[-rank:], "b": Vt[-rank:]}


# %% exercise="nearest_pair" hint="no_values"
def nearest_pair(m, rank):
    U, _, Vt = np.linalg.svd(m, full_matrices=False)
    return {"a": U[:, :rank], "b": Vt[:rank]}


# %% exercise="nearest_pair" hint="values_twice"
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    return {"a": U[:, :rank] * S[:rank], "b": S[:rank, None] * Vt[:rank]}


# %% exercise="nearest_pair" hint="root_once"
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    return {"a": U[:, :rank] * np.sqrt(S[:rank]), "b": Vt[:rank]}


# %% exercise="nearest_pair" hint="columns_of_vt"
def nearest_pair(m, rank):
    U, S, V = np.linalg.svd(m, full_matrices=False)
    return {"a": U[:, :rank] * S[:rank], "b": V[:, :rank].T}


# %% exercise="nearest_pair" hint="rows_of_m"
def nearest_pair(m, rank):
    return {"a": np.eye(len(m))[:, :rank], "b": m[:rank]}


# %% exercise="nearest_pair" hint="not_cut"
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    return {"a": U * S, "b": Vt}


# %% exercise="nearest_pair" hint="transposed"
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    return {"a": U[:, :rank] * S[:rank], "b": Vt[:rank].T}


# %% exercise="nearest_pair" hint="wrong_structure"
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m, full_matrices=False)
    return U[:, :rank] * S[:rank] @ Vt[:rank]


# %% exercise="nearest_pair" right=true
def nearest_pair(m, rank):
    U, S, Vt = np.linalg.svd(m)
    return {"a": U[:, :rank], "b": S[:rank, None] * Vt[:rank]}


# %% exercise="nearest_pair" right=true
def nearest_pair(m, rank):
    V = np.linalg.eigh(m.T @ m)[1]  # the directions of the inputs, from weak to strong
    b = V[:, ::-1][:, :rank].T
    return {"a": m @ b.T, "b": b}


# %% exercise="other_rule" hint="unchanged"
def other_rule(alpha, rank):
    return alpha


# %% exercise="other_rule" hint="other_way"
def other_rule(alpha, rank):
    return alpha / rank**0.5


# %% exercise="other_rule" hint="scale_not_alpha"
def other_rule(alpha, rank):
    return alpha / rank


# %% exercise="other_rule" hint="scale_not_alpha"
def other_rule(alpha, rank):
    return (alpha * rank**0.5) / (rank * rank**0.5)


# %% exercise="other_rule" hint="times_rank"
def other_rule(alpha, rank):
    return alpha * rank


# %% exercise="other_rule" hint="wrong_value"
def other_rule(alpha, rank):
    return alpha * 4  # right for rank 16 only


# %% exercise="other_rule" right=true
def other_rule(alpha, rank):
    return rank * (alpha / np.sqrt(rank))
