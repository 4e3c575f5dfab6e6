"""Representation: what turns frames into latents and latents into frames."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class Representation(Protocol):
    """Frames to latents and back.

    Latents are normalised: over training frames, each channel at each position has mean 0 and deviation 1.
    """

    @property
    def image_size(self) -> int:
        """Height and width of a decoded frame [pixels]; frames of other sizes are resized before encoding."""
        ...

    @property
    def num_tokens(self) -> int:
        """Tokens of a frame; they form a square grid, row by row from the top left."""
        ...

    @property
    def num_channels(self) -> int:
        """Channels of a token that a model generates and that `decode` reads."""
        ...

    @property
    def num_context_channels(self) -> int:
        """Channels of a token that are only read from, never generated; 0 but for the dual representation."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that `encode` depends on; a cache of latents is only good for one."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load_representation` reads into a folder, whole or not at all."""
        ...

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the normalised latents of frames of any size: context channels, then those generated."""
        ...

    def decode(
        self, latents: Float[Tensor, "batch token channel"]
    ) -> UInt8[Tensor, "batch image_size image_size 3"]:
        """Return the frames that normalised latents stand for."""
        ...


def sizes_of(representation: Representation) -> dict[str, int]:
    """Return what a Transfusion must know of its representation, as its constructor names it."""
    return {
        "latent_channels": representation.num_channels,
        "context_channels": representation.num_context_channels,
        "latents_per_frame": representation.num_tokens,
    }
