"""Training prior: what candidates are drawn from, fitted on recorded trajectories.

`python -m planners.prior` prints it.
The trajectories are recorded on training levels, from seeds that no evaluation uses: a planner that is told
where robots usually go must not learn it from the problems.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.pose import displacement_between
from envs.doom_engine import STEP_S
from envs.level_recorder import LevelRecorder, RecordConfig
from envs.levels import TRAIN_LEVELS
from planners.candidates import Parameterisation, Prior, fit_prior
from planners.evaluation.progress import progress_bars
from planners.evaluation.records import hash_with_code
from planners.evaluation.shards import OnProgress, ShardStore, run_shards

DISPLACEMENT_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """What the prior is fitted on.

    Attributes:
        levels: Training levels; a few of `envs.levels.TRAIN_LEVELS` unless given.
        trajectories_per_level: Trajectories of each.
        trajectory_frames: Frames of each trajectory.
        seed: Apart from the seeds of evaluation.
        parameterisation: How numbers stand for a candidate.
        odometry: Plan from how the robot last moved: candidates are drawn from what follows such a step. In
            open loop alone; agents plan without.
        num_points: Motions of a candidate, for `Parameterisation.points`.
    """

    levels: list[str] = field(default_factory=lambda: list(TRAIN_LEVELS[::8]))
    trajectories_per_level: int = 8
    trajectory_frames: int = 60
    seed: int = 1_000_003
    parameterisation: Parameterisation = Parameterisation.arc
    odometry: bool = False
    num_points: int = 3


@dataclass(frozen=True, kw_only=True)
class PriorCommand:
    """`python -m planners.prior out=FOLDER`."""

    out: str = "outputs/prior"
    workers: int = 2
    horizon: int = 8
    prior: PriorConfig = field(default_factory=PriorConfig)
    record: RecordConfig = field(default_factory=RecordConfig)


@dataclass(frozen=True, kw_only=True)
class TrainingPrior:
    """The prior, and the mean step length [m] of its trajectories: the data set's spacing."""

    prior: Prior
    spacing_m: float


@dataclass(frozen=True, kw_only=True)
class DisplacementRow:
    """The displacements of one recorded trajectory."""

    level: str
    trajectory: str
    displacements: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class RecordTask:
    """Trajectories of one level."""

    level: str
    prior: PriorConfig
    record: RecordConfig


def training_prior(
    config: PriorConfig,
    record: RecordConfig,
    *,
    horizon: int,
    folder: Path,
    num_workers: int,
    on_progress: OnProgress | None = None,
) -> TrainingPrior:
    """Record training trajectories, or read those recorded before, and fit the prior.

    Args:
        config: Which trajectories.
        record: How the robot drives; the same as in the problems.
        horizon: Steps in a candidate.
        folder: Where finished parts are kept.
        num_workers: Ray workers; 0 records in this process.
        on_progress: Told after every level.

    Returns:
        The prior and the spacing.
    """
    described = {"prior": configuration.to_dict(config), "record": configuration.to_dict(record)}
    rows = run_shards(
        record_displacements,
        {f"prior-{level}": RecordTask(level=level, prior=config, record=record) for level in config.levels},
        row_type=DisplacementRow,
        store=ShardStore(folder=folder, config_hash=hash_with_code(described)),
        num_workers=num_workers,
        on_progress=on_progress,
    )
    displacements = [np.array(row.displacements, dtype=np.float64).reshape(-1, 3) for row in rows]
    steps_m = np.linalg.norm(np.concatenate(displacements)[:, :2], axis=1)
    prior = fit_prior(
        displacements,
        parameterisation=config.parameterisation,
        with_odometry=config.odometry,
        horizon=horizon,
        dt_s=STEP_S,
        num_points=config.num_points,
    )
    return TrainingPrior(prior=prior, spacing_m=float(steps_m.mean()))


def record_displacements(task: RecordTask) -> Sequence[DisplacementRow]:
    """Record one level's trajectories and keep how the robot moved."""
    record = replace(task.record, trajectory_frames=task.prior.trajectory_frames, caption_share=0.0)
    rows = []
    with LevelRecorder(task.level, record) as recorder:
        for index in range(task.prior.trajectories_per_level):
            trajectory = recorder.record(index, seed=task.prior.seed).trajectory
            assert trajectory.poses is not None
            steps = displacement_between(trajectory.poses[:-1], trajectory.poses[1:])
            rounded = steps.round(DISPLACEMENT_DECIMALS).tolist()
            rows.append(
                DisplacementRow(
                    level=task.level,
                    trajectory=trajectory.name,
                    displacements=tuple(tuple(step) for step in rounded),
                )
            )
    return rows


def describe(fitted: TrainingPrior) -> Mapping[str, object]:
    """Return the prior in plain numbers, a step."""
    prior = fitted.prior
    return {
        "parameterisation": prior.parameterisation.name,
        "mean [m, m, rad]": [round(value, 4) for value in prior.mean.tolist()],
        "standard deviation [m, m, rad]": [
            round(value, 4) for value in prior.covariance.diagonal().sqrt().tolist()
        ],
        "spacing_m": round(fitted.spacing_m, 4),
    }


@hydra.main(version_base=None, config_path="conf", config_name="prior")
def main(node: DictConfig) -> None:
    """Fit the prior and print it."""
    command = configuration.to_object(node, PriorCommand)
    console = Console()
    with progress_bars(console) as add_bar:
        fitted = training_prior(
            command.prior,
            command.record,
            horizon=command.horizon,
            folder=Path(command.out),
            num_workers=command.workers,
            on_progress=add_bar("training prior"),
        )
    console.print(dict(describe(fitted)))


configuration.store("prior_schema", PriorCommand)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners import prior  # noqa: PLW0406

    prior.main()
