"""Episode: where an agent starts, what it is to find, and how long it may take."""

import enum
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_tools.pose import wrap_angle
from data_tools.whole_file import write_text
from envs.geodesic import DistanceField, WalkableMap
from envs.measures import path_length_m

Pose = tuple[float, float, float]
"""(x, y, yaw) [m, m, rad], as plain numbers: hashable, comparable, JSON."""

_MAX_GOALS = 200
"""Goals tried for one episode before the level is given up."""


class StartHeading(enum.Enum):
    """Where the agent looks at the start."""

    random = "random"
    toward_path = "toward_path"


@dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """Which episodes to draw.

    The goal heading is the one with which the shortest path arrives, give or take `goal_heading_noise_rad`
    (standard deviation); the same noise is added to the start heading if that is along the path.
    """

    min_geodesic_m: float = 2.0
    max_geodesic_m: float = 4.0
    start_heading: StartHeading = StartHeading.random
    goal_heading_noise_rad: float = 0.1
    min_view_m: float = 1.0
    """Walkable room ahead of the goal [m]; a goal image of nothing but a wall tells an agent little."""
    steps_per_m: float = 10.0
    """Steps allowed for a metre of shortest path: three times what a walk of 0.3 m a step needs."""
    extra_steps: int = 20
    """Steps allowed beside those, for turning and stopping."""

    def __post_init__(self) -> None:
        if not 0 < self.min_geodesic_m <= self.max_geodesic_m:
            raise ValueError(
                "needed 0 < min_geodesic_m <= max_geodesic_m; "
                f"got {self.min_geodesic_m} and {self.max_geodesic_m}"
            )
        if self.steps_per_m <= 0 or self.extra_steps < 0 or self.goal_heading_noise_rad < 0:
            raise ValueError(
                "needed steps_per_m > 0, extra_steps >= 0 and goal_heading_noise_rad >= 0; got "
                f"{self.steps_per_m}, {self.extra_steps} and {self.goal_heading_noise_rad}"
            )

    def max_steps(self, geodesic_m: float) -> int:
        """Return the steps allowed for a shortest path of this length [m]."""
        return math.ceil(self.steps_per_m * geodesic_m) + self.extra_steps


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One closed-loop problem; `geodesic_m` is the length of the shortest path from start to goal [m]."""

    episode_id: str
    level: str
    start_pose: Pose
    goal_pose: Pose
    geodesic_m: float
    max_steps: int
    seed: int

    def __post_init__(self) -> None:
        numbers = (*self.start_pose, *self.goal_pose, self.geodesic_m)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"episode {self.episode_id}: needed finite poses and distance, got {numbers}")
        if self.geodesic_m <= 0 or self.max_steps < 1 or self.seed < 0:
            raise ValueError(
                f"episode {self.episode_id}: needed geodesic_m > 0, max_steps >= 1 and seed >= 0; got "
                f"{self.geodesic_m}, {self.max_steps} and {self.seed}"
            )


def generate_episodes(
    walkable: WalkableMap,
    config: EpisodeConfig,
    *,
    level: str,
    num_episodes: int,
    rng: np.random.Generator,
    near_m: Float64[np.ndarray, " 2"] | None = None,
) -> list[Episode]:
    """Draw episodes whose start and goal can each be reached from the other.

    Args:
        walkable: The level's map.
        config: Distances, headings, limits.
        level: Name of the level, written into the episodes.
        num_episodes: How many. Episode i does not depend on how many there are.
        rng: Source of randomness; children are spawned from it.
        near_m: Draw from the component that holds this point [m]; without it, from the largest.

    Returns:
        The episodes, named `<level>-<number>`.
    """
    return [
        _draw(walkable, config, level=level, number=number, rng=child, near_m=near_m)
        for number, child in enumerate(rng.spawn(num_episodes))
    ]


def write_episodes(episodes: Sequence[Episode], path: Path) -> None:
    """Write episodes as JSON; the file appears whole or not at all."""
    write_text(path, json.dumps([asdict(episode) for episode in episodes], indent=1))


def read_episodes(path: Path) -> list[Episode]:
    """Read what `write_episodes` wrote, exactly; a ValueError names the entry that is not an episode."""
    try:
        entries = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} must hold a list of episodes, got {type(entries).__name__}")
    return [_parse(entry, where=f"{path}, entry {number}") for number, entry in enumerate(entries)]


def _parse(entry: object, *, where: str) -> Episode:
    names = {field.name for field in fields(Episode)}
    if not isinstance(entry, dict) or set(entry) != names:
        came = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
        raise ValueError(f"{where}: needed the keys {sorted(names)}, got {came}")
    try:
        return Episode(
            episode_id=str(entry["episode_id"]),
            level=str(entry["level"]),
            start_pose=_pose(entry["start_pose"]),
            goal_pose=_pose(entry["goal_pose"]),
            geodesic_m=float(entry["geodesic_m"]),
            max_steps=int(entry["max_steps"]),
            seed=int(entry["seed"]),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _pose(numbers: Iterable[Any]) -> Pose:
    x_m, y_m, yaw_rad = numbers
    return float(x_m), float(y_m), float(yaw_rad)


def _draw(
    walkable: WalkableMap,
    config: EpisodeConfig,
    *,
    level: str,
    number: int,
    rng: np.random.Generator,
    near_m: np.ndarray | None,
) -> Episode:
    for _ in range(_MAX_GOALS):
        field = walkable.distance_field(walkable.sample(rng=rng, near_m=near_m))
        path_m = _draw_path(field, config, rng=rng)
        if path_m is None:
            continue
        first, last = path_m[1] - path_m[0], path_m[-1] - path_m[-2]
        noise_rad = config.goal_heading_noise_rad * rng.standard_normal(2)
        goal_rad = np.arctan2(last[1], last[0]) + noise_rad[0]
        if not _has_view(walkable, field.goal_m, goal_rad, config.min_view_m):
            continue
        match config.start_heading:
            case StartHeading.random:
                start_rad = rng.uniform(-np.pi, np.pi)
            case StartHeading.toward_path:
                start_rad = np.arctan2(first[1], first[0]) + noise_rad[1]
        geodesic_m = path_length_m(path_m)
        return Episode(
            episode_id=f"{level}-{number}",
            level=level,
            start_pose=_pose([*path_m[0], wrap_angle(np.array(start_rad))]),
            goal_pose=_pose([*path_m[-1], wrap_angle(np.array(goal_rad))]),
            geodesic_m=geodesic_m,
            max_steps=config.max_steps(geodesic_m),
            seed=int(rng.integers(2**31)),
        )
    raise ValueError(
        f"{level} has no pair of places {config.min_geodesic_m} to {config.max_geodesic_m} m apart with a "
        f"view of {config.min_view_m} m at the goal ({_MAX_GOALS} goals tried); choose another range or level"
    )


def _draw_path(field: DistanceField, config: EpisodeConfig, *, rng: np.random.Generator) -> np.ndarray | None:
    """Return a shortest path of a length in the range, from a place the goal can be left for again."""
    walkable = field.walkable
    distance_m = field.node_distance_m[:-1]
    # The graph's lengths are up to 2.8% too long, hence the wider upper end; the path decides.
    in_range = (distance_m >= config.min_geodesic_m) & (distance_m <= 1.03 * config.max_geodesic_m)
    is_mutual = walkable.component == walkable.component_of(field.goal_m)
    starts = np.flatnonzero(in_range & is_mutual)
    if not len(starts):
        return None
    path_m = field.path(walkable.nodes_m[starts[rng.integers(len(starts))]])
    fits = config.min_geodesic_m <= path_length_m(path_m) <= config.max_geodesic_m
    return path_m if fits else None


def _has_view(walkable: WalkableMap, place_m: np.ndarray, heading_rad: float, view_m: float) -> bool:
    ahead_m = place_m + view_m * np.array([np.cos(heading_rad), np.sin(heading_rad)])
    return bool(walkable.clearance.sees(place_m, ahead_m))
