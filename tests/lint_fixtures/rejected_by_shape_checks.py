"""A shape that is not returned, a shape that is not checked by hand, a float."""

import numpy as np
from jaxtyping import Float32
from torch import Tensor


def halves(values: Float32[np.ndarray, "row column"]) -> Float32[np.ndarray, "row column"]:
    """Halve, and transpose by mistake."""
    return values.T / 2


def first(latents: Float32[Tensor, "batch token channel"]) -> Float32[Tensor, "batch channel"]:
    """Mean the first token, take the first channel."""
    return latents[:, :, 0]


def turn(heading_rad: float) -> float:
    """Turn left a little."""
    return heading_rad + 0.1
