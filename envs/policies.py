"""Driving policies: what the recorder's robot wants to do next, from its pose and the free space it sees."""

import math
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from data_tools.pose import wrap_angle
from envs.drive import MAX_STEP_M, MAX_TURN_RAD
from envs.follower import ShortestPathFollower
from envs.free_space import FreeSpace
from envs.geodesic import WalkableMap


class PolicyName(Enum):
    """The policies that a recording may be driven by."""

    follower = "follower"
    explorer = "explorer"
    commands = "commands"


@runtime_checkable
class Policy(Protocol):
    """Chooses the next displacement; holds what must live between steps of one trajectory."""

    def act(
        self, pose: Float64[np.ndarray, "3"], free: FreeSpace, collided: bool, *, rng: np.random.Generator
    ) -> Float64[np.ndarray, "3"]:
        """Return the displacement (dx, dy, dyaw) [m, m, rad] asked for, in the robot frame of `pose`."""
        ...


class Explorer:
    """Steers toward free space at a speed that it keeps for a while (0.8 to 1.3 m/s where there is room).

    Args:
        step_s: Duration of a step [s].
    """

    def __init__(self, *, step_s: float) -> None:
        self._step_s = step_s
        self._steps_left = 0
        self._speed_m_s = 1.0
        self._heading_rad = 0.0
        self._turn_sign = 0.0

    def act(
        self, pose: Float64[np.ndarray, "3"], free: FreeSpace, collided: bool, *, rng: np.random.Generator
    ) -> Float64[np.ndarray, "3"]:
        """Walk toward the chosen heading; turn toward the freer side where the way ahead is blocked."""
        ahead_m = free.ahead_m()
        if self._turn_sign and ahead_m > 1.5 and not collided:
            self._turn_sign, self._steps_left = 0.0, 0
        elif collided or ahead_m < 0.7:
            self._turn_sign = self._turn_sign or free.freer_side(rng=rng)
        if self._turn_sign:
            turn_rad = self._turn_sign * rng.uniform(0.3, 0.6)
            return np.array([rng.uniform(-0.03, 0.08), 0.0, turn_rad])
        if self._steps_left <= 0:
            self._choose(float(pose[2]), free, rng=rng)
        self._steps_left -= 1
        error_rad = float(wrap_angle(np.array(self._heading_rad - float(pose[2]))))
        turn_rad = float(np.clip(0.5 * error_rad, -0.4, 0.4)) + rng.normal(0.0, 0.03)
        step_m = min(self._speed_m_s * self._step_s, 0.5 * ahead_m)
        return np.array([step_m, rng.normal(0.0, 0.02), turn_rad])

    def _choose(self, yaw_rad: float, free: FreeSpace, *, rng: np.random.Generator) -> None:
        weight = np.minimum(free.distance_m, 6.0) ** 1.5 + 1e-3
        bearing_rad = rng.choice(free.bearing_rad, p=weight / weight.sum())
        self._heading_rad = yaw_rad + float(bearing_rad) + rng.normal(0.0, 0.1)
        self._speed_m_s = rng.uniform(0.8, 1.3)
        self._steps_left = int(rng.integers(3, 11))


class NoisyFollower:
    """Follows shortest paths to goals that it draws, with noise in speed and heading.

    Args:
        walkable: Map of the level.
        step_s: Duration of a step [s].
    """

    def __init__(self, walkable: WalkableMap, *, step_s: float) -> None:
        self._walkable = walkable
        self._step_s = step_s
        self._follower: ShortestPathFollower | None = None
        self._explorer = Explorer(step_s=step_s)
        self._num_exploring = 0
        self._drift_rad = 0.0
        self._num_stuck = 0

    def act(
        self, pose: Float64[np.ndarray, "3"], free: FreeSpace, collided: bool, *, rng: np.random.Generator
    ) -> Float64[np.ndarray, "3"]:
        """Follow the path and draw another goal at its end; explore for a while where that does not work."""
        self._num_stuck = self._num_stuck + 1 if collided else 0
        if self._num_exploring == 0:
            action = self._follow(pose)
            if action is None or action[3] > 0.5:
                self._draw_goal(pose[:2], rng=rng)
                action = self._follow(pose)
            if action is not None and self._num_stuck <= 3:
                self._drift_rad = 0.8 * self._drift_rad + rng.normal(0.0, 0.06)
                return action[:3] + np.array([0.0, rng.normal(0.0, 0.02), self._drift_rad])
            # No way to the goal from this ledge, or the map is wrong here.
            self._num_exploring, self._num_stuck, self._follower = int(rng.integers(8, 17)), 0, None
        self._num_exploring -= 1
        return self._explorer.act(pose, free, collided, rng=rng)

    def _follow(self, pose: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "4"] | None:
        if self._follower is None or not math.isfinite(self._follower.field.distance_m(pose[:2])):
            return None
        return self._follower.act(pose).astype(np.float64)

    def _draw_goal(self, here_m: Float64[np.ndarray, "2"], *, rng: np.random.Generator) -> None:
        nodes, _ = self._walkable.near(here_m)
        goal_m = self._walkable.sample(rng=rng, near_m=here_m if len(nodes) else None)
        self._follower = ShortestPathFollower(
            field=self._walkable.distance_field(goal_m),
            step_m=rng.uniform(0.6, 1.3) * self._step_s,
            lookahead_m=rng.uniform(1.0, 2.0),
        )


class RandomCommands:
    """Holds random displacements for 4 to 12 steps: arcs, turns in place, side steps, backing up, standing.

    These are the motions that a planner imagines, walls included: what happens to them is what is recorded.
    """

    def __init__(self) -> None:
        self._command = np.zeros(3)
        self._action = np.zeros(3)
        self._steps_left = 0
        self._num_stuck = 0

    def act(
        self, pose: Float64[np.ndarray, "3"], free: FreeSpace, collided: bool, *, rng: np.random.Generator
    ) -> Float64[np.ndarray, "3"]:
        """Move smoothly toward the held command; give it up after a few steps against a wall."""
        self._num_stuck = self._num_stuck + 1 if collided else 0
        if self._num_stuck >= 3:
            self._steps_left, self._num_stuck = 0, 0
        if self._steps_left <= 0:
            is_blocked = free.ahead_m() < 0.8 and rng.random() < 0.75
            self._command = _turn_away(free, rng=rng) if is_blocked else random_command(rng=rng)
            self._steps_left = int(rng.integers(4, 13))
        self._steps_left -= 1
        self._action = 0.4 * self._action + 0.6 * self._command
        return self._action + rng.normal(0.0, [0.01, 0.01, 0.02])


def random_command(*, rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    """Return a displacement a step, within 0.5 m and 0.55 rad: mostly forward, sometimes any other motion."""
    draw = rng.random()
    sign = float(rng.choice([-1.0, 1.0]))
    if draw < 0.60:  # gentle arcs
        command = [rng.uniform(0.15, 0.45), rng.normal(0.0, 0.03), rng.normal(0.0, 0.12)]
    elif draw < 0.78:  # sharp arcs
        command = [rng.uniform(0.1, 0.4), rng.normal(0.0, 0.05), sign * rng.uniform(0.15, 0.5)]
    elif draw < 0.86:  # turns in place
        command = [rng.normal(0.0, 0.02), 0.0, sign * rng.uniform(0.1, 0.5)]
    elif draw < 0.92:  # side steps
        command = [rng.normal(0.05, 0.1), sign * rng.uniform(0.08, 0.35), rng.normal(0.0, 0.08)]
    elif draw < 0.97:  # backing up
        command = [-rng.uniform(0.05, 0.3), rng.normal(0.0, 0.04), rng.normal(0.0, 0.1)]
    else:
        command = [0.0, 0.0, 0.0]
    return np.clip(np.array(command), [-0.45, -0.45, -0.5], [0.45, 0.45, 0.5])


def clip_action(displacement: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Return a displacement inside the action bounds of DoomNav."""
    bound = np.array([MAX_STEP_M, MAX_STEP_M, MAX_TURN_RAD])
    return np.clip(displacement, -bound, bound)


def _turn_away(free: FreeSpace, *, rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    return np.array([rng.uniform(-0.1, 0.05), 0.0, free.freer_side(rng=rng) * rng.uniform(0.2, 0.5)])
