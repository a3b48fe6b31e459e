# %% exercise="lora_forward" hint="no_scale"
def lora_forward(x, w, a, b, alpha):
    return x @ w + x @ a @ b


# %% exercise="lora_forward" right=true
def lora_forward(x, w, a, b, alpha):
    import jax.numpy as jnp

    rank = b.shape[0]
    return jnp.einsum("ti,io->to", x, w + alpha * (a @ b) / rank)
