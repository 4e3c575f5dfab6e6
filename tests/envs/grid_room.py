"""GridRoom: two rooms and a doorway drawn with numpy, as fast and as plain as an environment can be.

Walls are segments with striped colours, drawn by casting one ray a column; the camera is a function of the
pose alone. The contract is that of DoomNav (see `envs.contract`). Moving stops at walls: there is no sliding.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Float64, UInt8

from data_tools.pose import displacement_between, move, wrap_angle
from envs.clearance import PLAYER_RADIUS_M
from envs.drive import DriveResult
from envs.episodes import Episode, EpisodeConfig, generate_episodes
from envs.geodesic import DistanceField, Sector, WalkableMap
from envs.measures import SUCCESS_RADIUS_M, is_success

LEVEL = "two_rooms"
WALLS = np.array(
    [
        [0, 0, 8, 0], [8, 0, 8, 6], [8, 6, 0, 6], [0, 6, 0, 0],  # the house: 8 m x 6 m
        [4.5, 0, 4.5, 2], [4.5, 4, 4.5, 6],  # a wall with a doorway of 2 m
    ],
    dtype=np.float64,
)  # fmt: skip
_COLOURS = np.array(
    [[210, 60, 50], [60, 170, 70], [60, 90, 210], [220, 190, 60], [170, 70, 190], [70, 190, 200]]
)
_BOX = np.array([0.6, 0.6, 1.0, 1.0], dtype=np.float32)


def two_rooms() -> WalkableMap:
    """Return the walkable space of the two rooms."""
    house = Sector(floor_m=0.0, ceiling_m=3.0, lines=WALLS[:4], is_blocking=np.ones(4, dtype=bool))
    return WalkableMap.from_sectors([house], barriers=WALLS[4:])


def render(pose: Float[np.ndarray, " 3"], *, height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """Draw what a camera 1 m above the floor sees, with 90 degrees of view."""
    slopes = np.linspace(1, -1, width)
    # Rays with a forward part of 1, so that their length parameter is depth along the camera's axis.
    cosine, sine = np.cos(pose[2]), np.sin(pose[2])
    rays = np.stack([cosine - slopes * sine, sine + slopes * cosine], axis=-1)
    starts, spans = WALLS[:, :2], WALLS[:, 2:] - WALLS[:, :2]
    offsets = starts - pose[:2]
    crossed = rays[:, None, 0] * spans[:, 1] - rays[:, None, 1] * spans[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth_m = (offsets[:, 0] * spans[:, 1] - offsets[:, 1] * spans[:, 0]) / crossed
        share = (offsets[:, 0] * rays[:, None, 1] - offsets[:, 1] * rays[:, None, 0]) / crossed
        hit = (depth_m > 1e-6) & (share >= 0) & (share <= 1)
    depth_m = np.where(hit, depth_m, np.inf)
    wall = depth_m.argmin(axis=-1)
    column = np.arange(width)
    along_m = share[column, wall] * np.linalg.norm(spans[wall], axis=-1)
    depth_m = np.minimum(depth_m[column, wall], 100.0)
    stripes = 0.6 + 0.4 * np.sin(2 * np.pi * along_m * (0.5 + 0.1 * wall))
    colour = _COLOURS[wall] * (stripes / (1 + 0.1 * depth_m))[:, None]
    rise = np.linspace(0.75, -0.75, height)[:, None]
    floor, ceiling = rise < -1 / depth_m, rise > 2 / depth_m
    frame = np.where(floor[..., None], np.array([90, 80, 70]), colour[None])
    return np.where(ceiling[..., None], np.array([150, 160, 170]), frame).astype(np.uint8)


def touches_wall(points_m: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
    """Return whether the robot's box at each point touches a wall, exactly: all walls follow an axis."""
    low_m, high_m = WALLS.reshape(-1, 2, 2).min(axis=1), WALLS.reshape(-1, 2, 2).max(axis=1)
    points = points_m[:, None]
    return np.logical_and(points > low_m - PLAYER_RADIUS_M, points < high_m + PLAYER_RADIUS_M).all(-1).any(-1)


class GridRoom(gymnasium.Env):
    """Two rooms with an image goal.

    Purpose: tests of whatever uses an environment. Actions, observations, info: those of `envs.contract`.
    Reward: 1 on success, else 0. Start and goal: drawn from the seed, or from the options
    {"episode": Episode} or {"level": str, "pose": array}. End: a stop, or `max_steps`. Version: 0.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (the name and type are gymnasium's)

    def __init__(self, *, frame_height: int = 24, frame_width: int = 32) -> None:
        size = (frame_height, frame_width, 3)
        self.action_space = spaces.Box(
            -_BOX * np.array([1, 1, 1, 0], dtype=np.float32), _BOX, dtype=np.float32
        )
        self.observation_space = spaces.Dict(
            {name: spaces.Box(0, 255, size, dtype=np.uint8) for name in ("image", "goal")}
        )
        self.walkable = two_rooms()
        self._size = {"height": frame_height, "width": frame_width}
        self._pose = np.zeros(3)
        self.field: DistanceField | None = None
        self._goal_frame = np.zeros(size, dtype=np.uint8)
        self._steps_left = 0
        self._reached = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        chosen = options or {}
        if chosen.get("level", LEVEL) != LEVEL:
            raise ValueError(f"unknown level {chosen['level']!r}; there is only {LEVEL!r}")
        episode = chosen.get("episode") or self._draw()
        self.field = self.walkable.distance_field(np.array(episode.goal_pose[:2]))
        self._goal_frame = self.frame_at(np.array(episode.goal_pose))
        self._pose = np.array(chosen.get("pose", episode.start_pose), dtype=np.float64)
        self._steps_left = episode.max_steps
        self._reached = False
        return self._observe(), self._info(self._pose, collided=False, success=False)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise ValueError(f"needed a finite float32[4] action inside {self.action_space}, got {action!r}")
        before, stops, collided = self._pose, bool(action[3] > 0.5), False
        if not stops:
            self._pose, collided = self._move(before, action[:3].astype(np.float64))
        self._steps_left -= 1
        info = self._info(before, collided=collided, success=False)
        info["success"] = is_success(info["distance_to_goal_m"], stopped=stops)
        truncated = self._steps_left <= 0 and not stops
        return self._observe(), float(info["success"]), stops, truncated, info

    def drive(
        self, start_pose: Float64[np.ndarray, " 3"], displacements: Float64[np.ndarray, "step 3"]
    ) -> DriveResult:
        """Drive from a pose without touching the running episode; draw only the last frame."""
        pose, poses, collided = start_pose, [], []
        for displacement in displacements:
            pose, hit = self._move(pose, displacement)
            poses.append(pose)
            collided.append(hit)
        return DriveResult(
            frame=self.frame_at(pose), poses=np.array(poses).reshape(-1, 3), collided=np.array(collided, bool)
        )

    def frame_at(self, pose: Float[np.ndarray, " 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """Return what the camera sees at a pose."""
        return render(pose, **self._size)

    def _draw(self) -> Episode:
        config = EpisodeConfig(min_geodesic_m=1.5, max_geodesic_m=6.0)
        return generate_episodes(self.walkable, config, level=LEVEL, num_episodes=1, rng=self.np_random)[0]

    def _move(self, pose: np.ndarray, displacement: np.ndarray) -> tuple[np.ndarray, bool]:
        asked = move(pose, displacement)
        # 32 samples of at most 0.85 m: far finer than the robot's box is wide.
        way_m = pose[:2] + np.linspace(0, 1, 33)[:, None] * (asked[:2] - pose[:2])
        blocked = np.flatnonzero(touches_wall(way_m)[1:])
        last = int(blocked[0]) if len(blocked) else 32
        return np.append(way_m[last], wrap_angle(asked[2:])), bool(len(blocked))

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": self.frame_at(self._pose), "goal": self._goal_frame.copy()}

    def _info(self, before: np.ndarray, *, collided: bool, success: bool) -> dict[str, Any]:
        assert self.field is not None
        distance_m = self.field.distance_m(self._pose[:2])
        self._reached = self._reached or distance_m <= SUCCESS_RADIUS_M
        return {
            "pose": self._pose.copy(),
            "displacement": displacement_between(before, self._pose),
            "collided": collided,
            "distance_to_goal_m": distance_m,
            "level": LEVEL,
            "success": success,
            "reached": self._reached,
        }
