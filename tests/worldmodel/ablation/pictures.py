"""Recordings with pictures, and a representation that loses nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from data_tools.trajectory import Trajectory
from tests.data_tools.recordings import drive

SIZE = 8


class Lossless:
    """Four tokens a frame of 8 x 8 pixels: its patches, from -1 to 1."""

    image_size = SIZE
    num_tokens = 4
    num_channels = 48
    num_context_channels = 0
    fingerprint = "lossless"

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        patches = rearrange(frames, "b (row h) (column w) rgb -> b (row column) (h w rgb)", h=4, w=4)
        return patches.float() / 127.5 - 1

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        levels = ((latents + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return rearrange(
            levels, "b (row column) (h w rgb) -> b (row h) (column w) rgb", row=2, h=4, w=4, rgb=3
        )


def drive_with_pictures(num_frames: int, *, seed: int, size: int = SIZE) -> Trajectory:
    """Return a drive whose frames are noise."""
    frames = np.random.default_rng(seed).integers(256, size=(num_frames, size, size, 3), dtype=np.uint8)
    return replace(drive(num_frames, seed=seed), frames=list(frames))
