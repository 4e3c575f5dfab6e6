"""Recorded problems: planning problems of a data set, cut from its trajectories by an evaluation index.

The prior, the bounds and the spacing are those of the set's training trajectories; problems are cut from the
others. Whether a model saw the set in training is read from its record, not from what the user says.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from data_tools.evaluation_index import EvaluationIndex, IndexKind, Window, match_index, read_index
from data_tools.evaluation_windows import IndexConfig, generate_index
from data_tools.fingerprint import fingerprint
from data_tools.formats.nwm import read_names
from data_tools.pose import displacement_between
from data_tools.splits import split_by_trajectory
from data_tools.trajectory import Trajectory, read_trajectories, read_trajectory
from planners.candidates import Bounds, Parameterisation, fit_prior
from planners.evaluation.problems import PlanningProblem, step_before
from planners.prior import TrainingPrior

_BOUND_SLACK = 1.25
"""Candidates may move this much faster than any step of training trajectories."""


@dataclass(frozen=True, kw_only=True)
class RecordedConfig:
    """Which trajectories of a data set are for what, and which problems are cut."""

    period_s: float | None = None
    """Time between frames [s] of folders that hold no times (NWM's: 0.25)."""
    train_names: str | None = None
    """File of the names for training (the prior is fitted on them); None splits by `held_out_fraction`."""
    test_names: str | None = None
    held_out_fraction: float = 0.3
    split_seed: int = 0
    index: str | None = None
    """Windows to plan from: a file of ours, or NWM's navigation_eval.pkl; None generates it by NWM's rule."""
    index_seed: int = 0
    goals_s: list[float] = field(default_factory=lambda: [2.0])
    """How far ahead goals lie [s]: 2 as in NWM; 4, 8 and 16 make planning harder."""
    data_set: str | None = None
    """What published results call the set; None is the name of its folder."""
    problems_per_shard: int = 6
    parameterisation: Parameterisation = Parameterisation.arc
    odometry: bool = True
    """Plan from how the robot last moved: candidates are drawn from what follows such a step."""

    def __post_init__(self) -> None:
        if (self.train_names is None) != (self.test_names is None):
            raise ValueError("needed both train_names and test_names, or neither; got one of them")
        if not self.goals_s or min(self.goals_s) <= 0 or len(set(self.goals_s)) < len(self.goals_s):
            raise ValueError(f"goals_s must be times above 0 that differ, got {self.goals_s}")
        if self.problems_per_shard < 1:
            raise ValueError(f"problems_per_shard must be at least 1, got {self.problems_per_shard}")
        if self.index is not None and len(self.goals_s) > 1:
            raise ValueError("an index says how far ahead goals lie; give one goals_s beside it")


@dataclass(frozen=True)
class RecordedSet:
    """A data set: trajectories that the prior is fitted on, and those that problems are cut from."""

    train: tuple[Trajectory, ...]
    held_out: tuple[Trajectory, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of all trajectories, and of which are held out."""
        return f"{fingerprint(self.train)[:32]}{fingerprint(self.held_out)[:32]}"

    @property
    def period_s(self) -> float:
        """Median time between frames of training trajectories [s]."""
        return float(np.median(np.concatenate([np.diff(each.times_s) for each in self.train])))


def open_recorded(folder: Path, config: RecordedConfig) -> RecordedSet:
    """Open a data set and split it; trajectories without poses are left out.

    ValueError if a side is empty, or the same recording is on both.
    """
    whole = _with_poses(read_trajectories(folder, period_s=config.period_s).trajectories)
    if not whole:
        raise ValueError(f"{folder} holds no trajectory with poses that can be read")
    if config.train_names is None or config.test_names is None:
        split = split_by_trajectory(whole, seed=config.split_seed, held_out_fraction=config.held_out_fraction)
        return RecordedSet(split.train, split.held_out)
    by_name = {each.name: each for each in whole}
    train, held_out = (
        tuple(by_name[name] for name in read_names(Path(path)) if name in by_name)
        for path in (config.train_names, config.test_names)
    )
    if not train or not held_out:
        raise ValueError(
            f"{folder} needs trajectories of both lists; it has {len(train)} of {config.train_names} and "
            f"{len(held_out)} of {config.test_names}"
        )
    if both := sorted({each.name for each in train} & {each.name for each in held_out}):
        raise ValueError(f"{both[0]} is in both lists; a trajectory is for training or for tests")
    return RecordedSet(train, held_out)


def fit_recorded_prior(recorded: RecordedSet, config: RecordedConfig, *, horizon: int) -> TrainingPrior:
    """Fit the prior on the training trajectories; its bounds are a little above their fastest steps."""
    assert all(each.poses is not None for each in recorded.train)
    steps = [
        displacement_between(each.poses[:-1], each.poses[1:])
        for each in recorded.train
        if each.poses is not None and each.num_frames > 1
    ]
    prior = fit_prior(
        steps,
        parameterisation=config.parameterisation,
        with_odometry=config.odometry,
        horizon=horizon,
        dt_s=recorded.period_s,
        bounds=_bounds(np.concatenate(steps)),
    )
    spacing_m = float(np.linalg.norm(np.concatenate(steps)[:, :2], axis=1).mean())
    return TrainingPrior(prior=prior, spacing_m=spacing_m)


def _bounds(steps: Float[np.ndarray, "step 3"]) -> Bounds:
    dx_m, dy_m, dyaw_rad = (_BOUND_SLACK * np.abs(steps).max(axis=0)).tolist()
    return Bounds(dx_m=dx_m, dy_m=dy_m, dyaw_rad=dyaw_rad)


def navigation_index(
    recorded: RecordedSet, config: RecordedConfig, *, goal_s: float, num_problems: int, num_context: int
) -> EvaluationIndex:
    """Read the index that is named, or generate one by NWM's rule; windows outside are refused by name."""
    if config.index is None:
        return generate_index(
            recorded.held_out,
            IndexKind.navigation,
            config=IndexConfig(
                num_navigation=num_problems,
                num_context=num_context,
                goal_s=goal_s,
                num_trajectories=None,
                allow_fewer=True,
            ),
            seed=config.index_seed,
        )
    index = read_index(Path(config.index), kind=IndexKind.navigation)
    match = match_index(index, recorded.held_out, num_context=num_context)
    trained = {each.name for each in recorded.train} & match.unknown.keys()
    if trained:
        raise ValueError(
            f"{config.index} asks for {sorted(trained)[0]}, which is a training trajectory here; give the "
            "set's own train_names and test_names"
        )
    if not match.usable:
        raise ValueError(f"no window of {config.index} fits these trajectories: {match.describe()}")
    windows = tuple(window for window, _ in match.usable[:num_problems])
    return EvaluationIndex(kind=index.kind, windows=windows, provenance=index.provenance)


@dataclass(frozen=True, kw_only=True)
class RecordedShard:
    """Some windows of one goal distance; its name is that of its file."""

    name: str
    split: str
    folder: str
    period_s: float | None
    windows: tuple[Window, ...]


def cut_into_shards(
    index: EvaluationIndex, *, split: str, folder: Path, config: RecordedConfig
) -> list[RecordedShard]:
    """Cut an index into shards, in its order: a longer index adds shards at the end."""
    size = config.problems_per_shard
    return [
        RecordedShard(
            name=f"{split}-{start // size:05d}",
            split=split,
            folder=str(folder),
            period_s=config.period_s,
            windows=index.windows[start : start + size],
        )
        for start in range(0, len(index.windows), size)
    ]


def read_problem(
    window: Window, shard: RecordedShard, *, num_context: int, spacing_m: float
) -> PlanningProblem:
    """Cut one problem from its trajectory."""
    trajectory = _trajectory(Path(shard.folder) / window.trajectory, shard.period_s)
    assert trajectory.poses is not None
    frame, goal = window.frame, window.frame + window.max_offset
    return PlanningProblem(
        problem_id=problem_id(window),
        split=shard.split,
        level=trajectory.place,
        trajectory=trajectory.name,
        frame=frame,
        context=np.stack([trajectory.frames[index] for index in range(frame - num_context + 1, frame + 1)]),
        goal=trajectory.frames[goal],
        start_pose=trajectory.poses[frame],
        last_step=step_before(trajectory.poses, frame),
        true_poses=trajectory.poses[frame + 1 : goal + 1],
        goal_s=float(trajectory.times_s[goal] - trajectory.times_s[frame]),
        spacing_m=spacing_m,
    )


def problem_id(window: Window) -> str:
    """Return the name of a problem, from which its random streams come: the same for every model."""
    return f"{window.trajectory}/{window.frame}+{window.max_offset}"


@functools.lru_cache(maxsize=8)
def _trajectory(folder: Path, period_s: float | None) -> Trajectory:
    return read_trajectory(folder, period_s=period_s)


def _with_poses(trajectories: Sequence[Trajectory]) -> tuple[Trajectory, ...]:
    return tuple(each for each in trajectories if each.poses is not None)
