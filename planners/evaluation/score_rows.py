"""Score rows: planned paths against recordings, one row a plan, and the baselines that need no planner."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from data_tools.action_text import format_actions
from data_tools.pose import displacement_between
from data_tools.trajectory import Trajectory
from planners.evaluation.answers import failed_row
from planners.evaluation.metrics import path_errors
from planners.evaluation.planned_paths import FaultKind, PathFault, PlannedPath
from planners.evaluation.records import OpenLoopRow, Provenance
from planners.evaluation.summary import Method

BASELINES = (Method.stand_still.name, Method.straight_ahead.name)
"""They look at nothing, and every table holds them: ATE says little without."""


@dataclass(frozen=True, order=True)
class Window:
    """A problem: where plans start, and how many steps ahead their goal is."""

    trajectory: str
    frame: int
    num_steps: int

    @property
    def problem_id(self) -> str:
        """What rows call it."""
        return f"{self.trajectory}/{self.frame}/{self.num_steps}"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The recordings that plans are scored against."""

    trajectories: Mapping[str, Trajectory]
    data_set: str
    spacing_m: float | None
    """None where only frames are scored."""
    unreadable: Mapping[str, str]
    """Name -> why it was not read."""


@dataclass(frozen=True)
class Scored:
    """Rows of every method on every window, and what is not scored."""

    rows: tuple[OpenLoopRow, ...]
    faults: tuple[PathFault, ...]


def mean_spacing_m(trajectories: Iterable[Trajectory]) -> float:
    """Return the mean step length over all steps of trajectories with poses; ValueError if nothing moves."""
    lengths = [each.step_lengths_m for each in trajectories if each.poses is not None]
    steps = np.concatenate(lengths) if lengths else np.zeros(0)
    if not len(steps) or not steps.mean() > 0:
        raise ValueError("the truth has no motion to measure a spacing from; give spacing_m")
    return float(steps.mean())


def score_paths(
    paths: Sequence[PlannedPath],
    truth: Truth,
    provenance: Provenance,
    *,
    faults: Sequence[PathFault] = (),
    asked: Collection[tuple[str, int]] = (),
) -> Scored:
    """Score plans as open loop does, without rounding them through text.

    A window that any method answered is a problem for all of them; one that a method has no plan for is its
    failure, and has a row that says so.

    Args:
        paths: Plans of any number of methods.
        truth: The recordings.
        provenance: What the rows share.
        faults: Plans that could not be read.
        asked: Trajectories and frames that were to be answered, at every horizon that there is a plan for.

    Returns:
        Rows by window and method, with those of the baselines, and all faults, the given ones first.
    """
    if truth.spacing_m is None:
        raise ValueError("plans are scored in units of a spacing too; give the truth's")
    found: list[PathFault] = list(faults)
    plans: dict[Window, dict[str, PlannedPath]] = {}
    for path in paths:
        window = Window(path.trajectory, path.frame, path.num_steps)
        plans.setdefault(window, {})[path.method] = path
    methods = list(dict.fromkeys([*(path.method for path in paths), *_methods_of(faults)]))
    known = _by_plan(faults)
    rows: list[OpenLoopRow] = []
    for window in sorted({*plans, *_windows_of(faults), *_windows_asked(asked, paths)}):
        outside = _why_outside(window, truth)
        answers = plans.get(window, {})
        if outside is not None:
            blamed = methods if (window.trajectory, window.frame) in asked else list(answers)
            found += [_fault(*outside, window, method) for method in blamed]
            error = f"{outside[0].name}: {outside[1]}"
            rows += [_empty_row(window, method, truth, provenance, error) for method in methods]
            continue
        for method in methods:
            if method in answers:
                rows.append(_row(window, method, answers[method].displacements, truth, provenance))
                continue
            why = _why_unread(known.get((method, window.trajectory, window.frame), []), window)
            found += [] if why else [_fault(FaultKind.missing, "no plan", window, method)]
            rows.append(_empty_row(window, method, truth, provenance, why or "missing: no plan"))
        for method, displacements in _baselines(window, truth).items():
            rows.append(_row(window, method, displacements, truth, provenance))
    return Scored(tuple(rows), tuple(found))


def count_faults(faults: Iterable[PathFault]) -> Mapping[FaultKind, int]:
    """Return how many faults there are of each kind that occurs."""
    counts = Counter(fault.kind for fault in faults)
    return {kind: counts[kind] for kind in FaultKind if counts[kind]}


def _why_outside(window: Window, truth: Truth) -> tuple[FaultKind, str] | None:
    """Say why the truth does not hold a window."""
    trajectory = truth.trajectories.get(window.trajectory)
    if trajectory is None:
        reason = truth.unreadable.get(window.trajectory, "no trajectory of that name")
        return FaultKind.unknown_trajectory, reason
    if trajectory.poses is None:
        return FaultKind.unknown_trajectory, "it has no poses"
    last = trajectory.num_frames - 1
    if window.frame + window.num_steps > last:
        return (
            FaultKind.frame_outside,
            f"frames {window.frame} to {window.frame + window.num_steps}; the trajectory's last is {last}",
        )
    return None


def _why_unread(faults: Sequence[PathFault], window: Window) -> str | None:
    """Return the fault of a plan that was read badly, so that it is not counted as missing too."""
    for fault in faults:
        if fault.num_steps in (None, window.num_steps) and fault.kind is not FaultKind.duplicate:
            return f"{fault.kind.name}: {fault.detail}"
    return None


def _by_plan(faults: Sequence[PathFault]) -> dict[tuple[str | None, str | None, int | None], list[PathFault]]:
    found: dict[tuple[str | None, str | None, int | None], list[PathFault]] = {}
    for fault in faults:
        found.setdefault((fault.method, fault.trajectory, fault.frame), []).append(fault)
    return found


def _windows_of(faults: Sequence[PathFault]) -> set[Window]:
    return {
        Window(fault.trajectory, fault.frame, fault.num_steps)
        for fault in faults
        if fault.trajectory is not None and fault.frame is not None and fault.num_steps is not None
    }


def _windows_asked(asked: Collection[tuple[str, int]], paths: Sequence[PlannedPath]) -> set[Window]:
    horizons = {path.num_steps for path in paths}
    return {Window(name, frame, num_steps) for name, frame in asked for num_steps in horizons}


def _methods_of(faults: Sequence[PathFault]) -> list[str]:
    return [fault.method for fault in faults if fault.method is not None]


def _fault(kind: FaultKind, detail: str, window: Window, method: str) -> PathFault:
    return PathFault(
        kind=kind,
        where="truth",
        detail=detail,
        method=method,
        trajectory=window.trajectory,
        frame=window.frame,
        num_steps=window.num_steps,
    )


def _baselines(window: Window, truth: Truth) -> dict[str, Float64[np.ndarray, "step 3"]]:
    assert truth.spacing_m is not None
    still = np.zeros((window.num_steps, 3))
    ahead = still.copy()
    ahead[:, 0] = truth.spacing_m
    return dict(zip(BASELINES, (still, ahead), strict=True))


def _row(
    window: Window,
    method: str,
    displacements: Float64[np.ndarray, "step 3"],
    truth: Truth,
    provenance: Provenance,
) -> OpenLoopRow:
    assert truth.spacing_m is not None
    empty = _empty_row(window, method, truth, provenance, "")
    poses = np.array([empty.start_pose, *empty.true_poses])
    errors = path_errors(
        displacements, displacement_between(poses[:-1], poses[1:]), spacing_m=truth.spacing_m
    )
    return replace(
        empty,
        error=None,
        ate_m=errors.ate_m,
        rpe_m=errors.rpe_m,
        ate_spacing=errors.ate_spacing,
        rpe_spacing=errors.rpe_spacing,
        final_position_m=errors.final_position_m,
        final_yaw_rad=errors.final_yaw_rad,
        plan=_texts(displacements, truth.trajectories[window.trajectory], window),
    )


def _texts(displacements: np.ndarray, trajectory: Trajectory, window: Window) -> tuple[str, ...]:
    """Return the plan as text, for people; none where the text cannot hold it."""
    times_s = trajectory.times_s[window.frame : window.frame + window.num_steps + 1]
    try:
        return tuple(format_actions(np.concatenate([displacements, np.diff(times_s)[:, None]], axis=1)))
    except ValueError:
        return ()


def _empty_row(window: Window, method: str, truth: Truth, provenance: Provenance, error: str) -> OpenLoopRow:
    """Return a row without numbers; it has the truth where there is one."""
    trajectory = truth.trajectories.get(window.trajectory)
    has_truth = _why_outside(window, truth) is None
    poses: np.ndarray = np.zeros((0, 3))
    goal_s = 0.0
    if has_truth and trajectory is not None and trajectory.poses is not None:
        end = window.frame + window.num_steps
        poses = trajectory.poses[window.frame : end + 1]
        goal_s = float(trajectory.times_s[end] - trajectory.times_s[window.frame])
    empty = failed_row(
        window.problem_id,
        method,
        error,
        provenance,
        split=truth.data_set,
        level="" if trajectory is None else trajectory.place,
    )
    return replace(
        empty,
        trajectory=window.trajectory,
        frame=window.frame,
        start_pose=tuple(poses[0].tolist()) if has_truth else (),
        true_poses=tuple(tuple(pose) for pose in poses[1:].tolist()),
        goal_s=goal_s,
        spacing_m=truth.spacing_m or 0.0,
    )
