"""Summary: the tables of an evaluation, computed from its rows and written as `summary.json`."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.randomness import numpy_generator_for
from planners.evaluation.metrics import Interval, gap_closed, mean_interval
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow


class Split(Enum):
    """Where the episodes take place."""

    seen_levels = "seen_levels"
    """Held-out recordings on levels that the model was trained on."""
    unseen_levels = "unseen_levels"
    """Levels that no training frame came from."""


class Method(Enum):
    """What answers a planning problem in open loop, in the order of the table."""

    world_model = "world_model"
    stand_still = "stand_still"
    prior_mean = "prior_mean"
    straight_ahead = "straight_ahead"
    random_candidate = "random_candidate"
    oracle_cost = "oracle_cost"
    oracle_simulator = "oracle_simulator"


class AgentName(Enum):
    """What drives in closed loop, in the order of the table."""

    world_model = "world_model"
    random = "random"
    straight_ahead = "straight_ahead"
    shortest_path = "shortest_path"


ORACLES = (Method.oracle_cost.name, Method.oracle_simulator.name, AgentName.shortest_path.name)
BASELINES = (
    Method.stand_still.name,
    Method.prior_mean.name,
    Method.straight_ahead.name,
    Method.random_candidate.name,
)
OPEN_LOOP_METRICS = ("ate_m", "rpe_m", "ate_spacing", "rpe_spacing", "final_position_m", "final_yaw_rad")
CLOSED_LOOP_METRICS = (
    "success",
    "reached",
    "spl",
    "final_distance_m",
    "collisions",
    "seconds_per_decision",
)

Table = Mapping[str, Mapping[str, Interval]]
"""method or agent -> metric -> interval"""


@dataclass(frozen=True, kw_only=True)
class SplitResult:
    """The open-loop table of one split; `gap_closed` is None without a model."""

    table: Table
    gap_closed: Interval | None
    best_baseline: str | None
    """The method that is no oracle and, but for the world model, has the lowest ATE."""
    num_problems: int
    num_failed: int
    """Problems on which any method failed; they count in no mean, so that all methods share problems."""


@dataclass(frozen=True, kw_only=True)
class ClosedLoopResult:
    """The closed-loop table of one split."""

    table: Table
    num_episodes: int
    num_failed: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run's numbers belong to."""

    checkpoint: str | None
    checkpoint_hash: str | None
    config_hash: str
    config: Mapping[str, object]
    commit: str | None
    seed: int
    versions: str
    timing: Mapping[str, float]
    """Wall time of each part [s]."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that the page and `summary.json` state in numbers."""

    open_loop: Mapping[str, SplitResult]
    closed_loop: Mapping[str, ClosedLoopResult]
    run: Run


def summarise(open_rows: Sequence[OpenLoopRow], closed_rows: Sequence[ClosedLoopRow], run: Run) -> Summary:
    """Return the tables of all splits that the rows hold."""
    return Summary(
        open_loop={
            split.name: _open_loop([row for row in open_rows if row.split == split.name], run.seed)
            for split in Split
            if any(row.split == split.name for row in open_rows)
        },
        closed_loop={
            split.name: _closed_loop([row for row in closed_rows if row.split == split.name], run.seed)
            for split in Split
            if any(row.split == split.name for row in closed_rows)
        },
        run=run,
    )


def to_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as `summary.json` holds it; what is not finite is null there."""
    run = summary.run
    open_loop: dict[str, Any] = {}
    for split, result in summary.open_loop.items():
        open_loop[split] = _table_json(result.table)
        open_loop[split]["num_problems"] = result.num_problems
        open_loop[split]["num_failed"] = result.num_failed
        open_loop[split]["best_baseline"] = result.best_baseline
        if result.gap_closed is not None:
            open_loop[split]["gap_closed"] = _interval_json(result.gap_closed)
    closed_loop: dict[str, Any] = {}
    for split, driven in summary.closed_loop.items():
        closed_loop[split] = _table_json(driven.table)
        closed_loop[split]["num_episodes"] = driven.num_episodes
        closed_loop[split]["num_failed"] = driven.num_failed
    return {
        "open_loop": open_loop,
        "closed_loop": closed_loop,
        "timing": {name: round(seconds, 3) for name, seconds in run.timing.items()},
        "hashes": {"checkpoint": run.checkpoint_hash, "config": run.config_hash},
        "checkpoint": run.checkpoint,
        "commit": run.commit,
        "seed": run.seed,
        "versions": json.loads(run.versions),
        "config": dict(run.config),
    }


def write_summary(summary: Summary, path: Path) -> None:
    """Write `summary.json`, whole or not at all."""
    write_text_atomically(json.dumps(to_json(summary), indent=2, allow_nan=False) + "\n", path)


def write_text_atomically(text: str, path: Path) -> None:
    """Write a text file by way of a temporary neighbour, which is removed if writing fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_loop(rows: Sequence[OpenLoopRow], seed: int) -> SplitResult:
    failed = {row.problem_id for row in rows if row.error is not None}
    whole = [row for row in rows if row.problem_id not in failed]
    methods = [method.name for method in Method if any(row.method == method.name for row in whole)]
    by_method = {
        method: sorted((row for row in whole if row.method == method), key=lambda row: row.problem_id)
        for method in methods
    }
    table = {
        method: _intervals(method_rows, OPEN_LOOP_METRICS, lambda row: row.trajectory, seed)
        for method, method_rows in by_method.items()
    }
    baselines = [name for name in BASELINES if name in table]
    best = min(baselines, key=lambda name: table[name]["ate_m"].mean, default=None)
    return SplitResult(
        table=table,
        gap_closed=_gap(by_method, baselines, seed),
        best_baseline=best,
        num_problems=len({row.problem_id for row in rows}),
        num_failed=len(failed),
    )


def _gap(
    by_method: Mapping[str, Sequence[OpenLoopRow]], baselines: Sequence[str], seed: int
) -> Interval | None:
    planner, oracle = Method.world_model.name, Method.oracle_simulator.name
    if not baselines or not {planner, oracle} <= by_method.keys():
        return None
    return gap_closed(
        {method: np.array([row.ate_m for row in rows]) for method, rows in by_method.items()},
        [row.trajectory for row in by_method[planner]],
        method=planner,
        oracle=oracle,
        baselines=baselines,
        rng=numpy_generator_for(seed, "bootstrap/gap"),
    )


def _closed_loop(rows: Sequence[ClosedLoopRow], seed: int) -> ClosedLoopResult:
    failed = {row.episode_id for row in rows if row.error is not None}
    whole = [row for row in rows if row.episode_id not in failed]
    return ClosedLoopResult(
        table={
            agent.name: _intervals(
                [row for row in whole if row.agent == agent.name],
                CLOSED_LOOP_METRICS,
                lambda row: row.episode_id,
                seed,
            )
            for agent in AgentName
            if any(row.agent == agent.name for row in whole)
        },
        num_episodes=len({row.episode_id for row in rows}),
        num_failed=len(failed),
    )


def _intervals(
    rows: Sequence[Any], metrics: Sequence[str], cluster: Callable[[Any], str], seed: int
) -> dict[str, Interval]:
    """Return the interval of each metric over the rows that have it; every method has the same stream."""
    intervals: dict[str, Interval] = {}
    for metric in metrics:
        known = [row for row in rows if getattr(row, metric) is not None]
        intervals[metric] = (
            mean_interval(
                np.array([getattr(row, metric) for row in known], dtype=np.float64),
                [cluster(row) for row in known],
                rng=numpy_generator_for(seed, "bootstrap/mean"),
            )
            if known
            else Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)
        )
    return intervals


def _table_json(table: Table) -> dict[str, Any]:
    return {
        name: {metric: _interval_json(interval) for metric, interval in metrics.items()}
        for name, metrics in table.items()
    }


def _interval_json(interval: Interval) -> dict[str, float | int | None]:
    return {
        name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(interval).items()
    }
