"""Score table: the open-loop table of any methods, by split and horizon, from rows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.randomness import numpy_generator_for
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.records import OpenLoopRow
from planners.evaluation.success import GOAL_SHARE, RADIUS_M, Horizon, Success, horizon_of, success_within
from planners.evaluation.summary import OPEN_LOOP_METRICS, Table


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """All methods on the problems of one split and horizon."""

    split: str
    horizon: Horizon
    table: Table
    success: Mapping[str, Success]
    num_problems: int
    """Problems that every method answered: all numbers are over these."""
    num_failed: int
    """Problems that some method did not answer; they count in no mean, so that all methods share problems."""
    spacing_m: float


def score_tables(
    rows: Sequence[OpenLoopRow], *, radius_m: float = RADIUS_M, goal_share: float = GOAL_SHARE, seed: int = 0
) -> list[ScoreTable]:
    """Return a table for each split and horizon, methods in the order of the rows.

    A method that has no row of a problem has failed on it. Rows without true poses say nothing of their
    horizon; they enter no table, and whoever made them names them.
    """
    groups: dict[tuple[str, Horizon], list[OpenLoopRow]] = {}
    for row in rows:
        if row.true_poses:
            groups.setdefault((row.split, horizon_of(row)), []).append(row)
    return [
        _score_table(split, horizon, own, radius_m, goal_share, seed)
        for (split, horizon), own in sorted(groups.items(), key=lambda group: group[0])
    ]


def _score_table(
    split: str, horizon: Horizon, rows: Sequence[OpenLoopRow], radius_m: float, goal_share: float, seed: int
) -> ScoreTable:
    methods = list(dict.fromkeys(row.method for row in rows))
    answered = {
        method: {row.problem_id for row in rows if row.method == method and row.error is None}
        for method in methods
    }
    shared = set.intersection(*answered.values())
    whole = sorted((row for row in rows if row.problem_id in shared), key=lambda row: row.problem_id)
    arrived = success_within(whole, radius_m, goal_share=goal_share, seed=seed)
    return ScoreTable(
        split=split,
        horizon=horizon,
        table={
            method: {
                metric: _interval([row for row in whole if row.method == method], metric, seed)
                for metric in OPEN_LOOP_METRICS
            }
            for method in methods
            if whole
        },
        success=arrived.get(horizon, {}),
        num_problems=len(shared),
        num_failed=len({row.problem_id for row in rows} - shared),
        spacing_m=rows[0].spacing_m,
    )


def _interval(rows: Sequence[OpenLoopRow], metric: str, seed: int) -> Interval:
    return mean_interval(
        np.array([getattr(row, metric) for row in rows], dtype=np.float64),
        [row.trajectory for row in rows],
        rng=numpy_generator_for(seed, "bootstrap/mean"),
    )
