"""Masked completion: the pretext task that trains the encoder, across two views or within one.

Cross view (CroCo, arXiv 2210.10716): some patches of the first view are hidden; from the visible ones and
from the whole second view, taken a few steps away on the same path, a throw-away decoder completes the
first. What is hidden can be found in the second view only by knowing how the camera moved, so features come
to tell motion. Single view (MAE, arXiv 2111.06377) is the control: the same without a second view.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2WithRegistersModel

from worldmodel.representation.rae import initialise


class Views(Enum):
    """What completes a masked view."""

    cross = "cross"
    """Its visible patches and a second view."""
    single = "single"
    """Its visible patches alone."""


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """The pretext task and its decoder."""

    views: Views = Views.cross
    mask_share: float = 0.75
    """Share of the patches of a view that are hidden, in (0, 1)."""
    max_gap: int = 12
    """Most steps between the two views of a pair; at least 1."""
    contrast_floor: float = 0.1
    """Error of a patch is divided by its variance plus the square of this, on the scale [-1, 1]: small
    values make a
    faint texture count like a strong one (as MAE's normalised pixels), large ones leave plain squared
    error."""
    decoder_hidden_size: int = 128
    decoder_num_layers: int = 2
    decoder_num_heads: int = 4

    def __post_init__(self) -> None:
        """Refuse a task that hides nothing or everything."""
        if not 0.0 < self.mask_share < 1.0:
            raise ValueError(f"mask_share must be between 0 and 1, got {self.mask_share}")
        if self.max_gap < 1:
            raise ValueError(f"max_gap must be at least 1 step, got {self.max_gap}")
        if not self.contrast_floor > 0.0:
            raise ValueError(f"contrast_floor must be above 0, got {self.contrast_floor}")


class MaskedCompletion(nn.Module):
    """The encoder that is to be trained, and the decoder that is thrown away afterwards."""

    def __init__(
        self,
        encoder: Dinov2WithRegistersModel,
        config: MaskedConfig,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        num_tokens = encoder.embeddings.position_embeddings.shape[1] - 1
        num_hidden = round(num_tokens * config.mask_share)
        if not 0 < num_hidden < num_tokens:
            raise ValueError(
                f"needed a mask_share that hides some of a frame's {num_tokens} patches and not all, "
                f"{config.mask_share} hides {num_hidden}"
            )
        self.config = config
        self.encoder = encoder
        self.patch = patch_size_of(encoder)
        self.decoder = PretextDecoder(encoder, config)
        initialise(self.decoder, generator=generator)

    def forward(
        self,
        first: UInt8[Tensor, "batch height width 3"],
        second: UInt8[Tensor, "batch height width 3"],
        order: Int64[Tensor, "batch token"],
    ) -> Float[Tensor, ""]:
        """Return the mean squared error of completing `first`.

        Args:
            first: Views of which a part is hidden.
            second: Views of the same places from elsewhere; not looked at if the task is single-view.
            order: A random order of the tokens for each sample; the first of them stay visible.

        Returns:
            The error over hidden patches, float32.
        """
        num_visible = order.shape[1] - round(order.shape[1] * self.config.mask_share)
        keep = order[:, :num_visible]
        patches = to_patches(first, patch=self.patch)
        visible = encode_tokens(self.encoder, patches, keep=keep)
        match self.config.views:
            case Views.cross:
                other = to_patches(second, patch=self.patch)
                memory = encode_tokens(self.encoder, other, keep=None)
            case Views.single:
                memory = None
        completed = self.decoder(visible, keep, memory)
        hidden = order[:, num_visible:]
        errors = patch_errors(completed, patches, contrast_floor=self.config.contrast_floor)
        return errors.gather(1, hidden).mean()


class PretextDecoder(nn.Module):
    """A small transformer from visible tokens, and another view's tokens, to the pixels of all patches."""

    def __init__(self, encoder: Dinov2WithRegistersModel, config: MaskedConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        num_tokens = encoder.embeddings.position_embeddings.shape[1] - 1
        self.embed = nn.Linear(encoder.config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.memory_positions = nn.Parameter(torch.zeros(1, num_tokens, width))
        has_memory = config.views is Views.cross
        self.layers = nn.ModuleList(
            DecoderLayer(width, config.decoder_num_heads, has_memory=has_memory)
            for _ in range(config.decoder_num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, 3 * patch_size_of(encoder) ** 2)

    def forward(
        self,
        visible: Float[Tensor, "batch visible channel"],
        keep: Int64[Tensor, "batch visible"],
        memory: Float[Tensor, "batch token channel"] | None,
    ) -> Float[Tensor, "batch token pixel"]:
        """Return the pixels of all patches, given the encoded visible ones and where they stand."""
        embedded = self.embed(visible)
        blank = self.mask_token.expand(visible.shape[0], self.positions.shape[1], -1)
        where = repeat(keep, "batch visible -> batch visible width", width=embedded.shape[2])
        tokens = blank.scatter(1, where, embedded) + self.positions
        other = None if memory is None else self.embed(memory) + self.memory_positions
        for layer in self.layers:
            tokens = layer(tokens, other)
        return self.predict(self.norm(tokens))


class DecoderLayer(nn.Module):
    """Self-attention, attention to the other view if there is one, feed-forward; pre-norm."""

    def __init__(self, width: int, num_heads: int, *, has_memory: bool) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.attend_self = Attention(width, num_heads)
        self.norm_cross = nn.LayerNorm(width) if has_memory else None
        self.attend_cross = Attention(width, num_heads) if has_memory else None
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, tokens: Float[Tensor, "batch token width"], memory: Float[Tensor, "batch other width"] | None
    ) -> Float[Tensor, "batch token width"]:
        """Return the tokens one layer on."""
        normed = self.norm_self(tokens)
        tokens = tokens + self.attend_self(normed, normed)
        if memory is not None:
            assert self.norm_cross is not None and self.attend_cross is not None
            tokens = tokens + self.attend_cross(self.norm_cross(tokens), memory)
        return tokens + self.feed(self.norm_feed(tokens))


class Attention(nn.Module):
    """Multi-head attention, written out: on a CPU faster than the fused kernel at 16 tokens."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], source: Float[Tensor, "batch other width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return what each token gathers from the source."""
        query = rearrange(self.query(tokens), "b token (head dim) -> b head token dim", head=self.num_heads)
        key, value = rearrange(
            self.key_value(source),
            "b other (two head dim) -> two b head other dim",
            two=2,
            head=self.num_heads,
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        gathered = scores.softmax(dim=-1) @ value
        return self.out(rearrange(gathered, "b head token dim -> b token (head dim)"))


def patch_size_of(encoder: Dinov2WithRegistersModel) -> int:
    """Return the side of the encoder's patches [pixels]."""
    return encoder.embeddings.patch_embeddings.projection.kernel_size[0]


def to_patches(
    frames: UInt8[Tensor, "batch height width 3"], *, patch: int
) -> Float[Tensor, "batch token pixel"]:
    """Cut frames into square patches, row by row from the top left, as floats in [-1, 1]."""
    cut = rearrange(frames, "b (row ph) (col pw) rgb -> b (row col) (rgb ph pw)", ph=patch, pw=patch)
    return cut.float() / 127.5 - 1


def encode_tokens(
    encoder: Dinov2WithRegistersModel,
    patches: Float[Tensor, "batch token pixel"],
    *,
    keep: Int64[Tensor, "batch visible"] | None,
) -> Float[Tensor, "batch visible channel"]:
    """Encode patches as the encoder's own forward does, but only those in `keep` (None keeps all, in order).

    Hidden patches are dropped before the first layer, which is what makes masked pretraining cheap.
    """
    embeddings = encoder.embeddings
    projection = embeddings.patch_embeddings.projection
    tokens = functional.linear(
        patches.to(projection.weight.dtype), projection.weight.flatten(1), projection.bias
    )
    tokens = tokens + embeddings.position_embeddings[:, 1:]
    if keep is not None:
        tokens = tokens.gather(1, repeat(keep, "batch visible -> batch visible width", width=tokens.shape[2]))
    start = embeddings.cls_token + embeddings.position_embeddings[:, :1]
    extra = torch.cat([start, embeddings.register_tokens], dim=1)
    hidden = torch.cat([extra.expand(tokens.shape[0], -1, -1), tokens], dim=1)
    for layer in encoder.encoder.layer:
        hidden = layer(hidden)
    return encoder.layernorm(hidden)[:, extra.shape[1] :]


def patch_errors(
    completed: Float[Tensor, "batch token pixel"],
    patches: Float[Tensor, "batch token pixel"],
    *,
    contrast_floor: float,
) -> Float[Tensor, "batch token"]:
    """Return each patch's squared error over (its variance + contrast_floor^2), float32.

    Source: MAE divides by the variance too, but first takes the mean off the target; here brightness counts
    as well, since it tells walls apart.
    """
    error = reduce((completed.float() - patches).square(), "batch token pixel -> batch token", "mean")
    return error / (patches.var(dim=2) + contrast_floor**2)
