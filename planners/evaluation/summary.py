"""Summary: the tables of an evaluation, computed from its rows and written as `summary.json`."""

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from planners.evaluation.metrics import Interval, gap_closed, mean_interval, share_interval
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow, Provenance, hash_of


class Split(Enum):
    """Where the episodes take place."""

    seen_levels = "seen_levels"
    """Held-out recordings on levels that the model was trained on."""
    unseen_levels = "unseen_levels"
    """Levels that no training frame came from."""
    zero_shot = "zero_shot"
    """A data set of whose places the model has seen nothing."""
    held_out = "held_out"
    """Recordings that were held out, of places that the model was trained on."""
    no_model = "no_model"
    """A data set, without a model."""


OF_DATA_SETS = (Split.zero_shot, Split.held_out, Split.no_model)
"""Splits whose problems are cut from recordings that are given, not made in a simulator."""


def goal_split(split: Split, goal_s: float) -> str:
    """Return what problems of a split are called that lie so far ahead, where there are others too."""
    return f"{split.name}_{goal_s:g}_s"


def split_named(name: str) -> Split:
    """Return the split that problems called so belong to; ValueError if there is none."""
    for split in Split:
        if name == split.name or name.startswith(f"{split.name}_"):
            return split
    raise ValueError(f"there is no split called {name!r}; there are {', '.join(Split.__members__)}")


class Loop(Enum):
    """How a model is evaluated."""

    open_loop = "open_loop"
    """One plan to each goal frame of a recording."""
    closed_loop = "closed_loop"
    """Driving, looking and planning again."""


class Method(Enum):
    """What answers a planning problem in open loop, in the order of the table."""

    world_model = "world_model"
    stand_still = "stand_still"
    prior_mean = "prior_mean"
    straight_ahead = "straight_ahead"
    constant_velocity = "constant_velocity"
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
    Method.constant_velocity.name,
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

    loops: Mapping[Loop, Provenance]
    """What the rows of each loop share; the loops of one run have one model."""
    config: Mapping[str, object]
    commit: str | None
    """Of the call that wrote the summary; rows know the source that computed them."""
    timing: Mapping[Loop, float]
    """Wall time of each loop [s] in the call that wrote the summary; what was finished before is left out."""

    @property
    def model(self) -> Provenance:
        """What all loops have in common: checkpoint and versions."""
        return next(iter(self.loops.values()))


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
            split: _open_loop([row for row in open_rows if row.split == split])
            for split in _in_order({row.split for row in open_rows})
        },
        closed_loop={
            split: _closed_loop([row for row in closed_rows if row.split == split])
            for split in _in_order({row.split for row in closed_rows})
        },
        run=run,
    )


def _in_order(names: Collection[str]) -> list[str]:
    """Return the names of splits in the order of `Split`, nearer goals first."""
    order = list(Split)
    return sorted(names, key=lambda name: (order.index(split_named(name)), len(name), name))


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
        "timing": {loop.name: round(seconds, 3) for loop, seconds in run.timing.items()},
        "hashes": {
            "checkpoint": run.model.checkpoint_hash,
            "config": hash_of(run.config),
            "rows": {loop.name: shared.config_hash for loop, shared in run.loops.items()},
        },
        "checkpoint": run.model.checkpoint,
        "commit": run.commit,
        "seeds": {loop.name: shared.seed for loop, shared in run.loops.items()},
        "versions": json.loads(run.model.versions),
        "config": dict(run.config),
    }


def write_summary(summary: Summary, path: Path) -> None:
    """Write `summary.json`, whole or not at all."""
    write_text(path, json.dumps(to_json(summary), indent=2, allow_nan=False) + "\n")


def _open_loop(rows: Sequence[OpenLoopRow]) -> SplitResult:
    seed = rows[0].provenance.seed
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


def _closed_loop(rows: Sequence[ClosedLoopRow]) -> ClosedLoopResult:
    seed = rows[0].provenance.seed
    failed = {row.episode_id for row in rows if row.error is not None}
    whole = [row for row in rows if row.episode_id not in failed]
    # Without a way back one agent has no distance; then no agent's counts, or falling off a ledge would pay.
    lost = {row.episode_id for row in whole if row.final_distance_m is None}
    table: dict[str, dict[str, Interval]] = {}
    for agent in AgentName:
        own = [row for row in whole if row.agent == agent.name]
        if not own:
            continue
        intervals = _intervals(own, ("spl", "collisions", "seconds_per_decision"), _episode, seed)
        found = [row for row in own if row.episode_id not in lost]
        intervals |= _intervals(found, ("final_distance_m",), _episode, seed)
        intervals |= {name: _share([getattr(row, name) for row in own]) for name in ("success", "reached")}
        table[agent.name] = {metric: intervals[metric] for metric in CLOSED_LOOP_METRICS}
    return ClosedLoopResult(
        table=table, num_episodes=len({row.episode_id for row in rows}), num_failed=len(failed)
    )


def _episode(row: ClosedLoopRow) -> str:
    return row.episode_id


def _share(outcomes: Sequence[float]) -> Interval:
    return share_interval(round(sum(outcomes)), len(outcomes))


def _intervals(
    rows: Sequence[Any], metrics: Sequence[str], cluster: Callable[[Any], str], seed: int
) -> dict[str, Interval]:
    """Return the interval of each metric over the rows; every method has the same stream."""
    if not rows:
        return dict.fromkeys(metrics, Interval(mean=math.nan, low=math.nan, high=math.nan, n=0))
    clusters = [cluster(row) for row in rows]
    return {
        metric: mean_interval(
            np.array([getattr(row, metric) for row in rows], dtype=np.float64),
            clusters,
            rng=numpy_generator_for(seed, "bootstrap/mean"),
        )
        for metric in metrics
    }


def _table_json(table: Table) -> dict[str, Any]:
    return {
        name: {metric: _interval_json(interval) for metric, interval in metrics.items()}
        for name, metrics in table.items()
    }


def _interval_json(interval: Interval) -> dict[str, float | int | None]:
    return {
        name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(interval).items()
    }
