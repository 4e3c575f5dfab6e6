"""Summary: the names that others rely on, failures counted, and gap closed by its formula."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planners.evaluation.records import hash_of
from planners.evaluation.summary import summarise, to_json, write_summary
from tests.planners.evaluation.rows import closed_loop_row, open_loop_row
from tests.planners.evaluation.test_report import RUN, drive_rows, plan_rows

OPEN_METRICS = ("ate_m", "rpe_m", "ate_spacing", "rpe_spacing", "final_position_m", "final_yaw_rad")
CLOSED_METRICS = ("success", "reached", "spl", "final_distance_m", "collisions", "seconds_per_decision")


def rows_with(errors: dict[str, list[float]]) -> list:
    return [
        open_loop_row(f"p{number}", trajectory=f"t{number}", method=method, ate_m=value)
        for method, values in errors.items()
        for number, value in enumerate(values)
    ]


def test_names_of_the_summary(tmp_path: Path) -> None:
    write_summary(summarise(plan_rows(), drive_rows(), RUN), tmp_path / "summary.json")
    written = json.loads((tmp_path / "summary.json").read_text())
    for metric in OPEN_METRICS:
        assert written["open_loop"]["unseen_levels"]["prior_mean"][metric].keys() == {
            "mean",
            "low",
            "high",
            "n",
        }
    assert written["open_loop"]["seen_levels"]["gap_closed"].keys() == {"mean", "low", "high", "n"}
    for metric in CLOSED_METRICS:
        assert written["closed_loop"]["seen_levels"]["shortest_path"][metric]["n"] == 4
    assert written["hashes"] == {
        "checkpoint": "d" * 64,
        "config": hash_of(RUN.config),
        "rows": {"open_loop": "c" * 64, "closed_loop": "b" * 64},
    }
    assert written["seeds"] == {"open_loop": 7, "closed_loop": 9}
    assert written["timing"] == {"open_loop": 1.5}


def test_gap_closed_by_hand() -> None:
    rows = rows_with({"world_model": [0.4, 0.8], "stand_still": [2.0, 2.0], "prior_mean": [1.0, 1.0]})
    rows += rows_with({"oracle_simulator": [0.2, 0.2], "oracle_cost": [0.0, 0.0]})
    result = summarise(rows, [], RUN).open_loop["seen_levels"]
    assert result.best_baseline == "prior_mean"
    assert result.gap_closed is not None
    assert result.gap_closed.mean == pytest.approx((1.0 - 0.6) / (1.0 - 0.2))


def test_undefined_gap_is_null_and_valid_json() -> None:
    rows = rows_with({"world_model": [0.4], "prior_mean": [0.1], "oracle_simulator": [0.2]})
    gap = to_json(summarise(rows, [], RUN))["open_loop"]["seen_levels"]["gap_closed"]
    assert gap == {"mean": None, "low": None, "high": None, "n": 1}
    json.dumps(gap, allow_nan=False)


def test_a_failed_problem_is_counted_and_enters_no_mean() -> None:
    rows = rows_with({"world_model": [0.5, 9.0], "prior_mean": [1.0, 9.0]})
    failed = replace(rows[1], ate_m=None, error="simulator died")
    result = summarise([rows[0], failed, *rows[2:]], [], RUN).open_loop["seen_levels"]
    assert (result.num_problems, result.num_failed) == (2, 1)
    assert result.table["prior_mean"]["ate_m"].mean == 1.0
    assert result.table["prior_mean"]["ate_m"].n == 1


def test_a_split_where_everything_failed_has_an_empty_table() -> None:
    rows = [open_loop_row(ate_m=None, error="no level")]
    driven = [closed_loop_row(success=None, error="no level")]
    summary = summarise(rows, driven, RUN)
    assert summary.open_loop["seen_levels"].table == {} == summary.closed_loop["seen_levels"].table
    assert to_json(summary)["closed_loop"]["seen_levels"]["num_failed"] == 1


def test_shares_have_an_interval_even_where_all_episodes_end_alike() -> None:
    rows = [closed_loop_row(f"e{number}", agent="random", success=0.0) for number in range(10)]
    success = summarise([], rows, RUN).closed_loop["seen_levels"].table["random"]["success"]
    # Wilson: z^2 / (n + z^2) with z = 1.96.
    assert (success.low, success.n) == (0.0, 10)
    assert success.high == pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-4)


def test_an_episode_that_one_agent_cannot_finish_counts_in_no_final_distance() -> None:
    rows = [
        closed_loop_row(f"e{number}", agent=agent, success=1.0)
        for number in range(3)
        for agent in ("random", "shortest_path")
    ]
    rows[0] = replace(rows[0], final_distance_m=None)
    table = summarise([], rows, RUN).closed_loop["seen_levels"].table
    assert [table[agent]["final_distance_m"].n for agent in ("random", "shortest_path")] == [2, 2]
    assert table["random"]["spl"].n == 3


def test_trajectories_are_resampled_not_problems() -> None:
    values = np.repeat([0.0, 1.0], 50)
    rows = [
        open_loop_row(f"p{number:03d}", trajectory=f"t{int(value)}", method="prior_mean", ate_m=float(value))
        for number, value in enumerate(values)
    ]
    interval = summarise(rows, [], RUN).open_loop["seen_levels"].table["prior_mean"]["ate_m"]
    assert (interval.low, interval.high) == (0.0, 1.0)
