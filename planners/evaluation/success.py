"""Success: the share of problems whose planned end is near the goal, for each horizon.

ATE hardly separates planners where the goal is 2 s away, and says nothing of who arrives. Success asks for
the planned end within a radius of the goal, and, since standing still passes that where goals are near,
within a share of the goal's own distance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data_tools.randomness import numpy_generator_for
from planners.evaluation.metrics import Interval, mean_interval, share_interval
from planners.evaluation.records import OpenLoopRow

RADIUS_M = 1.0
"""As in closed loop, and in Habitat's image-goal tasks."""
GOAL_SHARE = 0.25
"""Asks as much as the radius where goals are 4 m away, and more where they are nearer."""


@dataclass(frozen=True, order=True)
class Horizon:
    """How far ahead goals are."""

    goal_s: float
    num_steps: int

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"{self.goal_s:g} s ({self.num_steps} steps)"


@dataclass(frozen=True, kw_only=True)
class Success:
    """One method at one horizon."""

    within_radius: Interval
    within_share: Interval


def horizon_of(row: OpenLoopRow) -> Horizon:
    """Return the horizon of a row; times are rounded to a tenth, for clocks are never quite even."""
    return Horizon(round(row.goal_s, 1), len(row.true_poses))


def goal_distance_m(row: OpenLoopRow) -> float:
    """Return how far the goal is from the start, in a straight line."""
    start, goal = row.start_pose, row.true_poses[-1]
    return math.hypot(goal[0] - start[0], goal[1] - start[1])


def success_within(
    rows: Sequence[OpenLoopRow], radius_m: float = RADIUS_M, *, goal_share: float = GOAL_SHARE, seed: int = 0
) -> Mapping[Horizon, Mapping[str, Success]]:
    """Return how often each method plans to arrive, by horizon and then method.

    Problems on which any method failed are left out for all methods of that horizon. The interval is the
    outer one of two, since each is too narrow in one case: Wilson's takes problems of one trajectory for
    independent, the bootstrap over trajectories has no width where all problems end alike.

    Args:
        rows: Of any number of methods and horizons.
        radius_m: Largest distance of the planned from the true final position.
        goal_share: The same as a share of the distance from start to goal.
        seed: Of the bootstrap.

    Returns:
        Shares with 95% intervals, horizons in order; those without a whole problem are absent.
    """
    if not (radius_m > 0 and goal_share > 0):
        raise ValueError(f"radius_m and goal_share must be positive; got {radius_m} and {goal_share}")
    failed = {row.problem_id for row in rows if row.error is not None}
    whole = [row for row in rows if row.problem_id not in failed]
    found: dict[Horizon, dict[str, Success]] = {}
    for horizon in sorted({horizon_of(row) for row in whole}):
        own = [row for row in whole if horizon_of(row) == horizon]
        found[horizon] = {
            method: _success([row for row in own if row.method == method], radius_m, goal_share, seed)
            for method in dict.fromkeys(row.method for row in own)
        }
    return found


def _success(rows: Sequence[OpenLoopRow], radius_m: float, goal_share: float, seed: int) -> Success:
    ordered = sorted(rows, key=lambda row: row.problem_id)
    trajectories = [row.trajectory for row in ordered]
    final_m = np.array([row.final_position_m for row in ordered], dtype=np.float64)
    goals_m = np.array([goal_distance_m(row) for row in ordered])
    return Success(
        within_radius=outer_share_interval((final_m <= radius_m) * 1.0, trajectories, seed=seed),
        within_share=outer_share_interval((final_m <= goal_share * goals_m) * 1.0, trajectories, seed=seed),
    )


def outer_share_interval(
    outcomes: Float[np.ndarray, " problem"], trajectories: Sequence[str], *, seed: int
) -> Interval:
    """Return the mean of outcomes from 0 to 1 with the outer one of Wilson's and the bootstrap's interval.

    Outcomes between (a tie that counts half) are counted down for Wilson's lower bound and up for its upper.
    """
    num_won = float(outcomes.sum())
    lowest = share_interval(math.floor(num_won), len(outcomes))
    highest = share_interval(math.ceil(num_won), len(outcomes))
    rng = numpy_generator_for(seed, "bootstrap/success")
    resampled = mean_interval(outcomes, trajectories, rng=rng)
    return Interval(
        mean=resampled.mean,
        low=min(lowest.low, resampled.low),
        high=max(highest.high, resampled.high),
        n=resampled.n,
    )
