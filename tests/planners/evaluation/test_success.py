"""Success by hand, and intervals that are too narrow in neither of their cases."""

from dataclasses import replace

import numpy as np
import pytest

from planners.evaluation.metrics import share_interval
from planners.evaluation.success import Horizon, goal_distance_m, outer_share_interval, success_within
from tests.planners.evaluation.rows import open_loop_row


def row(problem: int, final_position_m: float, *, goal_m: float = 8.0, method: str = "a", num_steps: int = 8):
    return replace(
        open_loop_row(f"p{problem:02d}", trajectory=f"t{problem}", method=method),
        final_position_m=final_position_m,
        start_pose=(1.0, 2.0, 0.5),
        true_poses=((9.0, 9.0, 0.0),) * (num_steps - 1) + ((1.0, 2.0 + goal_m, 0.0),),
        goal_s=num_steps * 0.2503,
    )


def test_by_hand_for_each_horizon():
    rows = [row(0, 0.9), row(1, 1.0), row(2, 1.5), row(3, 2.5)]
    rows += [row(problem, 3.9, goal_m=16.0, num_steps=64) for problem in (4, 5)]
    found = success_within(rows)
    assert list(found) == [Horizon(2.0, 8), Horizon(16.0, 64)]
    near, far = (found[horizon]["a"] for horizon in found)
    # A radius of 1 m, the edge included; a quarter of 8 m is 2 m, of 16 m 4 m.
    assert (near.within_radius.mean, near.within_share.mean) == (0.5, 0.75)
    assert (far.within_radius.mean, far.within_share.mean, far.within_share.n) == (0.0, 1.0, 2)
    assert success_within(rows, 2.5)[Horizon(2.0, 8)]["a"].within_radius.mean == 1.0
    assert Horizon(2.0, 8).label == "2 s (8 steps)" and goal_distance_m(rows[0]) == 8.0


def test_standing_still_passes_the_radius_where_goals_are_near_and_never_the_share():
    rows = [row(problem, 0.75, goal_m=0.75) for problem in range(5)]
    still = success_within(rows)[Horizon(2.0, 8)]["a"]
    assert (still.within_radius.mean, still.within_share.mean) == (1.0, 0.0)


def test_all_alike_still_has_the_width_of_wilson():
    rows = [row(problem, 0.1) for problem in range(10)]
    found = success_within(rows)[Horizon(2.0, 8)]["a"].within_radius
    assert (found.low, found.high) == (share_interval(10, 10).low, 1.0) and found.low < 0.75


def test_ties_count_half_and_widen_the_interval_both_ways():
    found = outer_share_interval(np.array([0.5, 0.5, 0.5]), ["a", "b", "c"], seed=0)
    assert (found.mean, found.n) == (0.5, 3)
    assert (found.low, found.high) == (share_interval(1, 3).low, share_interval(2, 3).high)


def test_problems_of_one_trajectory_are_one():
    # Two trajectories, one with 50 successes and one with 50 failures, know nothing of the share.
    rows = [
        replace(row(number, 0.1 if number < 50 else 5.0), trajectory=f"t{number // 50}")
        for number in range(100)
    ]
    found = success_within(rows)[Horizon(2.0, 8)]["a"].within_radius
    assert (found.low, found.mean, found.high) == (0.0, 0.5, 1.0)


def test_a_problem_that_any_method_failed_counts_for_none():
    rows = [row(0, 0.1), row(1, 9.0), row(0, 9.0, method="b")]
    rows.append(replace(row(1, 0.0, method="b"), final_position_m=None, error="no plan"))
    found = success_within(rows)[Horizon(2.0, 8)]
    assert (found["a"].within_radius.mean, found["b"].within_radius.mean) == (1.0, 0.0)
    assert found["a"].within_radius.n == 1


def test_a_radius_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"must be positive; got 0.0 and 0.25"):
        success_within([row(0, 0.1)], 0.0)
