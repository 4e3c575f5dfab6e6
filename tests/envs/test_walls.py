"""Walls enclose the player, and nobody who drives crosses them."""

import numpy as np

from envs.level_geometry import read_geometry
from envs.walls import wall_lines


def _is_crossed(start: np.ndarray, end: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Whether the segment from start to end [*batch 2] crosses any of the lines."""
    along, wall = (end - start)[..., None, :], lines[:, 2:] - lines[:, :2]
    between = lines[:, :2] - start[..., None, :]
    cross = along[..., 0] * wall[:, 1] - along[..., 1] * wall[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        on_path = (between[..., 0] * wall[:, 1] - between[..., 1] * wall[:, 0]) / cross
        on_wall = (between[..., 0] * along[..., 1] - between[..., 1] * along[..., 0]) / cross
    return np.asarray(((on_path >= 0) & (on_path <= 1) & (on_wall >= 0) & (on_wall <= 1)).any(axis=-1))


def test_every_way_out_of_the_start_meets_a_wall() -> None:
    walls = wall_lines("map01")
    assert len(np.unique(walls, axis=0)) == len(walls)
    start = read_geometry("map01").start_pose[:2]
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False) + 1e-3
    ends = start + 1000 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    assert _is_crossed(start, ends, walls).all()
    assert not _is_crossed(start, start + 0.3 * (ends - start) / 1000, walls).any(), "the robot has room"
