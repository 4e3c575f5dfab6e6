"""Drive: the most that one step may ask for, and what happened when displacements were driven."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8

MAX_STEP_M = 0.6
"""The most that one step may ask for ahead, back and to each side [m]."""
MAX_TURN_RAD = 1.0


@dataclass(frozen=True, kw_only=True)
class DriveResult:
    """The last frame, and after each step the pose reached and whether the displacement was cut short.

    Poses are absolute (x, y, yaw) [m, m, rad].
    """

    frame: UInt8[np.ndarray, "height width 3"]
    poses: Float64[np.ndarray, "step 3"]
    collided: Bool[np.ndarray, " step"]
