"""Free space: how far the robot could walk in each direction that it sees, from a depth image."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from envs.clearance import HEAD_ROOM_M, STEP_UP_M, UNITS_PER_M

CAMERA_HEIGHT_M = 41 / UNITS_PER_M


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """Distance to the nearest obstacle along rays, from left to right.

    Attributes:
        bearing_rad: Directions in the robot frame, counter-clockwise positive (the first is leftmost).
        distance_m: Distance along each ray [m].
    """

    bearing_rad: Float[np.ndarray, " ray"]
    distance_m: Float[np.ndarray, " ray"]

    def ahead_m(self, *, half_width_m: float = 0.5) -> float:
        """Return how far a robot of this half width can walk straight ahead [m]."""
        is_in_corridor = np.abs(self.distance_m * np.sin(self.bearing_rad)) < half_width_m
        ahead_m = np.where(is_in_corridor, self.distance_m * np.cos(self.bearing_rad), np.inf)
        straight = np.abs(self.bearing_rad).argmin()
        return float(min(ahead_m.min(), self.distance_m[straight]))

    def left_m(self) -> float:
        """Return the mean free distance on the left third of the view [m]."""
        return float(self.distance_m[: max(1, len(self.distance_m) // 3)].mean())

    def right_m(self) -> float:
        """Return the mean free distance on the right third of the view [m]."""
        return float(self.distance_m[-max(1, len(self.distance_m) // 3) :].mean())

    def freer_side(self, *, rng: np.random.Generator) -> float:
        """Return +1 (left) or -1 (right): the freer side more often, never always, or corners are traps."""
        left_m, right_m = self.left_m(), self.right_m()
        return 1.0 if rng.random() < left_m**2 / max(left_m**2 + right_m**2, 1e-9) else -1.0


@dataclass(frozen=True, kw_only=True)
class _Rays:
    """Which pixels of a depth image are looked at, and where they look; `firsts`: each ray's first column."""

    rows: Int[np.ndarray, " row"]
    columns: Int[np.ndarray, " column"]
    slope: Float[np.ndarray, "row 1"]
    cosine: Float[np.ndarray, " column"]
    firsts: Int[np.ndarray, " ray"]
    bearing_rad: Float[np.ndarray, " ray"]


def free_space_from_depth(
    depth_m: Float[np.ndarray, "height width"], *, field_of_view_rad: float = math.pi / 2, num_rays: int = 20
) -> FreeSpace:
    """Return the free space that a depth image shows.

    A pixel is an obstacle if its surface is higher than a step above the robot's floor and lower than its
    head; of each ray's columns the nearest obstacle counts. Depth is planar: along the camera's axis [m].
    """
    rays = _rays(*depth_m.shape, field_of_view_rad, num_rays)
    sampled_m = depth_m[rays.rows[:, None], rays.columns]
    surface_m = CAMERA_HEIGHT_M - sampled_m * rays.slope
    is_obstacle = (surface_m > STEP_UP_M + 0.05) & (surface_m < HEAD_ROOM_M)
    nearest_m = np.where(is_obstacle, sampled_m, sampled_m.max()).min(axis=0)
    return FreeSpace(
        bearing_rad=rays.bearing_rad, distance_m=np.minimum.reduceat(nearest_m / rays.cosine, rays.firsts)
    )


@lru_cache(maxsize=8)
def _rays(height: int, width: int, field_of_view_rad: float, num_rays: int) -> _Rays:
    if width < num_rays:
        raise ValueError(f"needed a depth image of at least {num_rays} columns, got {width}")
    focal_px = width / 2 / math.tan(field_of_view_rad / 2)
    # 40 x 80 pixels are enough to find what stands in the way, and take a sixth of the time.
    rows = np.arange(0, height, max(1, height // 40))
    columns = np.arange(0, width, max(1, width // 80))
    bearing_rad = -np.arctan((columns + 0.5 - width / 2) / focal_px)
    groups = np.array_split(np.arange(len(columns)), num_rays)
    return _Rays(
        rows=rows,
        columns=columns,
        slope=((rows + 0.5 - height / 2) / focal_px)[:, None],
        cosine=np.cos(bearing_rad),
        firsts=np.array([group[0] for group in groups]),
        bearing_rad=np.array([bearing_rad[group].mean() for group in groups]),
    )
