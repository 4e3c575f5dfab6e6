"""LevelRecorder: trajectories of one level, each a function of seed, level and index."""

import math
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float64

from data_tools.randomness import numpy_generator_for
from data_tools.trajectory import Trajectory
from envs.annotate import write_instructions
from envs.doom_engine import STEP_S, DoomEngine
from envs.level_geometry import home_m, walkable_map
from envs.policies import Explorer, NoisyFollower, Policy, PolicyName, RandomCommands
from envs.record import record

_START_ATTEMPTS = 50
_MIN_AREA_M2 = 20.0


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What a trajectory is made of; with seed, level and index it determines every pixel.

    Attributes:
        frame_height: Height of a frame [px].
        frame_width: Width of a frame [px].
        trajectory_frames: Frames of a trajectory.
        follower_share: Share of trajectories driven along shortest paths.
        explorer_share: Share driven toward free space; random commands drive the rest.
        caption_share: Share of frames with a caption and questions.
        instruction_share: Instructions per frame.
    """

    frame_height: int = 120
    frame_width: int = 160
    trajectory_frames: int = 120
    follower_share: float = 0.3
    explorer_share: float = 0.35
    caption_share: float = 0.15
    instruction_share: float = 0.15

    def __post_init__(self) -> None:
        if self.trajectory_frames < 2:
            raise ValueError(f"needed trajectory_frames >= 2, got {self.trajectory_frames}")
        shares = (self.follower_share, self.explorer_share, self.caption_share, self.instruction_share)
        if min(shares) < 0 or max(shares) > 1 or self.follower_share + self.explorer_share > 1:
            raise ValueError(
                f"needed shares in [0, 1], those of follower and explorer at most 1 together; got {shares}"
            )


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A trajectory, and what the recorder knows beyond it."""

    trajectory: Trajectory
    policy: PolicyName
    collided: Bool[np.ndarray, " step"]


class LevelRecorder:
    """Records trajectories of one level; a context manager, since the game is a process.

    Trajectory `index` of a level is a function of (seed, level, index) and the configuration, whatever was
    recorded before it: levels are static, and a teleport starts each trajectory.

    Args:
        level: One of `envs.levels.LEVELS`.
        config: What a trajectory is made of.
    """

    def __init__(self, level: str, config: RecordConfig) -> None:
        self.level = level
        self.config = config
        self._walkable = walkable_map(level)
        self._places_m = start_places(level)
        self._engine = DoomEngine(
            level,
            frame_height=config.frame_height,
            frame_width=config.frame_width,
            with_depth=True,
            with_labels=config.caption_share > 0,
        )

    def __enter__(self) -> "LevelRecorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def record(self, index: int, *, seed: int) -> Recording:
        """Record trajectory `index`: from a random walkable place, driven by a random policy."""
        rng = numpy_generator_for(seed, f"data/{self.level}", rank=index)
        text_rng = numpy_generator_for(seed, f"text/{self.level}", rank=index)
        chosen = _draw_policy(self.config, rng=rng)
        self._start(rng=rng)
        driven = record(
            self._engine,
            self._make_policy(chosen),
            num_frames=self.config.trajectory_frames,
            caption_share=self.config.caption_share,
            rng=rng,
            text_rng=text_rng,
        )
        num_instructions = round(self.config.instruction_share * len(driven.frames))
        instructions = write_instructions(driven.poses, num=num_instructions, rng=text_rng)
        trajectory = Trajectory(
            name=trajectory_name(self.level, index, seed=seed, config=self.config),
            place=self.level,
            frames=driven.frames,
            poses=driven.poses,
            times_s=np.arange(len(driven.frames)) * STEP_S,
            texts=driven.texts + instructions,
        )
        return Recording(trajectory=trajectory, policy=chosen, collided=driven.collided)

    def _start(self, *, rng: np.random.Generator) -> None:
        """Put the robot at rest at a random place; places inside solid things are drawn again."""
        places_m = self._places_m[int(rng.integers(2))]
        for _ in range(_START_ATTEMPTS):
            place_m = places_m[rng.integers(len(places_m))]
            yaw_rad = rng.uniform(-math.pi, math.pi)
            try:
                self._engine.teleport(np.array([*place_m, yaw_rad]))
            except ValueError:
                continue
            return
        raise ValueError(
            f"{_START_ATTEMPTS} random places of {self.level} had no room for the robot; "
            "its walkable map does not fit its geometry"
        )

    def _make_policy(self, policy: PolicyName) -> Policy:
        match policy:
            case PolicyName.follower:
                return NoisyFollower(self._walkable, step_s=STEP_S)
            case PolicyName.explorer:
                return Explorer(step_s=STEP_S)
            case PolicyName.commands:
                return RandomCommands()


def trajectory_name(level: str, index: int, *, seed: int, config: RecordConfig) -> str:
    """Return the name of trajectory `index` of a level: level, seed, index and the policy that drives it."""
    policy = _draw_policy(config, rng=numpy_generator_for(seed, f"data/{level}", rank=index))
    return f"{level}_seed{seed}_{index:05d}_{policy.name}"


def start_places(level: str) -> tuple[Float64[np.ndarray, "home 2"], Float64[np.ndarray, "roomy 2"]]:
    """Return where trajectories start [m]: the places of the level's main region, and of all but closets.

    Half of the trajectories start in each: drawn from all places alone, most of map16's would start on the
    plain around it, which is scenery.
    """
    walkable = walkable_map(level)
    is_home = walkable.component == walkable.component_of(home_m(level))
    num_places = np.bincount(walkable.component)[walkable.component]
    is_roomy = is_home | (num_places * walkable.spacing_m**2 >= _MIN_AREA_M2)
    return walkable.nodes_m[is_home], walkable.nodes_m[is_roomy]


def _draw_policy(config: RecordConfig, *, rng: np.random.Generator) -> PolicyName:
    draw = rng.random()
    if draw < config.follower_share:
        return PolicyName.follower
    if draw < config.follower_share + config.explorer_share:
        return PolicyName.explorer
    return PolicyName.commands
