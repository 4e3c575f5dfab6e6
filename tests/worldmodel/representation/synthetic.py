"""Small frames and trajectories that the tests of this package make themselves."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from data_tools.trajectory import Trajectory
from worldmodel.representation.rae import RaeConfig

TINY = RaeConfig(
    image_size=32,
    patch_size=16,
    hidden_size=64,
    num_layers=1,
    decoder_hidden_size=24,
    decoder_num_layers=1,
    decoder_num_heads=3,
    decoder_intermediate_size=40,
)


def make_frames(
    num_frames: int, *, seed: int, height: int = 32, width: int = 32
) -> UInt8[Tensor, "frame h w 3"]:
    """Return frames of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, height, width, 3), dtype=torch.uint8, generator=generator)


def make_trajectory(name: str, num_frames: int, *, seed: int) -> Trajectory:
    """Return a trajectory of noise that drives straight on at 0.3 m a step."""
    poses = np.zeros((num_frames, 3))
    poses[:, 0] = 0.3 * np.arange(num_frames)
    return Trajectory(
        name=name,
        place="nowhere",
        frames=make_frames(num_frames, seed=seed, height=30, width=40).numpy(),
        poses=poses,
        times_s=0.25 * np.arange(num_frames),
    )
