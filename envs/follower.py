"""Follower: drives shortest paths, the agent that knows the map."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from data_tools.pose import displacement_between
from envs.geodesic import DistanceField


@dataclass(frozen=True, kw_only=True)
class ShortestPathFollower:
    """Walks to the goal of a distance field, looking where it goes, and stops there.

    It goes straight to the farthest visible point of the path, and turns on the spot first if that point is
    more than `walk_bearing_rad` off its heading. `step_m` and `max_turn_rad` are the most of one step.
    """

    field: DistanceField
    step_m: float = 0.3
    max_turn_rad: float = 0.6
    stop_radius_m: float = 0.5
    lookahead_m: float = 2.0
    walk_bearing_rad: float = 1.0

    def act(self, pose: Float64[np.ndarray, " 3"]) -> Float32[np.ndarray, " 4"]:
        """Return the next action (dx [m], dy [m], dyaw [rad], stop); stop is 1 within the radius.

        It is a ValueError if there is no way from the pose to the goal.
        """
        if self.field.distance_m(pose[:2]) <= self.stop_radius_m:
            return np.array([0, 0, 0, 1], dtype=np.float32)
        target_m = self.field.waypoint(pose[:2], lookahead_m=self.lookahead_m)
        ahead_m, left_m, _ = displacement_between(pose, np.append(target_m, 0.0))
        distance_m, bearing_rad = np.hypot(ahead_m, left_m), np.arctan2(left_m, ahead_m)
        turn_rad = np.clip(bearing_rad, -self.max_turn_rad, self.max_turn_rad)
        walks = abs(bearing_rad) <= self.walk_bearing_rad and distance_m > 0
        share = min(self.step_m / distance_m, 1.0) if walks else 0.0
        return np.array([share * ahead_m, share * left_m, turn_rad, 0], dtype=np.float32)
