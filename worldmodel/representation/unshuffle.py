"""Unshuffling: maps of latents as tokens, each a square of them side by side in its channels, and back."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

SQUARE = 2
"""Height and width of the squares: with latents of 8 x 8 pixels a token is of 16 x 16, as in DiT."""


def to_tokens(maps: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch token feature"]:
    """Return tokens row by row from the top left; channels are those of `nn.PixelUnshuffle(2)`."""
    return rearrange(
        maps,
        "batch channel (row high) (column wide) -> batch (row column) (channel high wide)",
        high=SQUARE,
        wide=SQUARE,
    )


def to_maps(
    tokens: Float[Tensor, "batch token feature"], *, num_rows: int
) -> Float[Tensor, "batch channel height width"]:
    """Undo `to_tokens` for a grid of `num_rows` rows of tokens."""
    return rearrange(
        tokens,
        "batch (row column) (channel high wide) -> batch channel (row high) (column wide)",
        row=num_rows,
        high=SQUARE,
        wide=SQUARE,
    )
