# %% exercise="rms_norm" hint="no_one"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale


# %% exercise="rms_norm" hint="one_twice"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * (1 + (1 + scale))


# %% exercise="rms_norm" hint="not_scaled"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


# %% exercise="rms_norm" hint="layer_norm"
def rms_norm(x, scale):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * (1 + scale)


# %% exercise="rms_norm" hint="sum_not_mean"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-6) * (1 + scale)


# %% exercise="rms_norm" hint="no_root"
def rms_norm(x, scale):
    return x / (jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * (1 + scale)


# %% exercise="rms_norm" hint="over_tokens"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=0) + 1e-6) * (1 + scale)


# %% exercise="rms_norm" hint="over_everything"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2) + 1e-6) * (1 + scale)


# %% exercise="rms_norm" hint="no_epsilon"
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True)) * (1 + scale)


# %% exercise="rms_norm" hint="epsilon_outside"
def rms_norm(x, scale):
    return x / (jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True)) + 1e-6) * (1 + scale)


# %% exercise="rms_norm" right=true
def rms_norm(x, scale):
    normal = x * jax.lax.rsqrt((x * x).mean(axis=1) + 1e-6)[:, None]
    return normal + normal * scale


# %% exercise="gated_mlp" hint="silu"
def gated_mlp(x, gate, up, down):
    return (jax.nn.silu(x @ gate) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="erf_gelu"
def gated_mlp(x, gate, up, down):
    return (jax.nn.gelu(x @ gate, approximate=False) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="sigmoid_gelu"
def gated_mlp(x, gate, up, down):
    g = x @ gate
    return (g * jax.nn.sigmoid(1.702 * g) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="no_cubic"
def gated_mlp(x, gate, up, down):
    g = x @ gate
    return (0.5 * g * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * g)) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="sigmoid"
def gated_mlp(x, gate, up, down):
    return (jax.nn.sigmoid(x @ gate) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="relu"
def gated_mlp(x, gate, up, down):
    return (jax.nn.relu(x @ gate) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="wrong_branch"
def gated_mlp(x, gate, up, down):
    return (x @ gate * jax.nn.gelu(x @ up)) @ down


# %% exercise="gated_mlp" hint="both_branches"
def gated_mlp(x, gate, up, down):
    return (jax.nn.gelu(x @ gate) * jax.nn.gelu(x @ up)) @ down


# %% exercise="gated_mlp" hint="after_product"
def gated_mlp(x, gate, up, down):
    return jax.nn.gelu((x @ gate) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="no_activation"
def gated_mlp(x, gate, up, down):
    return ((x @ gate) * (x @ up)) @ down


# %% exercise="gated_mlp" hint="sum"
def gated_mlp(x, gate, up, down):
    return (jax.nn.gelu(x @ gate) + x @ up) @ down


# %% exercise="gated_mlp" hint="no_up"
def gated_mlp(x, gate, up, down):
    return jax.nn.gelu(x @ gate) @ down


# %% exercise="gated_mlp" hint="no_down"
def gated_mlp(x, gate, up, down):
    return jax.nn.gelu(x @ gate) * (x @ up)


# %% exercise="gated_mlp" hint="nothing_returned"
def gated_mlp(x, gate, up, down):
    print((jax.nn.gelu(x @ gate) * (x @ up)) @ down)


# %% exercise="gated_mlp" right=true
def gated_mlp(x, gate, up, down):
    x, gate, up, down = (np.asarray(y, np.float64) for y in (x, gate, up, down))
    g, u = np.split(x @ np.concatenate([gate, up], axis=1), 2, axis=1)
    g = g / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (g + 0.044715 * g**3)))
    return np.einsum("tm,tm,md->td", g, u, down)


# %% exercise="apply_rope" hint="interleaved"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = x[..., 0::2], x[..., 1::2]
    return jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1).reshape(x.shape)


# %% exercise="apply_rope" hint="wrong_sign"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)


# %% exercise="apply_rope" hint="not_a_rotation"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos - first * sin], axis=-1)


# %% exercise="apply_rope" hint="sin_cos_swapped"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="one_too_far"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = (positions[:, None] + 1) / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="positions_ignored"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = jnp.arange(len(x))[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="exponent_halved"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="exponent_doubled"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / (H // 2))
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="base_multiplies"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] * base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="one_speed"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] * jnp.ones(H // 2)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="base_fixed"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / 10_000 ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="degrees"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = jnp.deg2rad(positions[:, None] / base ** (2 * jnp.arange(H // 2) / H))
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="full_turns"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = 2 * jnp.pi * positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="by_head"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = jnp.arange(x.shape[1])[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[None], jnp.cos(angles)[None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# %% exercise="apply_rope" hint="half_only"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second], axis=-1)


# %% exercise="apply_rope" hint="not_turned"
def apply_rope(x, positions, base):
    return x


# %% exercise="apply_rope" right=true
def apply_rope(x, positions, base):
    half = x.shape[-1] // 2
    turn = np.exp(1j * np.outer(positions, float(base) ** (-np.arange(half) / half)))
    turned = (np.asarray(x[..., :half]) + 1j * np.asarray(x[..., half:])) * turn[:, None]
    return np.concatenate([turned.real, turned.imag], axis=-1)


# %% exercise="windowed_attention" hint="no_scale"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k)
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="scale_without_root"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / q.shape[2]
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="scale_of_all_heads"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(N * q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="no_window"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where(back >= 0, scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="window_too_long"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back <= window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="window_too_short"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window - 1), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="itself_unseen"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back > 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="anti_causal"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back <= 0) & (back > -window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="both_sides"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where(abs(back) < window, scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="only_beyond"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back == 0) | (back >= window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="no_mask"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where(back > -T, scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="tiled_heads"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.tile(y, (1, N // y.shape[1], 1)) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="values_tiled"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = jnp.repeat(k, N // k.shape[1], axis=1), jnp.tile(v, (1, N // v.shape[1], 1))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="first_head_only"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y[:, :1], N, axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="softmax_over_queries"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="softmax_over_heads"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=0)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="masked_with_zero"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(scores * ((back >= 0) & (back < window)), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="masked_after"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = jax.nn.softmax(scores, axis=-1) * ((back >= 0) & (back < window))
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="no_softmax"
def windowed_attention(q, k, v, window):
    T, N = q.shape[:2]
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / jnp.sqrt(q.shape[2])
    shares = scores * ((back >= 0) & (back < window))
    return jnp.einsum("nts,snh->tnh", shares, v)


# %% exercise="windowed_attention" hint="raised"
def windowed_attention(q, k, v, window):
    return jax.nn.softmax(jnp.einsum("tnh,snh->nts", q, k)) @ v


# %% exercise="windowed_attention" right=true
def windowed_attention(q, k, v, window):
    group = q.shape[1] // k.shape[1]
    y = np.zeros(q.shape)
    for t in range(q.shape[0]):
        for n in range(q.shape[1]):
            seen = slice(max(0, t - window + 1), t + 1)
            weights = np.exp(np.asarray(k[seen, n // group] @ q[t, n]) / q.shape[2] ** 0.5)
            y[t, n] = weights @ np.asarray(v[seen, n // group]) / weights.sum()
    return y


# %% exercise="windowed_attention" right=true
def windowed_attention(q, k, v, window):
    T, K, H = k.shape
    grouped = q.reshape(T, K, -1, H)
    back = jnp.arange(T)[:, None] - jnp.arange(T)[None, :]
    scores = jnp.einsum("tkgh,skh->kgts", grouped, k) * H**-0.5
    scores = jnp.where(jnp.tril(back < window), scores, -jnp.inf)
    return jnp.einsum("kgts,skh->tkgh", jax.nn.softmax(scores), v).reshape(q.shape)


# %% exercise="first_wrong_layer" hint="one_based"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) > tolerance * np.linalg.norm(b):
            return layer + 1
    return None


# %% exercise="first_wrong_layer" hint="last_right"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) > tolerance * np.linalg.norm(b):
            return layer - 1
    return None


# %% exercise="first_wrong_layer" hint="not_relative"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) > tolerance:
            return layer
    return None


# %% exercise="first_wrong_layer" hint="first_right"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) < tolerance * np.linalg.norm(b):
            return layer
    return None


# %% exercise="first_wrong_layer" hint="cancels"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if (a - b).mean() > tolerance * np.linalg.norm(b):
            return layer
    return None


# %% exercise="first_wrong_layer" hint="not_none"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) > tolerance * np.linalg.norm(b):
            return layer
    return -1


# %% exercise="first_wrong_layer" hint="largest"
def first_wrong_layer(ours, theirs, tolerance):
    far = np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    return int(np.argmax(far)) if far.max() > tolerance else None


# %% exercise="first_wrong_layer" hint="last_wrong"
def first_wrong_layer(ours, theirs, tolerance):
    far = np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    wrong = np.flatnonzero(far > tolerance)
    return int(wrong[-1]) if len(wrong) else None


# %% exercise="first_wrong_layer" hint="not_none"
def first_wrong_layer(ours, theirs, tolerance):
    far = np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    return int(np.argmax(far > tolerance))


# %% exercise="first_wrong_layer" hint="zero_is_none"
def first_wrong_layer(ours, theirs, tolerance):
    far = np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    return int(np.argmax(far > tolerance)) or None


# %% exercise="first_wrong_layer" right=true
def first_wrong_layer(ours, theirs, tolerance):
    far = np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    wrong = np.flatnonzero(far > tolerance)
    return int(wrong[0]) if wrong.size else None


# %% exercise="first_wrong_layer" hint="squared"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.sum((a - b) ** 2) > tolerance * np.sum(b**2):
            return layer
    return None


# %% exercise="first_wrong_layer" hint="relative_to_ours"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.linalg.norm(a - b) > tolerance * np.linalg.norm(a):
            return layer
    return None


# %% exercise="first_wrong_layer" hint="averaged"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.mean(np.abs(a - b)) > tolerance * np.mean(np.abs(b)):
            return layer
    return None


# %% exercise="first_wrong_layer" hint="judged_alone"
def first_wrong_layer(ours, theirs, tolerance):
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if np.max(np.abs(a - b)) > tolerance * np.max(np.abs(b)):
            return layer
    return None


# %% exercise="first_wrong_layer" right=true
def first_wrong_layer(ours, theirs, tolerance):
    for layer in range(len(ours)):
        if np.sqrt(((ours[layer] - theirs[layer]) ** 2).sum()) / np.sqrt((theirs[layer] ** 2).sum()) > tolerance:
            return layer


# %% exercise="apply_rope" hint="overwritten"
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = positions[:, None] / base ** (2 * jnp.arange(H // 2) / H)
    sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    first = first * cos - second * sin
    second = second * cos + first * sin
    return jnp.concatenate([first, second], axis=-1)


# %% exercise="apply_rope" right=true
def apply_rope(x, positions, base):
    H = x.shape[-1]
    angles = np.asarray(positions)[:, None, None] * base ** (-2 * np.arange(H // 2) / H)
    pairs = (np.asarray(x[..., : H // 2]) + 1j * np.asarray(x[..., H // 2 :])) * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


# %% exercise="windowed_attention" hint="scale_fixed"
def windowed_attention(q, k, v, window):
    T, N, _ = q.shape
    k, v = (jnp.repeat(y, N // y.shape[1], axis=1) for y in (k, v))
    back = jnp.arange(T)[:, None] - jnp.arange(T)
    scores = jnp.einsum("tnh,snh->nts", q, k) / 16
    shares = jax.nn.softmax(jnp.where((back >= 0) & (back < window), scores, -1e30), axis=-1)
    return jnp.einsum("nts,snh->tnh", shares, v)
