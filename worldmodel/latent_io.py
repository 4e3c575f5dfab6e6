"""Latent input and output: one linear layer each way, or a small U-Net around the transformer.

The U-Net is that of the first Transfusion (arXiv 2408.11039, section 3.1), one level deep: a frame of g x g
tokens is laid out as 2g x 2g pixels of a quarter of the channels, goes through residual blocks that know the
flow time, and comes down to g x g tokens of the transformer's width. The way out mirrors it, and reads beside
the hidden states what the way in had made of the same frame.
"""

import math
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldmodel.feedforward import Linear

NUM_GROUPS = 8
"""Groups of channels that are normalised together."""
PATCH = 2
"""Rows and columns of pixels in a token."""
KERNEL = 3


class LatentIo(Enum):
    """How latents enter and leave the transformer."""

    linear = "linear"  # arXiv 2603.03276
    unet = "unet"  # arXiv 2408.11039


@dataclass(frozen=True, kw_only=True)
class UnetConfig:
    """Size of the U-Net."""

    channels: int = 64
    """Of a pixel; a multiple of 8."""
    num_blocks: int = 1
    """Residual blocks each way."""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.channels % NUM_GROUPS or self.num_blocks < 1:
            raise ValueError(
                f"unet.channels must be a multiple of {NUM_GROUPS} and unet.num_blocks at least 1, got "
                f"{self.channels} and {self.num_blocks}"
            )


@dataclass(frozen=True, kw_only=True)
class LatentShape:
    """What enters and leaves: frames of tokens, each with channels to look at and channels to generate."""

    latent_channels: int
    context_channels: int = 0
    latents_per_frame: int | None = None
    """Tokens of a frame; the linear layer takes them one by one and need not know."""

    @property
    def channels_in(self) -> int:
        """Channels of a token that enters."""
        return self.context_channels + self.latent_channels

    def check_divides(self) -> None:
        """Raise ValueError for what the U-Net cannot lay out as pixels."""
        tokens, patch = self.latents_per_frame, PATCH**2
        is_square = tokens is not None and tokens > 0 and math.isqrt(tokens) ** 2 == tokens
        if not is_square or self.latent_channels % patch or self.context_channels % patch:
            raise ValueError(
                f"latent_io=unet needs frames of a square number of tokens whose channels are a multiple of "
                f"{patch}; got {tokens} tokens of {self.latent_channels} channels ({self.context_channels} "
                "more for context); take latent_io=linear or another representation"
            )


def as_context(
    latents: Float[Tensor, "*batch channel"], *, context_channels: int
) -> Float[Tensor, "*batch channel"]:
    """Return what a frame enters with that is looked at: its context channels alone, if it has any."""
    if context_channels == 0:
        return latents
    return F.pad(latents[..., :context_channels], (0, latents.shape[-1] - context_channels))


def as_generated(
    latents: Float[Tensor, "*batch channel"], *, channels_in: int
) -> Float[Tensor, "*batch {channels_in}"]:
    """Return what a frame enters with that is generated, or was: 0 for the context channels that it lacks."""
    return F.pad(latents, (channels_in - latents.shape[-1], 0))


def to_pixels(latents: Float[Tensor, "frame token channel"]) -> Float[Tensor, "frame pixel_channel row col"]:
    """Lay each token out as 2 x 2 pixels of a quarter of its channels (PixelShuffle)."""
    pixels = rearrange(
        latents,
        "frame (row col) (c pr pc) -> frame c (row pr) (col pc)",
        row=math.isqrt(latents.shape[1]),
        pr=PATCH,
        pc=PATCH,
    )
    # Forward and backward of a convolution take 0.6 to 0.7 of the time with channels last (64 channels, one
    # EPYC core), and bfloat16 another 0.6 of float32: so it computes in the transformer's own precision. Both
    # ways of nano take 88 ms of a core for 1008 tokens and their gradients, linear layers 7 ms (in float32
    # 125 and 12 ms).
    return pixels.contiguous(memory_format=torch.channels_last)


def to_tokens(pixels: Float[Tensor, "frame pixel_channel row col"]) -> Float[Tensor, "frame token channel"]:
    """Undo `to_pixels`."""
    return rearrange(pixels, "frame c (row pr) (col pc) -> frame (row col) (c pr pc)", pr=PATCH, pc=PATCH)


def convolve(
    pixels: Float[Tensor, "frame channel row col"], weight: Float[Tensor, "out_channel fan_in"]
) -> Float[Tensor, "frame out_channel row col"]:
    """Convolve with 3 x 3 kernels, each a row of the weight, in the dtype of the pixels."""
    kernels = rearrange(weight, "out (c kr kc) -> out c kr kc", kr=KERNEL, kc=KERNEL)
    kernels = kernels.to(pixels.dtype, memory_format=torch.channels_last)
    return F.conv2d(pixels, kernels, padding=KERNEL // 2)


class Convolution(nn.Module):
    """A 3 x 3 convolution without bias; its kernels are rows of a matrix, drawn like a linear layer's."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in * KERNEL**2))

    def forward(self, pixels: Float[Tensor, "frame channel row col"]) -> Float[Tensor, "frame out row col"]:
        """Convolve."""
        return convolve(pixels, self.weight)


class Norm(nn.GroupNorm):
    """Group normalisation that computes in the dtype of its input (statistics are float32 inside)."""

    def __init__(self, channels: int) -> None:
        super().__init__(NUM_GROUPS, channels)

    def forward(self, input: Float[Tensor, "frame c row col"]) -> Float[Tensor, "frame c row col"]:
        """Normalise each group of channels over a frame."""
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        return F.group_norm(input, self.num_groups, weight, bias, self.eps)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm x))) (1 + scale(t)) + shift(t))), as in arXiv 2105.05233."""

    def __init__(self, channels_in: int, channels_out: int, width: int) -> None:
        super().__init__()
        self.first_norm = Norm(channels_in)
        self.first = Convolution(channels_in, channels_out)
        self.modulation = Linear(width, 2 * channels_out)
        self.second_norm = Norm(channels_out)
        self.second = Convolution(channels_out, channels_out)
        self.skip = None if channels_in == channels_out else Linear(channels_in, channels_out)

    def forward(
        self, pixels: Float[Tensor, "frame channel row col"], time: Float[Tensor, "frame width"]
    ) -> Float[Tensor, "frame out_channel row col"]:
        """Refine the pixels of frames at these (embedded) times."""
        hidden = self.first(F.silu(self.first_norm(pixels)))
        modulation = rearrange(self.modulation(F.silu(time)), "frame channel -> frame channel 1 1")
        scale, shift = modulation.chunk(2, dim=1)
        hidden = self.second(F.silu(self.second_norm(hidden) * (1 + scale) + shift))
        if self.skip is not None:
            channels_last = self.skip(rearrange(pixels, "frame channel row col -> frame row col channel"))
            pixels = rearrange(channels_last, "frame row col channel -> frame channel row col")
        return pixels + hidden


class UnetInput(nn.Module):
    """The way in: frames to tokens of the transformer's width, and what each block made for the way out."""

    def __init__(self, width: int, shape: LatentShape, config: UnetConfig) -> None:
        super().__init__()
        shape.check_divides()
        assert shape.latents_per_frame is not None
        self.latents_per_frame = shape.latents_per_frame
        channels = config.channels
        self.first = Convolution(shape.channels_in // PATCH**2, channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, channels, width) for _ in range(config.num_blocks)
        )
        self.down = Linear(PATCH**2 * channels, width)

    def forward(
        self, latents: Float[Tensor, "frame token channel"], time: Float[Tensor, "frame width"]
    ) -> tuple[Float[Tensor, "frame token width"], list[Float[Tensor, "frame pixel_channel row col"]]]:
        """Return tokens, and the pixels after each block."""
        pixels = self.first(to_pixels(latents))
        skips = []
        for block in self.blocks:
            pixels = block(pixels, time)
            skips.append(pixels)
        return self.down(to_tokens(pixels)), skips

    def among_text(
        self,
        latents: Float[Tensor, "*batch token channel"],
        time: Float[Tensor, "*batch token width"],
        image: Int[Tensor, " image_token"],
    ) -> Float[Tensor, "*batch token width"]:
        """Return the tokens of whole frames, which lie at `image` of the flattened batch; 0 elsewhere."""
        frame_time = time.flatten(0, -2)[image[:: self.latents_per_frame]]
        frames = latents.flatten(0, -2)[image].unflatten(
            0, (-1, self.latents_per_frame)
        )  # frame token channel
        tokens, _ = self(frames, frame_time)
        placed = torch.zeros_like(time).flatten(0, -2).index_copy(0, image, tokens.flatten(0, 1))
        return placed.view_as(time)  # *batch token width


class UnetOutput(nn.Module):
    """The way out: hidden states of whole frames, and what the way in made of them, to latents."""

    def __init__(self, width: int, shape: LatentShape, config: UnetConfig) -> None:
        super().__init__()
        channels = config.channels
        self.up = Linear(width, PATCH**2 * channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(2 * channels, channels, width) for _ in range(config.num_blocks)
        )
        self.norm = Norm(channels)
        # Of the last convolution; named as the matrix of the linear output, and zero at first like that.
        self.weight = nn.Parameter(torch.empty(shape.latent_channels // PATCH**2, channels * KERNEL**2))

    def forward(
        self,
        hidden: Float[Tensor, "frame token width"],
        skips: list[Float[Tensor, "frame pixel_channel row col"]],
        time: Float[Tensor, "frame width"],
    ) -> Float[Tensor, "frame token channel"]:
        """Return latents; the last block of the way in meets the first of the way out."""
        pixels = to_pixels(self.up(hidden))
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            pixels = block(torch.cat((pixels, skip), dim=1), time)
        return to_tokens(convolve(F.silu(self.norm(pixels)), self.weight))

    def after(
        self,
        way_in: UnetInput,
        hidden: Float[Tensor, "*batch width"],
        entered: Float[Tensor, "*batch channel"],
        time: Float[Tensor, "frame width"],
    ) -> Float[Tensor, "*batch latent_channel"]:
        """Return the latents of whole frames, one after another in `*batch`, that had entered by `way_in`."""
        frame = (-1, way_in.latents_per_frame)
        _, skips = way_in(entered.reshape(*frame, entered.shape[-1]), time)  # frame token channel
        latents = self(hidden.reshape(*frame, hidden.shape[-1]), skips, time)  # frame token channel
        return latents.reshape(*hidden.shape[:-1], latents.shape[-1])  # *batch latent_channel


def latent_layers(
    kind: LatentIo, width: int, shape: LatentShape, unet: UnetConfig
) -> tuple[Linear | UnetInput, Linear | UnetOutput]:
    """Return the layers by which latents enter and leave; ValueError if the shape does not divide."""
    match kind:
        case LatentIo.linear:
            return Linear(shape.channels_in, width), Linear(width, shape.latent_channels)
        case LatentIo.unet:
            return UnetInput(width, shape, unet), UnetOutput(width, shape, unet)


def way_in_flops(layer: UnetInput) -> int:
    """Return the floating-point operations of one token's way in, two for each product."""
    pixels = PATCH**2 * sum(each.weight.numel() for each in _convolutions(layer))
    return 2 * (pixels + layer.down.weight.numel() + _modulations(layer) // layer.latents_per_frame)


def way_out_flops(layer: UnetOutput, *, latents_per_frame: int) -> int:
    """Return those of its way out, without the way in that is computed once more for it."""
    skips = sum(block.skip.weight.numel() for block in _blocks(layer) if block.skip is not None)
    pixels = PATCH**2 * (
        sum(each.weight.numel() for each in _convolutions(layer)) + skips + layer.weight.numel()
    )
    return 2 * (pixels + layer.up.weight.numel() + _modulations(layer) // latents_per_frame)


def kept_numbers(config: UnetConfig, width: int) -> int:
    """Return how many numbers autograd keeps of a token, about: both ways, the way in twice.

    Of each convolution and each norm its input, of each SiLU its input, of the modulation what it scales; of
    the linear layers between pixels and tokens their input.
    """
    pixel = PATCH**2 * config.channels
    way_in = config.num_blocks * 7 * pixel + pixel
    way_out = config.num_blocks * (2 + 3 * 2 + 2 + 4) * pixel + 3 * pixel + width
    return 2 * way_in + way_out


def _convolutions(layer: nn.Module) -> list[Convolution]:
    return [each for each in layer.modules() if isinstance(each, Convolution)]


def _modulations(layer: UnetInput | UnetOutput) -> int:
    return sum(block.modulation.weight.numel() for block in _blocks(layer))


def _blocks(layer: nn.Module) -> list[ResidualBlock]:
    return [each for each in layer.modules() if isinstance(each, ResidualBlock)]
