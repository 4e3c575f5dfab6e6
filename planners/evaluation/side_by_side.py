"""Side by side: our results and the published ones in one table, each with what bars or cautions comparing.

ATE and RPE in metres of published rows are their score times their spacing, where that is stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.randomness import numpy_generator_for
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.predicted_frames import FrameRow
from planners.evaluation.published import (
    Comparable,
    OurProtocol,
    PublishedPlanning,
    PublishedPrediction,
    Verdict,
    compare_planning,
    compare_prediction,
)
from planners.evaluation.score_table import ScoreTable
from planners.evaluation.summary import ORACLES
from planners.evaluation.tables import TextTable

PLANNING_HEADINGS = (
    "method",
    "data set",
    "goal",
    "ATE [spacing]",
    "RPE [spacing]",
    "ATE [m]",
    "RPE [m]",
    "final position [m]",
    "final yaw [rad]",
    "within radius",
    "within share",
    "problems",
    "candidates / elites / iterations / repeats",
    "context",
    "source",
    "confidence",
    "comparable with ours",
    "why",
)
PREDICTION_HEADINGS = (
    "method",
    "data set",
    "kind",
    "ahead [s]",
    "metric",
    "value",
    "frames",
    "source",
    "confidence",
    "comparable with ours",
    "why",
)
NONE = ""
PUBLISHED_GOAL = "2 s (8 steps)"
INTERVALS = (
    "Brackets hold 95% intervals of ours over whole trajectories; deviations after +- are the sources' own."
)
UNITS = (
    "Published scores are in units of each data set's spacing, its mean step length: compare ATE [spacing] "
    "on one data set only, and never ATE [m] with ATE [spacing]."
)


@dataclass(frozen=True, kw_only=True)
class OwnPrediction:
    """One metric of our predicted frames, at one time ahead."""

    method: str
    data_set: str
    kind: str
    goal_s: float
    metric: str
    value: Interval


def planning_tables(
    own: Sequence[ScoreTable], published: Sequence[PublishedPlanning], ours: OurProtocol
) -> list[TextTable]:
    """Return one table a split and horizon; the published rows stand under ours where goals are 2 s ahead.

    Args:
        own: Our tables.
        published: Rows of others; those on other data sets are shown too, marked.
        ours: What our rows were made with.

    Returns:
        Tables of text, with no row of others where they planned to nearer goals than ours.
    """
    tables = []
    for each in own:
        rows = [_own_planning(each, method, ours) for method in each.table]
        others = published if each.horizon.num_steps == 8 else ()
        notes = [INTERVALS, f"{each.num_failed} problems failed by some method count in no row of ours."]
        notes += [UNITS] if others else ["No published row has goals just this far ahead."]
        tables.append(
            TextTable(
                title=f"{each.split.replace('_', ' ')}, goals {each.horizon.label} ahead",
                headings=PLANNING_HEADINGS,
                rows=(*rows, *(_published_planning(row, ours) for row in others)),
                emphasised=frozenset(range(len(rows))),
                notes=tuple(notes),
            )
        )
    return tables


def prediction_table(
    own: Sequence[OwnPrediction], published: Sequence[PublishedPrediction], *, data_set: str
) -> TextTable:
    """Return our frame metrics and the published ones in one table."""
    rows = [
        (
            each.method,
            each.data_set,
            each.kind,
            f"{each.goal_s:g}",
            each.metric,
            _interval(each.value),
            str(each.value.n),
            "ours",
            NONE,
            NONE,
            NONE,
        )
        for each in own
    ]
    others = [
        (
            row.method,
            row.data_set,
            row.kind,
            f"{row.goal_s:g}",
            row.metric,
            f"{row.value:g}",
            NONE,
            row.source,
            row.confidence.value,
            *_verdict(compare_prediction(row, data_set=data_set)),
        )
        for row in published
    ]
    return TextTable(
        title="Predicted frames",
        headings=PREDICTION_HEADINGS,
        rows=(*rows, *others),
        emphasised=frozenset(range(len(rows))),
        notes=(INTERVALS,),
    )


def own_predictions(rows: Sequence[FrameRow], *, kind: str, seed: int = 0) -> list[OwnPrediction]:
    """Return the mean of every metric by method and time ahead, with its interval over trajectories.

    Times are rounded to a tenth of a second, for clocks are never quite even.
    """
    groups: dict[tuple[str, str, float, str], list[tuple[str, float]]] = {}
    for row in rows:
        for metric in row.metrics:
            key = (row.method, row.split, round(row.ahead_s, 1), metric.name)
            groups.setdefault(key, []).append((row.trajectory, metric.value))
    return [
        OwnPrediction(
            method=method,
            data_set=data_set,
            kind=kind,
            goal_s=ahead_s,
            metric=name,
            value=mean_interval(
                np.array([value for _, value in values]),
                [trajectory for trajectory, _ in values],
                rng=numpy_generator_for(seed, "bootstrap/frames"),
            ),
        )
        for (method, data_set, ahead_s, name), values in sorted(groups.items())
    ]


def _own_planning(table: ScoreTable, method: str, ours: OurProtocol) -> tuple[str, ...]:
    numbers, success = table.table[method], table.success[method]
    return (
        f"{method} (oracle)" if method in ORACLES else method,
        ours.data_set,
        table.horizon.label,
        *(_interval(numbers[name]) for name in ("ate_spacing", "rpe_spacing", "ate_m", "rpe_m")),
        *(_interval(numbers[name]) for name in ("final_position_m", "final_yaw_rad")),
        _interval(success.within_radius),
        _interval(success.within_share),
        str(table.num_problems),
        NONE,
        NONE if ours.num_context is None else str(ours.num_context),
        "ours",
        NONE,
        NONE,
        NONE,
    )


def _published_planning(row: PublishedPlanning, ours: OurProtocol) -> tuple[str, ...]:
    budget = (row.num_candidates, row.num_elites, row.num_iterations, row.num_repeats)
    metres = (
        (NONE, NONE)
        if row.spacing_m is None
        else tuple(f"{score * row.spacing_m:.2f}" for score in (row.ate_spacing, row.rpe_spacing))
    )
    return (
        row.method,
        row.data_set,
        PUBLISHED_GOAL,
        _with_deviation(row.ate_spacing, row.ate_deviation),
        _with_deviation(row.rpe_spacing, row.rpe_deviation),
        *metres,
        NONE,
        NONE,
        NONE,
        NONE,
        "100" if row.windows is not None else NONE,
        " / ".join("?" if count is None else str(count) for count in budget) if any(budget) else NONE,
        NONE if row.num_context is None else str(row.num_context),
        row.source,
        row.confidence.value,
        *_verdict(compare_planning(row, ours)),
    )


def _verdict(verdict: Verdict) -> tuple[str, str]:
    return verdict.comparable.value, "; ".join(verdict.reasons) or _NOTHING[verdict.comparable]


_NOTHING = {
    Comparable.yes: "same data, unit, windows and context",
    Comparable.with_care: NONE,
    Comparable.no: NONE,
}


def _with_deviation(value: float, deviation: float | None) -> str:
    return f"{value:g}" if deviation is None else f"{value:g} +- {deviation:.2f}"


def _interval(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
