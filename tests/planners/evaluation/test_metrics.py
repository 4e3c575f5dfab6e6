import math

import numpy as np
import pytest
from evo import main_ape, main_rpe
from evo.core.metrics import PoseRelation, Unit
from evo.core.trajectory import PoseTrajectory3D

from data_tools.pose import integrate
from planners.evaluation.metrics import gap_closed, mean_interval, path_errors


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_errors_equal_the_calls_that_nwm_makes():
    rng = _rng()
    planned, true = (rng.normal(0.2, 0.3, (8, 3)) for _ in range(2))
    paths = []
    for displacements in (true, planned):
        poses = integrate(displacements)
        paths.append(
            PoseTrajectory3D(
                positions_xyz=np.column_stack([poses[:, :2], np.zeros(8)]),
                orientations_quat_wxyz=np.tile([0.0, 0.0, 0.0, 1.0], (8, 1)),  # any constant one
                timestamps=np.arange(8.0),
            )
        )
    ape = main_ape.ape(*paths, pose_relation=PoseRelation.translation_part, align=False, correct_scale=False)
    rpe = main_rpe.rpe(
        *paths,
        pose_relation=PoseRelation.translation_part,
        delta=1.0,
        delta_unit=Unit.frames,
        rel_delta_tol=0.1,
        align=False,
        correct_scale=False,
    )
    errors = path_errors(planned, true, spacing_m=0.4)
    assert errors.ate_m == pytest.approx(ape.stats["rmse"])
    assert errors.rpe_m == pytest.approx(rpe.stats["rmse"])
    assert len(rpe.np_arrays["error_array"]) == 7
    assert (errors.ate_spacing, errors.rpe_spacing) == pytest.approx((errors.ate_m / 0.4, errors.rpe_m / 0.4))


def test_a_constant_velocity_error_by_hand():
    # An error of e a step gives ATE sqrt(mean(k^2, k = 1..8)) e = 5.05 e and RPE e.
    true = np.tile([0.3, 0.0, 0.0], (8, 1))
    errors = path_errors(true + np.array([0.1, 0.0, 0.0]), true, spacing_m=1.0)
    assert errors.ate_m == pytest.approx(0.1 * math.sqrt(204 / 8))
    assert errors.rpe_m == pytest.approx(0.1)
    assert (errors.final_position_m, errors.final_yaw_rad) == pytest.approx((0.8, 0.0))


def test_yaw_error_is_the_short_way_round():
    true = np.zeros((4, 3))
    planned = true.copy()
    true[0, 2], planned[3, 2] = 3.0, -3.0
    errors = path_errors(planned, true, spacing_m=1.0)
    assert errors.final_yaw_rad == pytest.approx(2 * math.pi - 6)
    assert errors.ate_m == 0


def test_paths_of_different_length_are_refused():
    with pytest.raises(ValueError, match="same length, at least 2"):
        path_errors(np.zeros((7, 3)), np.zeros((8, 3)), spacing_m=1.0)
    with pytest.raises(ValueError, match="spacing_m must be positive"):
        path_errors(np.zeros((8, 3)), np.zeros((8, 3)), spacing_m=0.0)


def test_the_interval_resamples_trajectories_not_problems():
    # Within a trajectory all problems agree: 5 problems of each know no more than one of each.
    values = _rng().normal(size=40)
    names = [f"t{i}" for i in range(40)]
    single = mean_interval(values, names, rng=_rng(1))
    repeated = mean_interval(np.repeat(values, 5), list(np.repeat(names, 5)), rng=_rng(1))
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
    assert (single.n, repeated.n) == (40, 200)
    apart = mean_interval(np.repeat(values, 5), [str(i) for i in range(200)], rng=_rng(1))
    assert apart.high - apart.low < 0.6 * (single.high - single.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = _rng(3)
    hits = 0
    for _ in range(200):
        levels = rng.normal(size=30)
        values = np.concatenate([levels + rng.normal(size=30) for _ in range(2)])
        interval = mean_interval(values, [str(i % 30) for i in range(60)], rng=rng, num_resamples=400)
        hits += interval.low <= 0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.985


def test_problems_weigh_equally_in_the_mean():
    interval = mean_interval(np.array([1.0, 1.0, 4.0]), ["a", "a", "b"], rng=_rng())
    assert interval.mean == 2.0
    assert (interval.low, interval.high) == (1.0, 4.0)


def _errors(num=50):
    rng = _rng(5)
    hard = rng.uniform(0.5, 2.0, num)
    noise = [rng.normal(0, 0.05, num) for _ in range(4)]
    errors = {
        "still": 3 * hard,
        "mean": hard + noise[0],
        "model": 0.6 * hard + noise[1],
        "oracle": 0.2 * hard,
    }
    return errors, [str(i) for i in range(num)]


def test_gap_closed_is_zero_at_the_best_baseline_and_one_at_the_oracle():
    errors, names = _errors()
    ask = {"oracle": "oracle", "baselines": ["still", "mean"], "rng": _rng()}
    assert gap_closed(errors | {"model": errors["oracle"]}, names, method="model", **ask).mean == 1
    assert gap_closed(errors | {"model": errors["mean"]}, names, method="model", **ask).mean == 0
    model = gap_closed(errors, names, method="model", **ask)
    assert model.mean == pytest.approx(0.5, abs=0.02)
    assert model.low < model.mean < model.high


def test_pairing_removes_what_methods_share():
    errors, names = _errors()
    paired = gap_closed(
        errors, names, method="model", oracle="oracle", baselines=["mean", "still"], rng=_rng()
    )
    order = _rng(9).permutation(50)
    broken = gap_closed(
        errors | {"model": errors["model"][order]},
        names,
        method="model",
        oracle="oracle",
        baselines=["mean"],
        rng=_rng(),
    )
    assert paired.mean == pytest.approx(broken.mean)
    assert paired.high - paired.low < 0.5 * (broken.high - broken.low)


def test_without_a_gap_nothing_is_claimed():
    errors, names = _errors()
    result = gap_closed(
        errors | {"oracle": errors["mean"]},
        names,
        method="model",
        oracle="oracle",
        baselines=["mean"],
        rng=_rng(),
    )
    assert math.isnan(result.mean)
    assert (result.low, result.high) == (-math.inf, math.inf)


def test_bad_questions_are_refused():
    errors, names = _errors()
    with pytest.raises(ValueError, match="methods other than 'model' and 'oracle'"):
        gap_closed(errors, names, method="model", oracle="oracle", baselines=["model"], rng=_rng())
    with pytest.raises(ValueError, match=r"errors of \['ahead'\]"):
        gap_closed(errors, names, method="model", oracle="oracle", baselines=["ahead"], rng=_rng())
    with pytest.raises(ValueError, match="49 names for 50 problems"):
        mean_interval(errors["model"], names[:49], rng=_rng())
    with pytest.raises(ValueError, match="1 values are not"):
        mean_interval(np.array([1.0, np.nan]), ["a", "b"], rng=_rng())
