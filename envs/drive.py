"""DriveResult: what happened when displacements were driven."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8


@dataclass(frozen=True, kw_only=True)
class DriveResult:
    """The last frame, and after each step the pose reached and whether the displacement was cut short.

    Poses are absolute (x, y, yaw) [m, m, rad].
    """

    frame: UInt8[np.ndarray, "height width 3"]
    poses: Float64[np.ndarray, "step 3"]
    collided: Bool[np.ndarray, " step"]
