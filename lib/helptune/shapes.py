"""The shape letters, fixed once and used in every signature.

    B  batch rows            D  model width          V  vocabulary
    T  tokens in a row       M  MLP width            L  layers
    S  cached positions      N  query heads          R  LoRA rank
    P  positions in a chunk  K  key/value heads      H  head width
    I  inputs of a matrix    O  outputs of a matrix  F  features of several adapters side by side

They are read in signatures such as `Float[Array, "B T D"]` (jaxtyping). `AnyArray` is for what may still be a numpy
array on the host, as batches and freshly read weights are.
"""

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

AnyArray = Array | np.ndarray

__all__ = ["AnyArray", "Array", "Bool", "Float", "Int", "PRNGKeyArray"]
