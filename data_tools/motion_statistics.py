"""Motion statistics: how far and how fast the robots of a set of recordings go, at any frame rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from data_tools.frame_times import period_of, spans_gap
from data_tools.pose import displacement_between
from data_tools.trajectory import Trajectory

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_ROUNDING_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class Stillness:
    """Below which speeds a robot stands still: above the noise of poses, below the slowest drive."""

    speed_m_per_s: float = 0.05
    turn_rad_per_s: float = 0.05

    def __post_init__(self) -> None:
        if self.speed_m_per_s < 0 or self.turn_rad_per_s < 0:
            raise ValueError(
                f"speeds of standing still cannot be negative; got {self.speed_m_per_s} m/s and "
                f"{self.turn_rad_per_s} rad/s"
            )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One number of many displacements."""

    mean: float
    std: float
    min: float
    max: float
    quantiles: tuple[float, ...]
    """At `QUANTILES`."""


@dataclass(frozen=True, kw_only=True)
class Displacements:
    """The displacements of one recording over one horizon, one a frame that has a pose so much later."""

    values: Float64[np.ndarray, "step 3"]
    num_in_gaps: int
    """Frames left out because the recording has a gap where they would end."""


@dataclass(frozen=True, kw_only=True)
class HorizonStatistics:
    """Displacements over one horizon; the summaries are None if there are none."""

    horizon_s: float
    num_displacements: int
    num_in_gaps: int
    num_too_short: int
    """Trajectories that are shorter than the horizon."""
    distance_m: Summary | None
    dx_m: Summary | None
    dy_m: Summary | None
    dyaw_rad: Summary | None


@dataclass(frozen=True, kw_only=True)
class MotionStatistics:
    """What a set of recordings holds; shares and spacing are None if no step could be measured."""

    num_trajectories: int
    num_without_poses: int
    num_frames: int
    duration_s: float
    path_m: float
    """Sum of the distances between neighbouring frames."""
    period_s: Summary | None
    """Median time between frames of each trajectory."""
    step_s: float
    """The time over which spacing and shares are measured."""
    spacing_m: float | None
    """Mean distance that a robot goes in one step: the unit of NWM's scores."""
    still_share: float | None
    turning_share: float | None
    """Steps that turn on the spot."""
    backward_share: float | None
    horizons: tuple[HorizonStatistics, ...]


def displacements_after(trajectory: Trajectory, horizon_s: float) -> Displacements:
    """Return how a robot has moved `horizon_s` [s] after each of its frames, in the robot frame there.

    Poses between frames are interpolated, positions along the straight line, so that a horizon need not be a
    multiple of the frame period. ValueError without poses, or for a horizon that is not above 0.
    """
    if trajectory.poses is None:
        raise ValueError(f"trajectory {trajectory.name!r} has no poses: it is plain video")
    if not horizon_s > 0:
        raise ValueError(f"a horizon must be above 0 s; got {horizon_s}")
    times_s, poses = trajectory.times_s, trajectory.poses
    starts = np.flatnonzero(times_s + horizon_s <= times_s[-1] + _ROUNDING_S)
    if len(starts) == 0:
        return Displacements(values=np.zeros((0, 3)), num_in_gaps=0)
    moments_s = times_s[starts] + horizon_s
    after = np.searchsorted(times_s, moments_s - _ROUNDING_S).clip(max=len(times_s) - 1)
    is_in_gap = spans_gap(times_s, after - 1, after)
    ends = _poses_at(times_s, poses, moments_s)
    values = displacement_between(poses[starts], ends)[~is_in_gap]
    return Displacements(values=values, num_in_gaps=int(is_in_gap.sum()))


def measure_motion(
    trajectories: Sequence[Trajectory],
    *,
    step_s: float,
    horizons_s: Sequence[float],
    stillness: Stillness,
) -> MotionStatistics:
    """Measure a set of recordings.

    Args:
        trajectories: Those without poses only count.
        step_s: Time of one step [s], for spacing and shares; 0.25 in NWM.
        horizons_s: Times after which displacements are described [s].
        stillness: What standing still is.

    Returns:
        The statistics, every displacement of every trajectory weighing the same.
    """
    posed = [each for each in trajectories if each.poses is not None]
    steps = np.concatenate([np.zeros((0, 3)), *(displacements_after(each, step_s).values for each in posed)])
    distance_m = np.hypot(steps[:, 0], steps[:, 1])
    is_slow = distance_m < stillness.speed_m_per_s * step_s
    is_turning = np.abs(steps[:, 2]) >= stillness.turn_rad_per_s * step_s
    periods_s = [period_of(each.times_s) for each in trajectories if each.num_frames > 1]
    return MotionStatistics(
        num_trajectories=len(trajectories),
        num_without_poses=len(trajectories) - len(posed),
        num_frames=sum(each.num_frames for each in trajectories),
        duration_s=float(sum(each.times_s[-1] - each.times_s[0] for each in trajectories)),
        path_m=float(sum(each.step_lengths_m.sum() for each in posed)),
        period_s=_summary(np.array(periods_s)),
        step_s=step_s,
        spacing_m=_mean(distance_m),
        still_share=_mean(is_slow & ~is_turning),
        turning_share=_mean(is_slow & is_turning),
        backward_share=_mean(~is_slow & (steps[:, 0] < -stillness.speed_m_per_s * step_s)),
        horizons=tuple(_measure_horizon(posed, horizon_s) for horizon_s in horizons_s),
    )


def _measure_horizon(posed: Sequence[Trajectory], horizon_s: float) -> HorizonStatistics:
    found = [displacements_after(each, horizon_s) for each in posed]
    values = np.concatenate([np.zeros((0, 3)), *(each.values for each in found)])
    return HorizonStatistics(
        horizon_s=horizon_s,
        num_displacements=len(values),
        num_in_gaps=sum(each.num_in_gaps for each in found),
        num_too_short=sum(len(each.values) + each.num_in_gaps == 0 for each in found),
        distance_m=_summary(np.hypot(values[:, 0], values[:, 1])),
        dx_m=_summary(values[:, 0]),
        dy_m=_summary(values[:, 1]),
        dyaw_rad=_summary(values[:, 2]),
    )


def _poses_at(
    times_s: Float64[np.ndarray, " _"],
    poses: Float64[np.ndarray, "_ 3"],
    moments_s: Float64[np.ndarray, " moment"],
) -> Float64[np.ndarray, "moment 3"]:
    # Headings are interpolated along the shorter way round.
    columns = (poses[:, 0], poses[:, 1], np.unwrap(poses[:, 2]))
    return np.stack([np.interp(moments_s, times_s, column) for column in columns], axis=-1)


def _summary(values: Float[np.ndarray, " _"]) -> Summary | None:
    if len(values) == 0:
        return None
    return Summary(
        mean=float(values.mean()),
        std=float(values.std()),
        min=float(values.min()),
        max=float(values.max()),
        quantiles=tuple(np.quantile(values, QUANTILES).tolist()),
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
