"""Pairs are of the same problem, and the difference is taken before the mean."""

from dataclasses import replace

import numpy as np
import pytest

from planners.evaluation.metrics import mean_interval
from planners.evaluation.paired import compare_pairs, join
from planners.evaluation.success import Horizon
from tests.planners.evaluation.rows import open_loop_row


def rows(errors: list[float], *, method: str = "world_model", first: int = 0) -> list:
    return [
        open_loop_row(f"p{number}", trajectory=f"t{number // 2}", method=method, ate_m=error)
        for number, error in enumerate(errors, start=first)
    ]


def test_by_hand_in_any_order():
    one, other = rows([1.0, 2.0, 3.0, 4.0]), rows([0.5, 2.0, 3.5, 1.0])
    (table,) = compare_pairs(join(one, other[::-1]))
    ate = table.metrics["ate_m"]
    assert (ate.first.mean, ate.second.mean, ate.difference.mean) == (2.5, 1.75, -0.75)
    assert ate.won.mean == (1 + 0.5 + 0 + 1) / 4
    # Trajectories t0 (-0.5, 0) and t1 (0.5, -3) are drawn whole.
    assert (ate.difference.low, ate.difference.high) == (-1.25, -0.25)
    assert (table.horizon, table.num_problems) == (Horizon(2.0, 8), 4)


def test_a_constant_difference_has_no_width_where_the_means_have():
    base = np.random.default_rng(0).uniform(0.0, 4.0, 40)
    (table,) = compare_pairs(join(rows(base.tolist()), rows((base + 0.25).tolist())))
    ate = table.metrics["ate_m"]
    assert (ate.difference.low, ate.difference.high) == pytest.approx((0.25, 0.25))
    assert ate.won.mean == 0.0 and ate.second.high - ate.second.low > 0.5


def test_a_run_against_itself_ties():
    own = rows([1.0, 2.0])
    (table,) = compare_pairs(join(own, own))
    for paired in table.metrics.values():
        assert (paired.difference.mean, paired.won.mean) == (0.0, 0.5)


def test_agrees_with_the_bootstrap_of_differences():
    rng = np.random.default_rng(1)
    one, other = rng.uniform(size=30), rng.uniform(size=30)
    (table,) = compare_pairs(join(rows(one.tolist()), rows(other.tolist())))
    names = [f"t{number // 2}" for number in range(30)]
    slow = mean_interval(other - one, names, rng=np.random.default_rng(5), num_resamples=20000)
    found = table.metrics["ate_m"].difference
    assert (found.low, found.high) == pytest.approx((slow.low, slow.high), abs=0.03)


def test_other_spacings_leave_out_what_is_counted_in_them():
    other = [replace(row, spacing_m=0.3) for row in rows([1.0])]
    (table,) = compare_pairs(join(rows([1.0]), other))
    assert "ate_m" in table.metrics and "ate_spacing" not in table.metrics


def test_failures_are_named_and_count_for_neither():
    other = rows([0.5, 0.5])
    other[1] = replace(other[1], ate_m=None, error="no plan", true_poses=())
    joined = join(rows([1.0, 9.0]), other)
    assert joined.failed == ("p1",)
    assert compare_pairs(joined)[0].metrics["ate_m"].first.mean == 1.0


def test_other_problems_are_refused_beyond_the_number_allowed():
    one, other = rows([1.0, 1.0, 1.0]), rows([1.0, 1.0], first=2)
    with pytest.raises(
        ValueError, match=r"2 are in the first only \(p0, p1\) and 1 in the second only \(p3\)"
    ):
        join(one, other, max_unmatched=2)
    joined = join(one, other, max_unmatched=3)
    assert (len(joined.pairs), joined.only_first, joined.only_second) == (1, ("p0", "p1"), ("p3",))


def test_another_truth_is_refused():
    one = rows([1.0])
    moved = [replace(one[0], true_poses=(*one[0].true_poses[:-1], (2.0, 0.001, 0.0)))]
    with pytest.raises(ValueError, match=r"true poses of problem 'p0' differ by up to 0.001"):
        join(one, moved)
    with pytest.raises(ValueError, match="8 true poses in the first and 7 in the second"):
        join(one, [replace(one[0], true_poses=one[0].true_poses[:-1])])
    with pytest.raises(ValueError, match="problem 'p0' comes twice in the second"):
        join(one, one + rows([1.0], method="prior_mean"))
