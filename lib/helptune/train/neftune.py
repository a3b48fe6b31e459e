"""NEFTune: noise on the embeddings while a model is fine-tuned, so that it learns less of the texts by heart.

Jain et al. 2023, arXiv:2310.05914: each value gets uniform noise within alpha / sqrt(T D), T the tokens of its text.
Here T is the length of the token's own segment, since a packed row holds several texts. Gemma multiplies its embeddings
by sqrt(D); the noise comes before that, where a row of the table has a length near 1 as in the models of the paper.
"""

import jax
import jax.numpy as jnp

from helptune.shapes import AnyArray, Array, Float, Int, PRNGKeyArray


def embedding_noise(
    key: PRNGKeyArray, alpha: float, segments: Int[AnyArray, "B T"], width: int
) -> Float[Array, "B T D"]:
    """Uniform in +-alpha / sqrt(length of the segment * D), float32."""
    B, T = segments.shape
    sizes = jnp.zeros((B, T + 1)).at[jnp.arange(B)[:, None], segments].add(1.0)
    bound = alpha / jnp.sqrt(jnp.take_along_axis(sizes, segments, axis=1) * width)
    return jax.random.uniform(key, (B, T, width), minval=-1.0, maxval=1.0) * bound[..., None]
