"""Planar poses of sources that know six degrees of freedom: which way is ahead, and the heading from above.

The plane is that of the world's two horizontal axes. A heading is the direction of the robot's forward axis
seen from above, which exists unless that axis points straight up or down; then it is NaN.
"""

from enum import Enum

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation


class WorldUp(Enum):
    """Which world axis points up; the plane is spanned by the other two, seen from above."""

    z = "z"  # ROS (REP 103), TUM: x and y
    y = "y"  # computer graphics, HoloLens: x and -z
    minus_z = "minus_z"  # north-east-down of aviation, TartanAir: x and -y
    minus_y = "minus_y"  # KITTI, whose world is its first camera's frame (y down): z and -x


class Forward(Enum):
    """Which axis of the moving body looks ahead."""

    x = "x"  # robots and vehicles (REP 103)
    z = "z"  # cameras of computer vision (x right, y down)
    minus_z = "minus_z"  # cameras of computer graphics (x right, y up)


_AHEAD = {Forward.x: (1.0, 0.0, 0.0), Forward.z: (0.0, 0.0, 1.0), Forward.minus_z: (0.0, 0.0, -1.0)}
_MIN_HORIZONTAL = 1e-6


def planar_poses(
    positions: Float64[np.ndarray, "pose 3"],
    rotations: Float64[np.ndarray, "pose 3 3"],
    *,
    up: WorldUp,
    forward: Forward,
) -> Float64[np.ndarray, "pose 3"]:
    """Return poses (x, y, yaw) [m, m, rad] seen from above.

    Args:
        positions: Of the body in the world [m].
        rotations: From the body's axes to the world's.
        up: The world's vertical.
        forward: The body's axis that looks ahead.

    Returns:
        Right-handed planar poses, yaw counter-clockwise; yaw is NaN where the forward axis is vertical.
    """
    ahead = from_above(rotations @ np.array(_AHEAD[forward]), up=up)
    yaw_rad = np.arctan2(ahead[:, 1], ahead[:, 0])
    yaw_rad[np.hypot(ahead[:, 0], ahead[:, 1]) < _MIN_HORIZONTAL] = np.nan
    return np.column_stack([from_above(positions, up=up), yaw_rad])


def from_above(vectors: Float64[np.ndarray, "pose 3"], *, up: WorldUp) -> Float64[np.ndarray, "pose 2"]:
    """Return the horizontal part of world vectors, as a right-handed pair seen from above."""
    match up:
        case WorldUp.z:
            return vectors[:, [0, 1]]
        case WorldUp.minus_z:
            return np.column_stack([vectors[:, 0], -vectors[:, 1]])
        case WorldUp.y:
            return np.column_stack([vectors[:, 0], -vectors[:, 2]])
        case WorldUp.minus_y:
            return np.column_stack([vectors[:, 2], -vectors[:, 0]])


def quaternion_matrices(xyzw: Float64[np.ndarray, "pose 4"]) -> Float64[np.ndarray, "pose 3 3"]:
    """Return rotation matrices of quaternions (x, y, z, w) of any length; NaN where a length is 0 or NaN."""
    lengths = np.linalg.norm(xyzw, axis=1)
    is_usable = np.isfinite(lengths) & (lengths > 0)
    matrices = np.full((len(xyzw), 3, 3), np.nan)
    if is_usable.any():
        matrices[is_usable] = Rotation.from_quat(xyzw[is_usable]).as_matrix()
    return matrices
