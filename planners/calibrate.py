"""Calibration: the cost below which an agent takes a view for the goal's, from training recordings.

`python -m planners.calibrate checkpoint=nano` prints it. Closed-loop evaluation does the same by itself,
unless it is told a cost.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.randomness import numpy_generator_for
from envs.level_geometry import walkable_map
from envs.level_recorder import LevelRecorder, RecordConfig
from envs.levels import TRAIN_LEVELS
from planners.agent import calibrated_stop_cost
from planners.costs import Distance, latent_cost
from planners.evaluation.progress import progress_bars
from planners.evaluation.records import hash_of_model, hash_with_code
from planners.evaluation.shards import OnProgress, ShardStore, run_shards
from planners.protocols import WorldModel
from worldmodel.model_folder import load_model, resolve


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Which views are compared with which goals.

    Attributes:
        levels: Training levels; a few of `envs.levels.TRAIN_LEVELS` unless given.
        trajectories_per_level: Trajectories of each; every goal is compared with all views of its own.
        trajectory_frames: Frames of each trajectory.
        goals_per_trajectory: Frames that are goals.
        seed: Apart from the seeds of evaluation.
    """

    levels: list[str] = field(default_factory=lambda: list(TRAIN_LEVELS[::12]))
    trajectories_per_level: int = 4
    trajectory_frames: int = 40
    goals_per_trajectory: int = 5
    seed: int = 1_000_003


@dataclass(frozen=True, kw_only=True)
class CalibrateCommand:
    """`python -m planners.calibrate checkpoint=NAME`."""

    checkpoint: str
    out: str = "outputs/calibration"
    workers: int = 2
    distance: Distance = Distance.squared
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    record: RecordConfig = field(default_factory=RecordConfig)


@dataclass(frozen=True, kw_only=True)
class ViewRow:
    """Views of one trajectory against one goal of it."""

    level: str
    trajectory: str
    goal_frame: int
    costs: tuple[float, ...]
    distances_m: tuple[float, ...]
    """Geodesic, from the view's place to the goal's; infinite where no way leads there."""


@dataclass(frozen=True, kw_only=True)
class ViewTask:
    """Views of one level."""

    level: str
    checkpoint: str
    distance: Distance
    calibration: CalibrationConfig
    record: RecordConfig


@functools.cache
def cached_model(checkpoint: str) -> WorldModel:
    """Load a world model once a process.

    It computes in bfloat16, in about half the time of float32 where the processor has it.
    """
    return load_model(checkpoint, dtype=torch.bfloat16)


def checkpoint_hash(checkpoint: str | None) -> str | None:
    """Return the hash of a checkpoint's files, its card left out."""
    return None if checkpoint is None else hash_of_model(resolve(checkpoint))


def stop_cost(
    config: CalibrationConfig,
    record: RecordConfig,
    *,
    checkpoint: str,
    distance: Distance,
    folder: Path,
    num_workers: int,
    on_progress: OnProgress | None = None,
) -> float:
    """Return the cost at which an agent should stop, by Youden's index over the views of training levels."""
    described = {
        "calibration": configuration.to_dict(config),
        "record": configuration.to_dict(record),
        "checkpoint": checkpoint_hash(checkpoint),
        "distance": distance.name,
    }
    tasks = {
        f"views-{level}": ViewTask(
            level=level, checkpoint=checkpoint, distance=distance, calibration=config, record=record
        )
        for level in config.levels
    }
    store = ShardStore(folder=folder, config_hash=hash_with_code(described))
    rows = run_shards(
        compare_views,
        tasks,
        row_type=ViewRow,
        store=store,
        num_workers=num_workers,
        on_progress=on_progress,
    )
    costs = np.concatenate([row.costs for row in rows])
    return calibrated_stop_cost(costs, np.concatenate([row.distances_m for row in rows]))


def compare_views(task: ViewTask) -> Sequence[ViewRow]:
    """Record one level's trajectories and compare views with goals."""
    config, model = task.calibration, cached_model(task.checkpoint)
    record = replace(task.record, trajectory_frames=config.trajectory_frames, caption_share=0.0)
    walkable = walkable_map(task.level)
    rows: list[ViewRow] = []
    with LevelRecorder(task.level, record) as recorder:
        for index in range(config.trajectories_per_level):
            trajectory = recorder.record(index, seed=config.seed).trajectory
            assert trajectory.poses is not None
            latents = model.encode(
                torch.from_numpy(
                    np.stack([trajectory.frames[frame] for frame in range(trajectory.num_frames)])
                )
            )
            rng = numpy_generator_for(config.seed, f"goals/{trajectory.name}")
            on_map = np.flatnonzero(walkable.is_walkable(trajectory.poses[:, :2]))
            num_goals = min(config.goals_per_trajectory, len(on_map))
            for goal in rng.choice(on_map, num_goals, replace=False).tolist():
                reach = walkable.distance_field(trajectory.poses[goal, :2])
                costs = latent_cost(latents, latents[goal].expand_as(latents), distance=task.distance)
                rows.append(
                    ViewRow(
                        level=task.level,
                        trajectory=trajectory.name,
                        goal_frame=goal,
                        costs=tuple(costs.tolist()),
                        distances_m=tuple(reach.distance_m(pose[:2]) for pose in trajectory.poses),
                    )
                )
    return rows


@hydra.main(version_base=None, config_path="conf", config_name="calibrate")
def main(node: DictConfig) -> None:
    """Print the cost."""
    command = configuration.to_object(node, CalibrateCommand)
    console = Console()
    with progress_bars(console) as add_bar:
        found = stop_cost(
            command.calibration,
            command.record,
            checkpoint=command.checkpoint,
            distance=command.distance,
            folder=Path(command.out),
            num_workers=command.workers,
            on_progress=add_bar("views"),
        )
    console.print(f"stop_cost: {found:.6g}")


configuration.store("calibrate_schema", CalibrateCommand)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners import calibrate  # noqa: PLW0406

    calibrate.main()
