"""PublicVae: an autoencoder of others, trained on photographs, as diffusers reads it.

AutoencoderKL in the form of Stable Diffusion (4 channels, scaled) and of FLUX (16 channels, shifted and
scaled), and AutoencoderTiny, which imitates either. The features are means: nothing is drawn.
"""

import inspect
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from jaxtyping import Float
from torch import Tensor

from worldmodel.representation.codec import Codec, CodecShape
from worldmodel.representation.kind import Kind
from worldmodel.representation.unshuffle import SQUARE, to_maps, to_tokens

Autoencoder = AutoencoderKL | AutoencoderTiny

SD: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
"""Form of Stable Diffusion's autoencoder."""
FLUX: dict[str, Any] = SD | {
    "latent_channels": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""Form of that of FLUX.1."""


@dataclass(frozen=True, kw_only=True)
class PublicVaeConfig:
    """Size of the frames, and the form of the network."""

    image_size: int = 256
    """Height and width of a frame [pixels]: 256 tokens with the forms above."""
    network: dict[str, Any] = field(default_factory=lambda: dict(SD))
    """Arguments of the class of diffusers."""


class PublicVae(Codec):
    """Frames in [-1, 1] to shifted and scaled maps of latents, and squares of those as tokens."""

    def __init__(self, kind: Kind, config: PublicVaeConfig) -> None:
        # The constructors draw from torch's global generator; the draws are overwritten and it is put back.
        with torch.random.fork_rng(devices=[]):
            autoencoder = _build(kind, config.network)
        side = SQUARE * 2 ** (len(_widths(autoencoder)) - 1)
        if config.image_size < 1 or config.image_size % side:
            raise ValueError(
                f"image_size {config.image_size} must be a multiple of {side} pixels, the size of a token of "
                "this autoencoder"
            )
        num_rows = config.image_size // side
        shape = CodecShape(
            input_size=config.image_size,
            image_size=config.image_size,
            num_tokens=num_rows**2,
            num_channels=int(autoencoder.config["latent_channels"]) * SQUARE**2,
        )
        super().__init__(kind, asdict(config), shape)
        self.autoencoder, self._num_rows = autoencoder, num_rows

    def to_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return the scaled means as tokens."""
        images = 2 * images - 1
        if isinstance(self.autoencoder, AutoencoderKL):
            maps = self.autoencoder.encode(images, return_dict=False)[0].mode()
        else:
            maps = self.autoencoder.encode(images, return_dict=False)[0]
        shift, scale = self._shift_and_scale
        return to_tokens((maps - shift) * scale)

    def to_images(
        self, features: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Decode tokens."""
        shift, scale = self._shift_and_scale
        maps = to_maps(features, num_rows=self._num_rows) / scale + shift
        made = self.autoencoder.decode(maps, return_dict=False)[0]  # pyright: ignore[reportArgumentType]
        return (made + 1) / 2

    @property
    def _shift_and_scale(self) -> tuple[float, float]:
        config = self.autoencoder.config
        return float(config["shift_factor"] or 0.0), float(config["scaling_factor"])


def network_of(autoencoder: Autoencoder) -> dict[str, Any]:
    """Return the arguments that an autoencoder of diffusers was made with, as plain containers.

    Its configuration holds others too, which it was found with or which follow from those.
    """
    known = inspect.signature(type(autoencoder).__init__).parameters
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in autoencoder.config.items()
        if name in known
    }


def _build(kind: Kind, network: dict[str, Any]) -> Autoencoder:
    if kind is Kind.autoencoder_kl:
        return AutoencoderKL(**network)
    assert kind is Kind.autoencoder_tiny
    return AutoencoderTiny(**network)


def _widths(autoencoder: Autoencoder) -> list[int]:
    is_kl = isinstance(autoencoder, AutoencoderKL)
    return list(autoencoder.config["block_out_channels" if is_kl else "encoder_block_out_channels"])
