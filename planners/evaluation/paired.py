"""Paired: two methods on the same problems, problem by problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.randomness import numpy_generator_for
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.records import OpenLoopRow
from planners.evaluation.success import Horizon, horizon_of, outer_share_interval
from planners.evaluation.summary import OPEN_LOOP_METRICS

TRUTH_TOLERANCE = 1e-6
"""By how much the true poses of one problem may differ [m, rad]: rounding, not another recording."""
_SPACING_METRICS = ("ate_spacing", "rpe_spacing")
_NUM_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class PairedMetric:
    """One metric of both; lower is better."""

    first: Interval
    second: Interval
    difference: Interval
    """Second less first, problem by problem: below zero the second is better."""
    won: Interval
    """Share of problems on which the second is better; equal ones count half. The interval is the outer of
    two, Wilson's and the bootstrap's: the latter has no width where one always wins."""


@dataclass(frozen=True, kw_only=True)
class PairedTable:
    """Two methods on the shared problems of one split and horizon."""

    split: str
    horizon: Horizon
    first_method: str
    second_method: str
    metrics: Mapping[str, PairedMetric]
    num_problems: int
    """Problems that both answered: all numbers are over these."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Rows of two methods by problem, and what could not be joined."""

    pairs: tuple[tuple[OpenLoopRow, OpenLoopRow], ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    failed: tuple[str, ...]
    """Problems on which one of the two has an error instead of numbers."""


def join(first: Sequence[OpenLoopRow], second: Sequence[OpenLoopRow], *, max_unmatched: int = 0) -> Joined:
    """Join two methods' rows by problem, in the order of their names.

    ValueError if more than `max_unmatched` problems are in one only, if a problem comes twice, or if the two
    do not agree about the truth of a problem.
    """
    by_problem = [_by_problem(first, "first"), _by_problem(second, "second")]
    ours, theirs = (set(rows) for rows in by_problem)
    only_first, only_second = sorted(ours - theirs), sorted(theirs - ours)
    num_unmatched = len(only_first) + len(only_second)
    if num_unmatched > max_unmatched:
        raise ValueError(
            f"needed the same problems in both, at most {max_unmatched} in one only; "
            f"{len(only_first)} are in the first only{_named(only_first)} and "
            f"{len(only_second)} in the second only{_named(only_second)}. "
            "Compare runs of one configuration, or allow it with max_unmatched"
        )
    pairs, failed = [], []
    for name in sorted(ours & theirs):
        pair = (by_problem[0][name], by_problem[1][name])
        if any(row.error is not None for row in pair):
            failed.append(name)
            continue
        _check_truth(*pair)
        pairs.append(pair)
    return Joined(
        pairs=tuple(pairs), only_first=tuple(only_first), only_second=tuple(only_second), failed=tuple(failed)
    )


def compare_pairs(joined: Joined, *, seed: int = 0) -> list[PairedTable]:
    """Return a table for each split and horizon of the joined problems.

    Where the two take different spacings, their scores in units of it are no numbers of one thing and are
    left out.
    """
    groups: dict[tuple[str, Horizon], list[tuple[OpenLoopRow, OpenLoopRow]]] = {}
    for pair in joined.pairs:
        groups.setdefault((pair[0].split, horizon_of(pair[0])), []).append(pair)
    return [
        PairedTable(
            split=split,
            horizon=horizon,
            first_method=pairs[0][0].method,
            second_method=pairs[0][1].method,
            metrics={metric: _compare(pairs, metric, seed) for metric in _metrics_of(pairs)},
            num_problems=len(pairs),
        )
        for (split, horizon), pairs in sorted(groups.items())
    ]


def _compare(pairs: Sequence[tuple[OpenLoopRow, OpenLoopRow]], metric: str, seed: int) -> PairedMetric:
    trajectories = [first.trajectory for first, _ in pairs]
    values = np.array([[getattr(row, metric) for row in pair] for pair in pairs], dtype=np.float64)

    def interval(numbers: np.ndarray) -> Interval:  # the same stream, so resamples are paired too
        return mean_interval(numbers, trajectories, rng=numpy_generator_for(seed, "bootstrap/compare"))

    difference = values[:, 1] - values[:, 0]
    return PairedMetric(
        first=interval(values[:, 0]),
        second=interval(values[:, 1]),
        difference=interval(difference),
        won=outer_share_interval((difference < 0) + 0.5 * (difference == 0), trajectories, seed=seed),
    )


def _metrics_of(pairs: Sequence[tuple[OpenLoopRow, OpenLoopRow]]) -> list[str]:
    is_one_spacing = all(np.isclose(first.spacing_m, second.spacing_m) for first, second in pairs)
    return [metric for metric in OPEN_LOOP_METRICS if is_one_spacing or metric not in _SPACING_METRICS]


def _by_problem(rows: Sequence[OpenLoopRow], which: str) -> dict[str, OpenLoopRow]:
    found: dict[str, OpenLoopRow] = {}
    for row in rows:
        if row.problem_id in found:
            raise ValueError(
                f"problem {row.problem_id!r} comes twice in the {which}, as "
                f"{found[row.problem_id].method!r} and as {row.method!r}; compare one method at a time"
            )
        found[row.problem_id] = row
    return found


def _check_truth(first: OpenLoopRow, second: OpenLoopRow) -> None:
    truths = [np.array([row.start_pose, *row.true_poses]) for row in (first, second)]
    if truths[0].shape != truths[1].shape:
        raise ValueError(
            f"problem {first.problem_id!r} has {len(truths[0]) - 1} true poses in the first and "
            f"{len(truths[1]) - 1} in the second: the two are not of one recording"
        )
    off = float(np.abs(truths[0] - truths[1]).max())
    if off > TRUTH_TOLERANCE:
        raise ValueError(
            f"the true poses of problem {first.problem_id!r} differ by up to {off:.3g} between the two: they "
            "are not of one recording, so their errors cannot be compared"
        )


def _named(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    more = ", ..." if len(problems) > _NUM_NAMED else ""
    return f" ({', '.join(problems[:_NUM_NAMED])}{more})"
