"""SmallVae: our own variational autoencoder, small enough to be trained on one core.

A frame is cut into patches of 4 x 4 pixels, which a residual network takes to a map of latents with a cell of
8 x 8 pixels; PixelUnshuffle(2) makes tokens of 16 x 16 pixels of it, as of the latents of larger
autoencoders. Three quarters of the work of a network that begins at full size are saved by the patches.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.representation.codec import Codec, CodecShape
from worldmodel.representation.kind import Kind
from worldmodel.representation.unshuffle import SQUARE, to_maps, to_tokens

PATCH = 4
"""Height and width of the patches that go in and come out [pixels]."""
CELL = 8
"""Height and width of what a latent of the map stands for [pixels]."""
NUM_GROUPS = 8
"""Of channels that are normalised together."""
LOG_VARIANCE_RANGE = (-20.0, 5.0)
"""Bounds within which the exponential is safe in any precision."""


@dataclass(frozen=True, kw_only=True)
class SmallVaeConfig:
    """Shape; the defaults are nano: 8 x 8 latents of 8 channels: 16 tokens of 32; 0.44 M parameters."""

    image_size: int = 64
    """Height and width of a frame [pixels]; a multiple of 16."""
    latent_channels: int = 8
    fine_width: int = 32
    """Channels where a cell is 4 x 4 pixels; a multiple of 8."""
    coarse_width: int = 96
    """Channels where a cell is 8 x 8 pixels; a multiple of 8."""
    num_blocks: int = 1
    """Residual blocks at each of the two sizes, on either side."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not divide."""
        if self.image_size < 1 or self.latent_channels < 1:
            raise ValueError(
                f"image_size and latent_channels must be at least 1, got {self.image_size} and "
                f"{self.latent_channels}"
            )
        if self.image_size % (CELL * SQUARE):
            raise ValueError(f"image_size {self.image_size} must be a multiple of {CELL * SQUARE}")
        for name, width in (("fine_width", self.fine_width), ("coarse_width", self.coarse_width)):
            if width % NUM_GROUPS:
                raise ValueError(f"{name} {width} must be a multiple of {NUM_GROUPS}")


class SmallVae(Codec):
    """Encoder to mean and log variance of latents, and decoder. The features are means: nothing is drawn."""

    def __init__(self, config: SmallVaeConfig) -> None:
        num_rows = config.image_size // (CELL * SQUARE)
        shape = CodecShape(
            input_size=config.image_size,
            image_size=config.image_size,
            num_tokens=num_rows**2,
            num_channels=config.latent_channels * SQUARE**2,
        )
        super().__init__(Kind.vae, asdict(config), shape)
        self.config, self._num_rows = config, num_rows
        fine, coarse, depth = config.fine_width, config.coarse_width, config.num_blocks
        levels = 3 * PATCH**2
        # The constructors draw from torch's global generator; the draws are overwritten and it is put back.
        with torch.random.fork_rng(devices=[]):
            self.encoder = nn.Sequential(
                nn.PixelUnshuffle(PATCH),
                _convolution(levels, fine),
                *(_Residual(fine) for _ in range(depth)),
                nn.PixelUnshuffle(CELL // PATCH),
                nn.Conv2d(fine * (CELL // PATCH) ** 2, coarse, kernel_size=1),
                *(_Residual(coarse) for _ in range(depth)),
                _norm(coarse),
                nn.SiLU(),
                _convolution(coarse, 2 * config.latent_channels),
            )
            self.decoder = nn.Sequential(
                _convolution(config.latent_channels, coarse),
                *(_Residual(coarse) for _ in range(depth)),
                nn.Conv2d(coarse, fine * (CELL // PATCH) ** 2, kernel_size=1),
                nn.PixelShuffle(CELL // PATCH),
                *(_Residual(fine) for _ in range(depth)),
                _norm(fine),
                nn.SiLU(),
                _convolution(fine, levels),
                nn.PixelShuffle(PATCH),
            )

    def posterior(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch channel row column"], Float[Tensor, "batch channel row column"]]:
        """Return mean and log variance (float32) of the latents of images in [0, 1]."""
        # float32: a mean and a log variance go through exponentials and squares.
        mean, log_variance = self.encoder(2 * images - 1).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def made_of(
        self, maps: Float[Tensor, "batch channel row column"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return the images, about in [0, 1], of maps of latents."""
        return (self.decoder(maps) + 1) / 2

    def to_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return the means as tokens."""
        return to_tokens(self.posterior(images)[0])

    def to_images(
        self, features: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Decode tokens."""
        return self.made_of(to_maps(features, num_rows=self._num_rows))


def divergence(
    mean: Float[Tensor, " batch *latent"], log_variance: Float[Tensor, " batch *latent"]
) -> Float[Tensor, ""]:
    """Return the divergence of the posterior from the standard normal [nats a latent channel and cell].

    Source: Auto-Encoding Variational Bayes (arXiv 1312.6114), appendix B; a mean here, there a sum.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class _Residual(nn.Module):
    """Two convolutions of normalised and activated input, added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.convolution1 = _norm(width), _convolution(width, width)
        self.norm2, self.convolution2 = _norm(width), _convolution(width, width)

    def forward(
        self, maps: Float[Tensor, "batch channel row column"]
    ) -> Float[Tensor, "batch channel row column"]:
        """Return maps of the same shape."""
        hidden = self.convolution1(functional.silu(self.norm1(maps)))
        return maps + self.convolution2(functional.silu(self.norm2(hidden)))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NUM_GROUPS, width)


def _convolution(num_in: int, num_out: int) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, kernel_size=3, padding=1)
