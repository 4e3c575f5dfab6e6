"""PlanningProblem: a start, what the robot saw, and a goal frame exactly the horizon ahead, as in NWM."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8

from data_tools.pose import displacement_between, integrate, move
from data_tools.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class ProblemShape:
    """What is cut from a trajectory."""

    num_problems: int = 1
    """Problems a trajectory."""
    num_context: int = 4
    """Frames that the planner sees, the start's included."""
    horizon: int = 8
    """Steps from the start to the goal."""

    def __post_init__(self) -> None:
        """Refuse what holds no problem."""
        if min(self.num_problems, self.num_context) < 1 or self.horizon < 2:
            raise ValueError(
                "need num_problems >= 1, num_context >= 1 and horizon >= 2; got "
                f"{self.num_problems}, {self.num_context} and {self.horizon}"
            )

    @property
    def least_frames(self) -> int:
        """Frames that a trajectory must have."""
        return self.num_context + self.horizon + self.num_problems - 1


@dataclass(frozen=True, kw_only=True)
class PlanningProblem:
    """One problem, cut from a trajectory that no model was trained on.

    `true_poses` are the poses after each step of the recording [m, m, rad], in the world frame; the last is
    the goal's. They are never shown to a planner that is no oracle.
    """

    problem_id: str
    split: str
    level: str
    trajectory: str
    frame: int
    context: UInt8[np.ndarray, "frame height width 3"]
    """Oldest first; the last is the view at the start."""
    goal: UInt8[np.ndarray, "height width 3"]
    start_pose: Float64[np.ndarray, " 3"]
    last_step: Float64[np.ndarray, " 3"]
    """Displacement of the last step before the start [m, m, rad], by odometry; 0 if there is none."""
    true_poses: Float64[np.ndarray, "step 3"]
    goal_s: float
    """Time from the start to the goal."""
    spacing_m: float
    """The data set's mean step length; scores are also given in units of it."""

    def true_displacements(self) -> Float64[np.ndarray, "step 3"]:
        """Return the displacement of each step, in the robot frame of its start."""
        before = np.concatenate([self.start_pose[None], self.true_poses[:-1]])
        return displacement_between(before, self.true_poses)


def cut_problems(
    trajectory: Trajectory,
    shape: ProblemShape,
    *,
    split: str,
    name: str,
    spacing_m: float,
    rng: np.random.Generator,
) -> list[PlanningProblem]:
    """Cut problems at distinct random frames of a trajectory.

    Nothing is filtered: a robot that stands, or that faces a bare wall, is part of the task.

    Args:
        trajectory: A recording with poses.
        shape: What to cut.
        split: Name of the split it belongs to.
        name: What the problems' names begin with: `<name>/0`, `<name>/1`, ...
        spacing_m: The data set's mean step length.
        rng: Random stream; consumed.

    Returns:
        Problems in the order of their frames.
    """
    if trajectory.poses is None:
        raise ValueError(f"{trajectory.name} has no poses; planning problems need them to know the truth")
    first, last = shape.num_context - 1, trajectory.num_frames - 1 - shape.horizon
    if trajectory.num_frames < shape.least_frames:
        raise ValueError(
            f"{trajectory.name} has {trajectory.num_frames} frames; {shape.num_problems} problems with "
            f"{shape.num_context} of context and a goal {shape.horizon} steps ahead need "
            f"{shape.least_frames}. Record longer trajectories."
        )
    frames = sorted(rng.choice(np.arange(first, last + 1), size=shape.num_problems, replace=False).tolist())
    return [
        PlanningProblem(
            problem_id=f"{name}/{number}",
            split=split,
            level=trajectory.place,
            trajectory=trajectory.name,
            frame=frame,
            context=np.stack([trajectory.frames[index] for index in range(frame - first, frame + 1)]),
            goal=trajectory.frames[frame + shape.horizon],
            start_pose=trajectory.poses[frame],
            last_step=step_before(trajectory.poses, frame),
            true_poses=trajectory.poses[frame + 1 : frame + shape.horizon + 1],
            goal_s=float(trajectory.times_s[frame + shape.horizon] - trajectory.times_s[frame]),
            spacing_m=spacing_m,
        )
        for number, frame in enumerate(frames)
    ]


def step_before(poses: Float64[np.ndarray, "frame 3"], frame: int) -> Float64[np.ndarray, " 3"]:
    """Return the displacement that led to a frame [m, m, rad]; none led to the first."""
    return displacement_between(poses[frame - 1], poses[frame]) if frame else np.zeros(3)


def path_from(
    start_pose: Float[np.ndarray, " 3"], displacements: Float[np.ndarray, "*batch step 3"]
) -> Float[np.ndarray, "*batch step 3"]:
    """Return the pose after each step in the world frame [m, m, rad], if nothing is in the way."""
    relative = integrate(displacements)
    return move(np.broadcast_to(start_pose, relative.shape), relative)
