"""The shape letters, fixed once and used in every signature.

    B  batch rows            D  model width          V  vocabulary
    T  tokens in a row       M  MLP width            L  layers
    S  cached positions      N  query heads          R  LoRA rank
    P  positions in a chunk  K  key/value heads      H  head width

A signature such as `Float[Array, "B T D"]` is checked at run time in the test suite (jaxtyping with beartype).
"""

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

__all__ = ["Array", "Bool", "Float", "Int", "PRNGKeyArray"]
