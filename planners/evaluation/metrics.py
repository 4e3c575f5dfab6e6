"""Metrics: how far a plan is from the truth, and how sure a mean over problems is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from evo.core.metrics import APE, RPE, PoseRelation, StatisticsType, Unit
from evo.core.trajectory import PosePath3D
from jaxtyping import Float, Int
from scipy.stats import binomtest

from data_tools.pose import integrate, wrap_angle

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
"""Bootstrap samples."""


@dataclass(frozen=True, kw_only=True)
class PathErrors:
    """Errors of one plan; metres, radians, and units of the data set's spacing."""

    ate_m: float
    rpe_m: float
    ate_spacing: float
    rpe_spacing: float
    final_position_m: float
    final_yaw_rad: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over `n` problems and its 95% interval."""

    mean: float
    low: float
    high: float
    n: int


def path_errors(
    planned: Float[np.ndarray, "step 3"], true: Float[np.ndarray, "true_step 3"], *, spacing_m: float
) -> PathErrors:
    """Compare two paths, given as displacements [m, m, rad] from the same start.

    ATE is the root mean square distance of the positions after each step, the start left out; RPE the same
    of the position changes between neighbouring poses (8 poses, 7 pairs). No alignment, no scaling, and one
    constant orientation for all poses, so heading counts in `final_yaw_rad` only.

    Source: NWM's `planning_eval.py` by the library `evo`; it reports units of spacing.
    """
    if planned.shape != true.shape or len(true) < 2:
        raise ValueError(
            f"need two paths of the same length, at least 2 steps; got {planned.shape} and {true.shape}"
        )
    if not spacing_m > 0:
        raise ValueError(
            f"spacing_m must be positive; got {spacing_m}. It is the data set's mean step length."
        )
    planned_poses, true_poses = integrate(planned), integrate(true)
    ate_m, rpe_m = position_errors(planned_poses[:, :2], true_poses[:, :2])
    off = planned_poses[-1] - true_poses[-1]
    return PathErrors(
        ate_m=ate_m,
        rpe_m=rpe_m,
        ate_spacing=ate_m / spacing_m,
        rpe_spacing=rpe_m / spacing_m,
        final_position_m=float(np.hypot(off[0], off[1])),
        final_yaw_rad=float(np.abs(wrap_angle(off[2:])[0])),
    )


def position_errors(
    planned: Float[np.ndarray, "step 2"], true: Float[np.ndarray, "step 2"]
) -> tuple[float, float]:
    """Return evo's ATE and RPE of positions, in the unit that they come in.

    The start is no row. No alignment, no scaling, one constant orientation, RPE over neighbouring rows.
    """
    pair = (_evo_path(true), _evo_path(planned))
    ate = APE(PoseRelation.translation_part)
    ate.process_data(pair)
    rpe = RPE(PoseRelation.translation_part, delta=1.0, delta_unit=Unit.frames, all_pairs=False)
    rpe.process_data(pair)
    return float(ate.get_statistic(StatisticsType.rmse)), float(rpe.get_statistic(StatisticsType.rmse))


def mean_interval(
    values: Float[np.ndarray, " problem"],
    trajectories: Sequence[str],
    *,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return the mean over problems with a percentile bootstrap that resamples whole trajectories.

    Problems of one trajectory resemble one another, so trajectories, not problems, are drawn with
    replacement; a drawn trajectory brings all its problems each time it is drawn.

    Args:
        values: One number a problem.
        trajectories: The trajectory (closed loop: the episode) that each problem is from.
        rng: Random stream; consumed.
        num_resamples: Bootstrap samples.

    Returns:
        Mean and 95% interval; with a single trajectory the interval is just the mean.
    """
    return _bootstrap(values[None], trajectories, lambda means: means[0], rng, num_resamples)


def share_interval(num_successes: int, num_trials: int) -> Interval:
    """Return a share and its Wilson score interval.

    A bootstrap of trials that all ended alike has no width, however few they were.
    Source: Wilson 1927, by `scipy.stats.binomtest`.
    """
    found = binomtest(num_successes, num_trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(
        mean=num_successes / num_trials, low=float(found.low), high=float(found.high), n=num_trials
    )


def gap_closed(
    errors: Mapping[str, Float[np.ndarray, " problem"]],
    trajectories: Sequence[str],
    *,
    method: str,
    oracle: str,
    baselines: Sequence[str],
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return what share of the way from the best baseline to the oracle a method goes, by paired bootstrap.

        (best - mean(method)) / (best - mean(oracle)),  best = min over baselines of mean(baseline)

    0 is the best baseline, 1 the oracle, below 0 worse than the baseline. Every bootstrap sample draws
    trajectories with replacement, keeps all methods' errors on them together, and determines the best
    baseline anew. Where the oracle is not better than the best baseline the ratio means nothing: such a
    sample counts as unbounded on both sides, and on all problems together it makes the mean NaN.

    Args:
        errors: Each method's error on each problem, problems in the same order.
        trajectories: The trajectory that each problem is from.
        method: The method to judge.
        oracle: The planner on the true simulator with equal budget.
        baselines: The methods that are no oracle, without `method`.
        rng: Random stream; consumed.
        num_resamples: Bootstrap samples.

    Returns:
        Share of the gap and its 95% interval.
    """
    if not baselines or method in baselines or oracle in baselines:
        raise ValueError(
            f"baselines must name methods other than {method!r} and {oracle!r}; got {list(baselines)}"
        )
    missing = sorted({method, oracle, *baselines} - errors.keys())
    if missing:
        raise ValueError(f"gap closed needs the errors of {missing}; got those of {sorted(errors)}")

    def ratio(means: np.ndarray) -> np.ndarray:  # [method, *resample] -> [*resample]
        best = means[2:].min(axis=0)
        possible = best - means[1]
        is_defined = possible > 0
        return np.where(is_defined, (best - means[0]) / np.where(is_defined, possible, 1.0), np.nan)

    values = np.stack([errors[name] for name in (method, oracle, *baselines)])
    return _bootstrap(values, trajectories, ratio, rng, num_resamples)


def _bootstrap(
    values: Float[np.ndarray, "method problem"],
    trajectories: Sequence[str],
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    num_resamples: int,
) -> Interval:
    """Bootstrap a statistic of the methods' means over whole trajectories; NaN counts as unbounded."""
    if values.shape[1] != len(trajectories) or not len(trajectories):
        raise ValueError(
            f"need one trajectory name a problem, at least one; got {len(trajectories)} names "
            f"for {values.shape[1]} problems"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"metrics must be finite; {int((~np.isfinite(values)).sum())} values are not")
    names, index = np.unique(np.asarray(trajectories), return_inverse=True)
    counts = np.bincount(index, minlength=len(names))
    sums = np.stack([np.bincount(index, weights=row, minlength=len(names)) for row in values])
    drawn = _draw(len(names), num_resamples, rng=rng)
    resampled = statistic(sums[:, drawn].sum(axis=-1) / counts[drawn].sum(axis=-1))
    tail = (1 - CONFIDENCE) / 2
    # Quantiles that are elements of the sample: between infinities there is nothing to interpolate.
    low = np.quantile(np.nan_to_num(resampled, nan=-np.inf), tail, method="lower")
    high = np.quantile(np.nan_to_num(resampled, nan=np.inf), 1 - tail, method="higher")
    mean = float(statistic(values.mean(axis=1)))
    return Interval(mean=mean, low=float(low), high=float(high), n=values.shape[1])


def _draw(
    num_trajectories: int, num_resamples: int, *, rng: np.random.Generator
) -> Int[np.ndarray, "resample trajectory"]:
    return rng.integers(num_trajectories, size=(num_resamples, num_trajectories))


def _evo_path(path: Float[np.ndarray, "step 2"]) -> PosePath3D:
    positions = np.concatenate([path, np.zeros((len(path), 1))], axis=1)
    return PosePath3D(
        positions_xyz=positions, orientations_quat_wxyz=np.tile([1.0, 0.0, 0.0, 0.0], (len(path), 1))
    )
