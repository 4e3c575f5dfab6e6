"""Normalisation: mean and deviation of each channel at each position of a frame, over many frames."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

MEAN_KEY = "_latents_mean"
STD_KEY = "_latents_std"
"""Names in a representation's file; those of `diffusers.AutoencoderRAE`, for all kinds."""
CONSTANT_SHARE = 1e-4
"""A channel that deviates by less than this share of the deviation of all does not vary: a black bar, say.
Dividing by its deviation would make a grey level of another recording a latent of thousands."""

Encode = Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch token channel"]]


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Latents are (features - mean) / std, features being what the encoder itself gives."""

    mean: Float[Tensor, "token channel"]
    std: Float[Tensor, "token channel"]

    def __post_init__(self) -> None:
        """Refuse what cannot be divided by."""
        if not bool((self.std > 0).all() & self.mean.isfinite().all() & self.std.isfinite().all()):
            raise ValueError(
                "needed finite means and positive deviations of latents, got others; compute them anew with "
                "`python -m worldmodel.representation.statistics`"
            )

    def apply(self, features: Float[Tensor, "batch token channel"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of features."""
        return (features - self.mean.to(features)) / self.std.to(features)

    def undo(self, latents: Float[Tensor, "batch token channel"]) -> Float[Tensor, "batch token channel"]:
        """Return the features of latents."""
        return latents * self.std.to(latents) + self.mean.to(latents)

    def to(self, device: str) -> "Normalisation":
        """Return it on a device."""
        return Normalisation(self.mean.to(device), self.std.to(device))


def measure_normalisation(
    encode: Encode, batches: Iterable[UInt8[Tensor, "_ height width 3"]], *, variance_only: bool
) -> Normalisation:
    """Measure over batches of frames, in float64; ValueError for fewer than two frames.

    `variance_only` leaves the mean at 0, as RAE (arXiv 2510.11690) does with DINOv2; deviations are about the
    true mean all the same.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for frames in batches:
        features = encode(frames).double()
        count, mean, squares = _merge(count, mean.to(features), squares.to(features), features)
    if count < 2:
        raise ValueError(
            f"needed at least two frames to measure deviations, got {count}; name more recordings"
        )
    std = (squares / (count - 1)).sqrt()
    overall = std.square().mean().sqrt()
    if not overall > 0:
        raise ValueError("needed frames that differ, all latents are the same; name other recordings")
    std = torch.where(std < CONSTANT_SHARE * overall, overall, std)
    return Normalisation((torch.zeros_like(mean) if variance_only else mean).float().cpu(), std.float().cpu())


def _merge(
    count: int,
    mean: Float64[Tensor, "..."],
    squares: Float64[Tensor, "..."],
    features: Float64[Tensor, "..."],
) -> tuple[int, Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Add a batch to count, mean and sum of squared deviations.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979).
    """
    added, its_mean = len(features), features.mean(dim=0)
    its_squares = (features - its_mean).square().sum(dim=0)
    total, difference = count + added, its_mean - mean
    return (
        total,
        mean + difference * (added / total),
        squares + its_squares + difference.square() * (count * added / total),
    )
