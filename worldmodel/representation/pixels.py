"""PixelsCodec: the pixels of square patches are the features; nothing is lost, nothing is learned."""

from dataclasses import asdict, dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldmodel.representation.codec import Codec, CodecShape
from worldmodel.representation.kind import Kind


@dataclass(frozen=True, kw_only=True)
class PixelsConfig:
    """Patches of a frame; the defaults are nano's: 16 tokens of 768. The paper's are 14 of 224 pixels."""

    image_size: int = 64
    """Height and width of a frame [pixels]."""
    patch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse patches that do not divide a frame."""
        if self.patch_size < 1 or self.image_size < 1 or self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}"
            )


class PixelsCodec(Codec):
    """Patches row by row from the top left; a token's channels are levels in [-1, 1], colour by colour."""

    def __init__(self, config: PixelsConfig) -> None:
        shape = CodecShape(
            input_size=config.image_size,
            image_size=config.image_size,
            num_tokens=(config.image_size // config.patch_size) ** 2,
            num_channels=3 * config.patch_size**2,
        )
        super().__init__(Kind.pixels, asdict(config), shape)
        self.config = config

    def to_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token channel"]:
        """Cut images into patches."""
        size = self.config.patch_size
        return rearrange(
            2 * images - 1,
            "batch rgb (row height) (column width) -> batch (row column) (rgb height width)",
            height=size,
            width=size,
        )

    def to_images(
        self, features: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Put patches together."""
        size = self.config.patch_size
        images = rearrange(
            features,
            "batch (row column) (rgb height width) -> batch rgb (row height) (column width)",
            row=self.config.image_size // size,
            height=size,
            width=size,
        )
        return (images + 1) / 2
