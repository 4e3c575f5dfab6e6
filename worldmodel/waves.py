"""Waves: numbers as cosines and sines of many frequencies, which a linear layer can tell apart."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoids(times: Float[Tensor, " *batch"], *, width: int) -> Float[Tensor, "*batch {width}"]:
    """Return cosines and sines of 1000 t at `width // 2` frequencies from 1 down to 1e-4."""
    half = width // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=times.device) / half)
    angle = 1000 * times[..., None] * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


def fourier_features(
    values: Float[Tensor, " *batch"], *, num_frequencies: int
) -> Float[Tensor, "*batch feature"]:
    """Return cosines and sines of a number at wavelengths from 128 down by halves [its own unit]."""
    wavelength = 128.0 / 2.0 ** torch.arange(num_frequencies, device=values.device)
    angle = 2 * math.pi * values[..., None] / wavelength
    return torch.cat((angle.cos(), angle.sin()), dim=-1)
