"""Small recordings on disk, for tests that score against them."""

from pathlib import Path

import numpy as np

from data_tools.pose import integrate
from data_tools.trajectory import Trajectory, write_trajectory

PERIOD_S = 0.25
SPACING_M = 0.5


def displacements(num_steps: int, *, seed: int) -> np.ndarray:
    """Return steps of exactly the spacing, in all directions, with turns."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(-0.3, 0.3, (2, num_steps))
    return np.stack([SPACING_M * np.cos(turns[0]), SPACING_M * np.sin(turns[0]), turns[1]], axis=1)


def frames(num_frames: int, *, seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Return smooth frames in greys from 60 to 180, so that a few more or fewer do not saturate."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [
        120 + 60 * np.sin(0.2 * rows + 0.15 * columns + 0.4 * number + seed) for number in range(num_frames)
    ]
    return np.repeat(np.stack(waves)[..., None], 3, axis=-1).astype(np.uint8)


def record(root: Path, name: str = "drive", *, num_frames: int = 20, seed: int = 0) -> Trajectory:
    """Write one recording and return what was written; it starts anywhere, facing anywhere."""
    start = np.array([3.0, -2.0, 1.0])
    relative = np.concatenate([np.zeros((1, 3)), integrate(displacements(num_frames - 1, seed=seed))])
    cosine, sine = np.cos(start[2]), np.sin(start[2])
    x = start[0] + cosine * relative[:, 0] - sine * relative[:, 1]
    y = start[1] + sine * relative[:, 0] + cosine * relative[:, 1]
    trajectory = Trajectory(
        name=name,
        place="yard",
        frames=list(frames(num_frames, seed=seed)),
        poses=np.stack([x, y, relative[:, 2] + start[2]], axis=1),
        times_s=np.arange(num_frames) * PERIOD_S,
    )
    write_trajectory(trajectory, root)
    return trajectory
