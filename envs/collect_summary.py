"""Summary of a collection: how far, how fast and how varied the recorded trajectories are."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from rich.table import Table

from data_tools.pose import displacement_between
from data_tools.trajectory import TextKind
from envs.level_recorder import Recording

HORIZON_STEPS = 8
"""Steps of the planning horizon (2 s)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Facts about one trajectory, as sums, so that those of many add up.

    Attributes:
        name: Name of the trajectory.
        level: Its level.
        policy: Which policy drove it.
        num_frames: Number of frames.
        num_steps: Number of steps.
        num_collided: Steps that were cut short.
        path_m: Length of the path [m].
        duration_s: Time it took [s].
        num_horizons: Displacements over the planning horizon, one from each frame.
        horizon_sum: Sum of those displacements (dx, dy, dyaw) [m, m, rad].
        horizon_squares: Sum of their squares.
        num_captions: Captions.
        num_questions: Questions.
        num_instructions: Instructions.
        num_held_out: Instructions whose wording is kept from training.
    """

    name: str
    level: str
    policy: str
    num_frames: int
    num_steps: int
    num_collided: int
    path_m: float
    duration_s: float
    num_horizons: int
    horizon_sum: list[float]
    horizon_squares: list[float]
    num_captions: int
    num_questions: int
    num_instructions: int
    num_held_out: int

    @staticmethod
    def read(path: Path) -> "Row":
        """Read a row that the recorder wrote."""
        try:
            return Row(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not the row of a trajectory ({error}); "
                f"remove the trajectory {path.stem} and run again"
            ) from error


def row_of(recording: Recording) -> Row:
    """Return the facts about a recording."""
    trajectory = recording.trajectory
    assert trajectory.poses is not None
    ahead = horizon_displacements(trajectory.poses)
    kinds = [text.kind for text in trajectory.texts]
    return Row(
        name=trajectory.name,
        level=trajectory.place,
        policy=recording.policy.name,
        num_frames=trajectory.num_frames,
        num_steps=len(recording.collided),
        num_collided=int(recording.collided.sum()),
        path_m=float(trajectory.step_lengths_m.sum()),
        duration_s=float(trajectory.times_s[-1] - trajectory.times_s[0]),
        num_horizons=len(ahead),
        horizon_sum=ahead.sum(axis=0).tolist(),
        horizon_squares=np.square(ahead).sum(axis=0).tolist(),
        num_captions=kinds.count(TextKind.caption),
        num_questions=kinds.count(TextKind.question),
        num_instructions=kinds.count(TextKind.instruction),
        num_held_out=sum(text.held_out for text in trajectory.texts),
    )


def horizon_displacements(poses: Float64[np.ndarray, "frame 3"]) -> Float64[np.ndarray, "start 3"]:
    """Return the displacement over the planning horizon from each frame that has one."""
    return displacement_between(poses[:-HORIZON_STEPS], poses[HORIZON_STEPS:])


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What some trajectories are like together.

    Attributes:
        num_trajectories: How many.
        num_frames: Their frames.
        spacing_m: Mean step length.
        speed_m_s: Path over time.
        collided: Share of steps that were cut short.
        horizon_rms_m: Root mean square of the way over the planning horizon.
        horizon_rms_left_by_mean_m: The same of what the mean motion leaves unexplained.
        horizon_rms_left_by_mean_rad: The same of the turn.
        num_captions: Captions.
        num_questions: Questions.
        num_instructions: Instructions.
        num_held_out: Instructions whose wording is kept from training.
    """

    num_trajectories: int
    num_frames: int
    spacing_m: float
    speed_m_s: float
    collided: float
    horizon_rms_m: float
    horizon_rms_left_by_mean_m: float
    horizon_rms_left_by_mean_rad: float
    num_captions: int
    num_questions: int
    num_instructions: int
    num_held_out: int


def summarise(rows: list[Row]) -> dict[str, Numbers]:
    """Return the numbers of a collection: over `all`, and by `policy_<name>` and `level_<name>`."""
    groups = {"all": rows}
    for policy in sorted({row.policy for row in rows}):
        groups[f"policy_{policy}"] = [row for row in rows if row.policy == policy]
    for level in sorted({row.level for row in rows}):
        groups[f"level_{level}"] = [row for row in rows if row.level == level]
    return {name: _add_up(members) for name, members in groups.items()}


def numbers_table(groups: dict[str, Numbers]) -> Table:
    """Return the numbers as a table for the terminal."""
    table = Table("", "frames", "spacing m", "speed m/s", "collided", "2 s rms m", "left by mean m")
    for name, numbers in groups.items():
        table.add_row(
            name,
            f"{numbers.num_frames}",
            f"{numbers.spacing_m:.3f}",
            f"{numbers.speed_m_s:.2f}",
            f"{numbers.collided:.1%}",
            f"{numbers.horizon_rms_m:.2f}",
            f"{numbers.horizon_rms_left_by_mean_m:.2f}",
        )
    return table


def _add_up(rows: list[Row]) -> Numbers:
    num_steps = sum(row.num_steps for row in rows)
    path_m = sum(row.path_m for row in rows)
    # Trajectories shorter than the horizon have no such displacement, and nothing to add.
    num_horizons = max(1, sum(row.num_horizons for row in rows))
    mean = np.sum([row.horizon_sum for row in rows], axis=0) / num_horizons
    square = np.sum([row.horizon_squares for row in rows], axis=0) / num_horizons
    variance = np.maximum(square - np.square(mean), 0.0)
    return Numbers(
        num_trajectories=len(rows),
        num_frames=sum(row.num_frames for row in rows),
        spacing_m=path_m / num_steps,
        speed_m_s=path_m / sum(row.duration_s for row in rows),
        collided=sum(row.num_collided for row in rows) / num_steps,
        horizon_rms_m=math.sqrt(square[:2].sum()),
        horizon_rms_left_by_mean_m=math.sqrt(variance[:2].sum()),
        horizon_rms_left_by_mean_rad=math.sqrt(variance[2]),
        num_captions=sum(row.num_captions for row in rows),
        num_questions=sum(row.num_questions for row in rows),
        num_instructions=sum(row.num_instructions for row in rows),
        num_held_out=sum(row.num_held_out for row in rows),
    )
