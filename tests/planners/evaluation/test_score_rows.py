"""Scores are open loop's; what the truth does not hold is named, and the baselines are always there."""

from pathlib import Path

import numpy as np
import pytest

from data_tools.trajectory import read_trajectories
from planners.evaluation.metrics import path_errors
from planners.evaluation.planned_paths import FaultKind, PathFault, PlannedPath
from planners.evaluation.score_rows import Truth, count_faults, mean_spacing_m, score_paths
from tests.planners.evaluation.recordings import SPACING_M, displacements, record
from tests.planners.evaluation.rows import PROVENANCE

TRUE = displacements(19, seed=0)


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    record(tmp_path / "data")
    report = read_trajectories(tmp_path / "data")
    return Truth(
        trajectories={each.name: each for each in report.trajectories},
        data_set="yard",
        spacing_m=mean_spacing_m(report.trajectories),
        unreadable={"torn": "no poses file"},
    )


def plan(
    steps: np.ndarray, *, frame: int = 3, trajectory: str = "drive", method: str = "theirs"
) -> PlannedPath:
    return PlannedPath(method=method, trajectory=trajectory, frame=frame, displacements=steps)


def test_the_true_path_has_no_error(truth: Truth):
    rows = score_paths([plan(TRUE[3:11])], truth, PROVENANCE).rows
    (row,) = [row for row in rows if row.method == "theirs"]
    assert row.ate_m == pytest.approx(0.0, abs=1e-12) and row.final_yaw_rad == pytest.approx(0.0, abs=1e-12)
    assert (row.problem_id, row.goal_s, len(row.true_poses), row.split) == ("drive/3/8", 2.0, 8, "yard")
    assert row.spacing_m == pytest.approx(SPACING_M) and row.level == "yard"
    assert row.plan[0].startswith("action: dx=+") and row.plan[0].endswith("dt=0.25")


def test_errors_are_those_of_open_loop_without_rounding(truth: Truth):
    planned = TRUE[3:11] + np.random.default_rng(1).normal(0.0, 0.0001, (8, 3))
    (row,) = [row for row in score_paths([plan(planned)], truth, PROVENANCE).rows if row.method == "theirs"]
    expected = path_errors(planned, TRUE[3:11], spacing_m=SPACING_M)
    assert (row.ate_m, row.rpe_spacing) == pytest.approx((expected.ate_m, expected.rpe_spacing), rel=1e-6)


def test_baselines_stand_beside_every_problem(truth: Truth):
    scored = score_paths([plan(TRUE[3:11]), plan(TRUE[5:10], frame=5)], truth, PROVENANCE)
    assert [(row.problem_id, row.method) for row in scored.rows] == [
        (problem, method)
        for problem in ("drive/3/8", "drive/5/5")
        for method in ("theirs", "stand_still", "straight_ahead")
    ]
    still = scored.rows[1]
    start, goal = np.array(still.start_pose), np.array(still.true_poses[-1])
    assert still.final_position_m == pytest.approx(np.hypot(*(goal - start)[:2]))
    assert scored.faults == ()


def test_what_the_truth_does_not_hold_is_named(truth: Truth):
    paths = [
        plan(TRUE[:8], trajectory="nowhere"),
        plan(TRUE[:8], trajectory="torn"),
        plan(TRUE[:8], frame=12),
    ]
    scored = score_paths([*paths, plan(TRUE[11:19], frame=11)], truth, PROVENANCE)
    assert [(fault.kind, fault.detail) for fault in scored.faults] == [
        (FaultKind.frame_outside, "frames 12 to 20; the trajectory's last is 19"),
        (FaultKind.unknown_trajectory, "no trajectory of that name"),
        (FaultKind.unknown_trajectory, "no poses file"),
    ]
    assert count_faults(scored.faults) == {FaultKind.unknown_trajectory: 2, FaultKind.frame_outside: 1}
    good = [row for row in scored.rows if row.error is None]
    assert {row.problem_id for row in good} == {"drive/11/8"}
    (lost,) = [row for row in scored.rows if row.trajectory == "torn"]
    assert lost.error == "unknown_trajectory: no poses file" and lost.true_poses == ()


def test_a_window_that_another_method_answered_is_missing(truth: Truth):
    paths = [plan(TRUE[3:11]), plan(TRUE[3:11], method="other"), plan(TRUE[4:12], frame=4)]
    scored = score_paths(paths, truth, PROVENANCE)
    assert [(fault.kind, fault.method, fault.frame) for fault in scored.faults] == [
        (FaultKind.missing, "other", 4)
    ]
    (row,) = [row for row in scored.rows if row.error is not None]
    assert (row.error, row.ate_m, len(row.true_poses)) == ("missing: no plan", None, 8)


def test_windows_that_were_asked_for_are_missing_too(truth: Truth):
    asked = {("drive", 3), ("drive", 6), ("gone", 0)}
    scored = score_paths([plan(TRUE[3:11])], truth, PROVENANCE, asked=asked)
    assert [(fault.kind, fault.trajectory, fault.frame) for fault in scored.faults] == [
        (FaultKind.missing, "drive", 6),
        (FaultKind.unknown_trajectory, "gone", 0),
    ]


def test_a_plan_that_could_not_be_read_is_counted_once(truth: Truth):
    fault = PathFault(
        kind=FaultKind.not_finite,
        where="a.csv",
        detail="step 2 is not finite",
        method="theirs",
        trajectory="drive",
        frame=4,
        num_steps=8,
    )
    scored = score_paths([plan(TRUE[3:11])], truth, PROVENANCE, faults=[fault], asked={("drive", 4)})
    assert scored.faults == (fault,)
    (row,) = [row for row in scored.rows if row.error is not None]
    assert (row.problem_id, row.error) == ("drive/4/8", "not_finite: step 2 is not finite")


def test_a_plan_that_text_cannot_hold_is_scored_all_the_same(truth: Truth):
    (row,) = [
        row
        for row in score_paths([plan(TRUE[:2] * 1000, frame=0)], truth, PROVENANCE).rows
        if row.method == "theirs"
    ]
    assert row.plan == () and row.error is None and row.final_position_m is not None


def test_a_truth_without_motion_has_no_spacing():
    with pytest.raises(ValueError, match="no motion to measure a spacing from; give spacing_m"):
        mean_spacing_m([])
