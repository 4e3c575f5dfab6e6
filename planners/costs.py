"""Costs: how far a frame, or its latents, is from the goal's. Lower is better, 0 is equal."""

from enum import Enum

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor

PIXEL_SIDE = 64
PIXEL_POOLINGS = (1, 4, 16)


class Distance(Enum):
    """How two latent vectors are compared."""

    squared = "squared"
    absolute = "absolute"
    cosine = "cosine"
    """1 - cosine of the channels, RAE-NWM's."""


def pixel_cost(
    frames: UInt8[Tensor, "*batch height width 3"], goal: UInt8[Tensor, "*batch goal_height goal_width 3"]
) -> Float[Tensor, " *batch"]:
    """Return the mean absolute difference [0..1] at three scales, averaged.

    Frames of any size are resized by area to 64 x 64 and compared there, at 1/4 (16 x 16) and at 1/16
    (4 x 4): fine detail tells close poses apart, the coarse scales still see the goal when no pixel matches.
    """
    assert frames.shape[:-3] == goal.shape[:-3], "expand the goal over the candidates first"
    difference = _square(frames) - _square(goal)
    # Pooling is linear: the difference of the pooled is the pooled difference.
    scales = [F.avg_pool2d(difference, pooling).abs().mean(dim=(1, 2, 3)) for pooling in PIXEL_POOLINGS]
    return torch.stack(scales).mean(dim=0).reshape(frames.shape[:-3])  # *batch


def latent_cost(
    latents: Float[Tensor, "*batch token channel"],
    goal: Float[Tensor, "*batch token channel"],
    *,
    distance: Distance = Distance.squared,
) -> Float[Tensor, " *batch"]:
    """Return the difference of two token grids, summed over scales.

    The square grid is compared as it is, pooled to 2 x 2, and pooled to one token; each scale counts by its
    mean over tokens and channels.
    """
    assert latents.shape == goal.shape, "expand the goal over the candidates first"
    side = round(latents.shape[-2] ** 0.5)
    if side * side != latents.shape[-2]:
        raise ValueError(f"latents must be a square grid of tokens; got {latents.shape[-2]} tokens")
    # float32: differences between close candidates drown in half precision.
    grids = [
        rearrange(
            each.float().reshape(-1, *each.shape[-2:]),
            "batch (row column) channel -> batch channel row column",
            row=side,
        )
        for each in (latents, goal)
    ]
    total = torch.zeros(grids[0].shape[0], device=latents.device)
    for size in sorted({side, min(side, 2), 1}):
        ours, theirs = (F.adaptive_avg_pool2d(grid, size) for grid in grids)
        total = total + _compare(ours, theirs, distance)
    return total.reshape(latents.shape[:-2])  # *batch


def _compare(
    ours: Float[Tensor, "batch channel row column"],
    theirs: Float[Tensor, "batch channel row column"],
    distance: Distance,
) -> Float[Tensor, " batch"]:
    match distance:
        case Distance.squared:
            each = (ours - theirs).square()
        case Distance.absolute:
            each = (ours - theirs).abs()
        case Distance.cosine:
            each = 1 - F.cosine_similarity(ours, theirs, dim=1)
    return reduce(each, "batch ... -> batch", "mean")


def _square(frames: UInt8[Tensor, "*batch height width 3"]) -> Float[Tensor, "flat 3 side side"]:
    images = rearrange(frames.flatten(end_dim=-4) if frames.ndim > 3 else frames[None], "n h w c -> n c h w")
    return F.adaptive_avg_pool2d(images.float() / 255, PIXEL_SIDE)
