"""DoomNav: image-goal navigation in the levels of Freedoom."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from jaxtyping import Float, Float64, Shaped, UInt8

from envs.distance_lookup import DistanceLookup
from envs.doom_engine import STEP_S, DoomEngine
from envs.drive import MAX_STEP_M, MAX_TURN_RAD, DriveResult
from envs.episodes import Episode, EpisodeConfig, Pose, generate_episodes
from envs.level_geometry import home_m, walkable_map
from envs.levels import check_level
from envs.measures import SUCCESS_RADIUS_M, is_success

__all__ = ["ACTION_HIGH", "SUCCESS_REWARD", "DoomNav"]

ACTION_HIGH = np.array([MAX_STEP_M, MAX_STEP_M, MAX_TURN_RAD, 1.0], dtype=np.float32)
"""Upper bounds of an action: dx [m], dy [m], dyaw [rad], stop."""
SUCCESS_REWARD = 10.0
"""Added to the progress [m] when the agent stops within 1 m of the goal."""

_HIGH: list[float] = ACTION_HIGH.tolist()
_LOW = [*(-high for high in _HIGH[:3]), 0.0]
_OPTIONS = ("episode", "level", "pose")


class DoomNav(gymnasium.Env):
    """Find the place from which the goal image was taken, and stop there.

    Purpose: closed-loop image-goal navigation with metric poses, in 68 human-made levels in which nothing but
    the agent moves. What a step does and what is seen depend on the pose alone.

    Actions, `float32[4]`; the displacement is in the robot frame at the start of the step of 9/35 s:

    | index | meaning | range |
    | --- | --- | --- |
    | 0 | dx, forward [m] | -0.6 to 0.6 |
    | 1 | dy, to the left [m] | -0.6 to 0.6 |
    | 2 | dyaw, counter-clockwise [rad] | -1 to 1 |
    | 3 | stop, if more than 0.5; nothing moves then | 0 to 1 |

    Actions outside the box or not finite are refused with a ValueError.

    Observations, a dict; the horizontal field of view is 90 degrees:

    | key | meaning |
    | --- | --- |
    | image | what the agent sees, `uint8[height, width, 3]` |
    | goal | what it would see at the goal pose, `uint8[height, width, 3]` |

    `info` holds, after reset and every step: `pose` (x, y, yaw) [m, m, rad] and `displacement` (dx, dy,
    dyaw), what happened in this step, both `float64[3]`; `collided`, whether that differs from what was asked
    by more than 0.01 m or rad; `distance_to_goal_m`, the walking distance, inf if there is no way; `level`;
    `success`, stopped within 1 m of the goal; `reached`, was ever within 1 m. After reset it also holds the
    `episode`.

    Reward: the decrease of the walking distance in this step [m], 0 where there is no way; 10 more for
    success.
    Start: an episode drawn from the seed on one of `levels`. Options of `reset`: `{"episode": Episode}`
    starts that one; `{"level": name}` draws one on that level; `{"level": name, "pose": array}` starts at
    that pose with a goal drawn from the seed, which may be any distance away.
    End: terminated by a stop; truncated after the episode's `max_steps`.
    Version: 0.

    Args:
        levels: Levels to draw episodes from.
        frame_height: Height of the images [pixels].
        frame_width: Width [pixels]; images are 4:3, such as 120 x 160 and 240 x 320.
        episodes: Which episodes to draw.
        render_mode: None, or "rgb_array" for `render`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1 / STEP_S}  # noqa: RUF012

    def __init__(
        self,
        *,
        levels: Sequence[str] = ("map01",),
        frame_height: int = 120,
        frame_width: int = 160,
        episodes: EpisodeConfig | None = None,
        render_mode: str | None = None,
    ) -> None:
        if not levels:
            raise ValueError("needed at least one level, got none")
        for level in levels:
            check_level(level)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode must be None or "rgb_array", got {render_mode!r}')
        self.levels = tuple(levels)
        self.episodes = episodes or EpisodeConfig()
        self.render_mode = render_mode
        self.action_space = spaces.Box(np.array(_LOW, dtype=np.float32), ACTION_HIGH, dtype=np.float32)
        size = (frame_height, frame_width, 3)
        self.observation_space = spaces.Dict(
            {name: spaces.Box(0, 255, size, dtype=np.uint8) for name in ("image", "goal")}
        )
        self._engine = DoomEngine(self.levels[0], frame_height=frame_height, frame_width=frame_width)
        self._walk: _Walk | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode, from the seed or from the options (see the class)."""
        super().reset(seed=seed)
        # What raises below may have moved the engine: no old episode goes on from there.
        self._walk = None
        episode = self._choose(options or {})
        start_m, goal_m = np.array(episode.start_pose), np.array(episode.goal_pose)
        lookup = DistanceLookup(walkable_map(episode.level).distance_field(goal_m[:2]))
        if self._engine.level != episode.level:
            self._engine.load_level(episode.level)
        self._engine.teleport(goal_m)
        goal = self._engine.frame()
        self._engine.teleport(start_m)
        pose = self._engine.pose
        self._walk = walk = _Walk(
            episode=episode,
            lookup=lookup,
            goal=goal,
            image=self._engine.frame(),
            pose=pose,
            distance_m=lookup.distance_m(*pose[:2].tolist()),
        )
        walk.reached = walk.distance_m <= SUCCESS_RADIUS_M
        info = walk.info(np.zeros(3), collided=False, success=False)
        return walk.observation(), {**info, "episode": episode}

    def step(
        self, action: Shaped[np.ndarray, "..."] | Sequence[float | int]
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Drive the displacement, or stop (see the class)."""
        walk = self._walk
        if walk is None or walk.is_over:
            raise ResetNeeded("the episode is over, or none was started: call reset()")
        action = _check_action(action)
        before_m, happened, collided = walk.distance_m, np.zeros(3), False
        stops = bool(action[3] > 0.5)
        if not stops:
            happened, collided = self._move(walk, action[:3].astype(np.float64))
        walk.num_steps += 1
        success = is_success(walk.distance_m, stopped=stops)
        truncated = not stops and walk.num_steps >= walk.episode.max_steps
        walk.is_over = stops or truncated
        reward = _progress_m(before_m, walk.distance_m) + SUCCESS_REWARD * success
        info = walk.info(happened, collided=collided, success=success)
        return walk.observation(), reward, stops, truncated, info

    def drive(
        self, start_pose: Float[np.ndarray, " 3"], displacements: Float[np.ndarray, "step 3"]
    ) -> DriveResult:
        """Try displacements out on this level; the running episode goes on from where it was.

        Args:
            start_pose: Where to start [m, m, rad].
            displacements: Each in the robot frame at its own start [m, m, rad]; walls stop them as in `step`.

        Returns:
            The last frame, and the pose and whether there was a collision after each step.
        """
        if self._walk is not None:
            self._walk.was_left = True
        return self._engine.drive(start_pose, displacements)

    def render(self) -> UInt8[np.ndarray, "height width 3"] | None:  # type: ignore[override]
        """Return a copy of what the agent sees if the render mode is "rgb_array", else None."""
        if self.render_mode is None:
            return None
        if self._walk is None:
            raise ResetNeeded("nothing to render before the first reset()")
        return self._walk.image.copy()

    def close(self) -> None:
        """End the game's process."""
        self._engine.close()

    def _choose(self, options: dict[str, Any]) -> Episode:
        """Return the episode that the options ask for."""
        unknown = sorted(set(options) - set(_OPTIONS))
        is_mixed = "episode" in options and len(options) > 1
        if unknown or is_mixed or ("pose" in options and "level" not in options):
            raise ValueError(f'options are "episode", or "level" with or without "pose"; got {options}')
        if "episode" in options:
            return _check_episode(options["episode"])
        if "level" in options:
            level = options["level"]
        else:
            level = self.levels[int(self.np_random.integers(len(self.levels)))]
        if not isinstance(level, str):
            raise ValueError(f"needed the name of a level, got {level!r}; leave it out for a random one")
        check_level(level)
        if "pose" not in options:
            return self._draw(level, home_m(level))
        start_pose = _to_pose(options["pose"])
        start_m = np.array(start_pose[:2])
        drawn = self._draw(level, start_m)
        field = walkable_map(level).distance_field(np.array(drawn.goal_pose[:2]))
        geodesic_m = field.distance_m(start_m)
        return replace(
            drawn,
            start_pose=start_pose,
            geodesic_m=geodesic_m,
            max_steps=self.episodes.max_steps(geodesic_m),
        )

    def _draw(self, level: str, near_m: Float64[np.ndarray, " 2"]) -> Episode:
        """Draw an episode in the region around a point, from the environment's own randomness."""
        return generate_episodes(
            walkable_map(level), self.episodes, level=level, num_episodes=1, rng=self.np_random, near_m=near_m
        )[0]

    def _move(
        self, walk: "_Walk", displacement: Float64[np.ndarray, " 3"]
    ) -> tuple[Float64[np.ndarray, " 3"], bool]:
        """Drive, take the walk on, and return the displacement that happened and whether it collided."""
        if walk.was_left:
            self._engine.teleport(walk.pose)
            walk.was_left = False
        motion = self._engine.step(displacement)
        walk.pose, walk.image = motion.pose, self._engine.frame()
        walk.distance_m = walk.lookup.distance_m(*motion.pose[:2].tolist())
        walk.reached = walk.reached or walk.distance_m <= SUCCESS_RADIUS_M
        return motion.displacement, motion.collided


@dataclass(kw_only=True)
class _Walk:
    """The state of a running episode; `was_left` says that the engine's player is not at `pose`."""

    episode: Episode
    lookup: DistanceLookup
    goal: UInt8[np.ndarray, "height width 3"]
    image: UInt8[np.ndarray, "height width 3"]
    pose: Float64[np.ndarray, " 3"]
    distance_m: float
    num_steps: int = 0
    reached: bool = False
    is_over: bool = False
    was_left: bool = False

    def observation(self) -> dict[str, np.ndarray]:
        """Return copies, so that nobody can write into the state."""
        return {"image": self.image.copy(), "goal": self.goal.copy()}

    def info(
        self, displacement: Float64[np.ndarray, " 3"], *, collided: bool, success: bool
    ) -> dict[str, Any]:
        """Return what the environment contract asks for."""
        return {
            "pose": self.pose.copy(),
            "displacement": displacement,
            "collided": collided,
            "distance_to_goal_m": self.distance_m,
            "level": self.episode.level,
            "success": success,
            "reached": self.reached,
        }


def _check_action(action: np.ndarray | Sequence[float | int]) -> np.ndarray:
    """Return an action as an array; ValueError if it is not in the box. Faster than its `contains`."""
    array = np.asarray(action)
    is_real = array.shape == ACTION_HIGH.shape and array.dtype.kind in "fiu"
    if not is_real or not all(
        low <= value <= high for low, value, high in zip(_LOW, array.tolist(), _HIGH, strict=True)
    ):
        raise ValueError(
            f"needed an action (dx, dy, dyaw, stop) from {_LOW} to {_HIGH} [m, m, rad, 1], got {action!r}"
        )
    return array


def _check_episode(episode: object) -> Episode:
    if not isinstance(episode, Episode):
        raise ValueError(
            f'options["episode"] must be an envs.episodes.Episode, it is {type(episode).__name__}; '
            "read_episodes gives those of a file"
        )
    return episode


def _to_pose(value: Any) -> Pose:
    """Return a start pose as plain numbers; ValueError unless it is three finite ones."""
    try:
        pose = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'options["pose"] must be (x, y, yaw) [m, m, rad], it is {value!r}') from error
    if pose.shape != (3,) or not np.isfinite(pose).all():
        raise ValueError(f'options["pose"] must be three finite numbers (x, y, yaw), it is {value!r}')
    x_m, y_m, yaw_rad = pose.tolist()
    return x_m, y_m, yaw_rad


def _progress_m(before_m: float, after_m: float) -> float:
    """Return how much nearer the goal is [m]; 0 where there is no way from before or after."""
    return before_m - after_m if math.isfinite(before_m) and math.isfinite(after_m) else 0.0
