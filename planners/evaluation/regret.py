"""Regret: what a plan loses against the best there is, and to whom: planner, cost or model.

On each problem, with E a method's error:

    planner = E(best drawn candidate) - E(best of unlimited candidates)
    cost    = E(chosen by the cost on the true simulator) - E(best drawn candidate)
    model   = E(chosen by the cost on the world model) - E(chosen by the cost on the true simulator)

They add up to the total, E(world model) - E(best of unlimited candidates). Where no simulator answered, cost
and model cannot be told apart, and are one part. The two costs are one only where the run compared outcomes
alike on both (`search.simulator_cost` as `search.model_cost`); rows do not hold that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.randomness import numpy_generator_for
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.records import OpenLoopRow
from planners.evaluation.summary import OPEN_LOOP_METRICS, Method

WITHOUT_SIMULATOR = (
    "No planner searched on the true simulator, so what the cost and what the model lose are one part."
)
WITH_SIMULATOR = (
    "The planner on the true simulator draws its own later candidates, so the cost's part may be below zero; "
    "the model's part is that of the model alone if simulator_cost and model_cost of the run are the same."
)
TRUTH_IS_BEST = "Unlimited candidates are taken to hold the recorded path itself: their error is 0."
GIVEN_BEST = "The error of unlimited candidates is that of the rows that were given for it."


@dataclass(frozen=True, kw_only=True)
class ProblemRegret:
    """One problem; `cost` and `model` are None where no simulator answered, else `cost_and_model` is."""

    problem_id: str
    trajectory: str
    planner: float
    cost: float | None
    model: float | None
    cost_and_model: float | None

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return self.planner + sum(
            part for part in (self.cost, self.model, self.cost_and_model) if part is not None
        )


@dataclass(frozen=True, kw_only=True)
class Regret:
    """Means over problems, in the unit of the metric."""

    metric: str
    parts: Mapping[str, Interval]
    """`total`, `planner`, and either `cost` and `model` or `cost_and_model`."""
    num_left_out: int
    """Problems without an answer of each of the methods that are needed."""
    notes: tuple[str, ...]
    """What the parts mean in these rows."""


def split_by_problem(
    rows: Sequence[OpenLoopRow],
    *,
    metric: str = "final_position_m",
    planner: str = Method.world_model.name,
    unlimited: Sequence[OpenLoopRow] = (),
) -> tuple[list[ProblemRegret], int]:
    """Split the regret of every problem that all methods answered; the second value counts the others.

    Args:
        rows: Of the methods oracle_cost, the planner's and, if there is one, oracle_simulator.
        metric: Column of the rows. The oracle chooses by the final pose, so only there (and nearly, since yaw
            counts a little) can no drawn candidate be better than its choice.
        planner: Method that is judged.
        unlimited: Rows of the oracle cost with a very large budget on the same problems, of another run;
            without them its error is 0.

    Returns:
        Problems by name, and how many were left out.
    """
    if metric not in OPEN_LOOP_METRICS:
        raise ValueError(f"metric must be one of {', '.join(OPEN_LOOP_METRICS)}; got {metric!r}")
    by_method = _errors_by_method(rows, metric)
    best = Method.oracle_cost.name
    missing = sorted({planner, best} - by_method.keys())
    if missing:
        raise ValueError(
            f"regret needs rows of {planner} and {best}; there are none of {' and '.join(missing)}"
        )
    simulator = by_method.get(Method.oracle_simulator.name)
    floor = _errors_by_method(unlimited, metric).get(best, {}) if unlimited else None
    needed = [by_method[planner], by_method[best], *(each for each in (simulator, floor) if each is not None)]
    shared = set.intersection(*(set(errors) for errors in needed))
    trajectories = {row.problem_id: row.trajectory for row in rows}
    found = []
    for name in sorted(shared):
        lowest = 0.0 if floor is None else floor[name]
        chosen, drawn = by_method[planner][name], by_method[best][name]
        driven = None if simulator is None else simulator[name]
        found.append(
            ProblemRegret(
                problem_id=name,
                trajectory=trajectories[name],
                planner=drawn - lowest,
                cost=None if driven is None else driven - drawn,
                model=None if driven is None else chosen - driven,
                cost_and_model=chosen - drawn if driven is None else None,
            )
        )
    return found, len({row.problem_id for row in rows}) - len(found)


def split_regret(
    rows: Sequence[OpenLoopRow],
    *,
    metric: str = "final_position_m",
    planner: str = Method.world_model.name,
    unlimited: Sequence[OpenLoopRow] = (),
    seed: int = 0,
) -> Regret:
    """Return the mean of each part with its 95% interval over trajectories; see `split_by_problem`.

    All parts are resampled alike, so in every resample they add up too.
    """
    problems, num_left_out = split_by_problem(rows, metric=metric, planner=planner, unlimited=unlimited)
    if not problems:
        raise ValueError(f"no problem has an answer of every method that regret needs, of {num_left_out}")
    has_simulator = problems[0].cost is not None
    names = ("total", "planner", *(("cost", "model") if has_simulator else ("cost_and_model",)))
    trajectories = [problem.trajectory for problem in problems]
    return Regret(
        metric=metric,
        parts={
            name: mean_interval(
                np.array([getattr(problem, name) for problem in problems]),
                trajectories,
                rng=numpy_generator_for(seed, "bootstrap/regret"),
            )
            for name in names
        },
        num_left_out=num_left_out,
        notes=(
            WITH_SIMULATOR if has_simulator else WITHOUT_SIMULATOR,
            GIVEN_BEST if unlimited else TRUTH_IS_BEST,
        ),
    )


def _errors_by_method(rows: Sequence[OpenLoopRow], metric: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        errors = found.setdefault(row.method, {})
        if row.error is None:
            errors[row.problem_id] = getattr(row, metric)
    return found
