"""Poses and displacements: where a robot is, and how it moved, in the plane.

A pose is `(x, y, yaw)` [m, m, rad], right-handed, x forward at yaw 0, y left, yaw counter-clockwise.
A displacement is `(dx, dy, dyaw)` [m, m, rad], in the robot frame of the earlier of two poses.
"""

import numpy as np
from jaxtyping import Float


def wrap_angle(angle_rad: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Return the same directions in [-pi, pi) [rad]; what is in that range already stays bit for bit."""
    pi = angle_rad.dtype.type(np.pi)
    wrapped = np.asarray((angle_rad + pi) % (2 * pi) - pi)
    # Just below -pi the remainder rounds up to 2 pi, which would give +pi.
    wrapped = np.where(wrapped >= pi, -pi, wrapped)
    return np.where((angle_rad >= -pi) & (angle_rad < pi), angle_rad, wrapped).astype(angle_rad.dtype)


def displacement_between(
    start: Float[np.ndarray, "*batch 3"], end: Float[np.ndarray, "*batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """Return the displacement from pose `start` to pose `end` [m, m, rad], the turn in [-pi, pi)."""
    east, north = end[..., 0] - start[..., 0], end[..., 1] - start[..., 1]
    cosine, sine = np.cos(start[..., 2]), np.sin(start[..., 2])
    turn_rad = wrap_angle(np.asarray(end[..., 2] - start[..., 2]))
    return np.stack([cosine * east + sine * north, cosine * north - sine * east, turn_rad], axis=-1)


def move(
    pose: Float[np.ndarray, "*batch 3"], displacement: Float[np.ndarray, "*batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """Return the pose after a displacement, yaw in [-pi, pi): the inverse of `displacement_between`."""
    ahead, left = displacement[..., 0], displacement[..., 1]
    cosine, sine = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    x, y = pose[..., 0] + cosine * ahead - sine * left, pose[..., 1] + sine * ahead + cosine * left
    return np.stack([x, y, wrap_angle(np.asarray(pose[..., 2] + displacement[..., 2]))], axis=-1)


def integrate(displacements: Float[np.ndarray, "*batch step 3"]) -> Float[np.ndarray, "*batch step 3"]:
    """Return the pose after each step, in the robot frame of the start.

    Each displacement is in the robot frame in which its own step begins: pose_k = pose_{k-1} moved by step k,
    pose_0 = 0.
    """
    heading_rad = np.cumsum(displacements[..., 2], axis=-1)
    before_rad = heading_rad - displacements[..., 2]
    cosine, sine = np.cos(before_rad), np.sin(before_rad)
    ahead, left = displacements[..., 0], displacements[..., 1]
    x = np.cumsum(cosine * ahead - sine * left, axis=-1)
    y = np.cumsum(sine * ahead + cosine * left, axis=-1)
    return np.stack([x, y, wrap_angle(heading_rad)], axis=-1)


def compose(displacements: Float[np.ndarray, "*batch step 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Return the one displacement that all steps together make; of no steps, standing still."""
    if displacements.shape[-2] == 0:
        return np.zeros_like(displacements, shape=(*displacements.shape[:-2], 3))
    return integrate(displacements)[..., -1, :]
