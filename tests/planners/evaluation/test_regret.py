"""The parts of regret add up, and say what they cannot tell apart."""

from dataclasses import replace

import numpy as np
import pytest

from planners.evaluation.regret import (
    GIVEN_BEST,
    TRUTH_IS_BEST,
    WITHOUT_SIMULATOR,
    split_by_problem,
    split_regret,
)
from tests.planners.evaluation.rows import open_loop_row

ERRORS = {
    "world_model": [1.5, 2.0, 0.75],
    "oracle_simulator": [1.0, 0.25, 0.75],
    "oracle_cost": [0.25, 0.5, 0.125],
}


def rows(errors: dict[str, list[float]]) -> list:
    return [
        replace(
            open_loop_row(f"p{number}", trajectory=f"t{number}", method=method, ate_m=0.5),
            final_position_m=error,
        )
        for method, own in errors.items()
        for number, error in enumerate(own)
    ]


def test_parts_by_hand():
    problems, num_left_out = split_by_problem(rows(ERRORS))
    parts = [(each.planner, each.cost, each.model, each.total) for each in problems]
    assert parts == [(0.25, 0.75, 0.5, 1.5), (0.5, -0.25, 1.75, 2.0), (0.125, 0.625, 0.0, 0.75)]
    assert num_left_out == 0


def test_parts_add_up_to_the_whole_exactly():
    # Multiples of 1/1024 below 2^10: sums of doubles lose nothing, so equality is exact.
    rng = np.random.default_rng(0)
    errors = {method: (rng.integers(0, 2**19, 200) / 1024).tolist() for method in ERRORS}
    best = {"oracle_cost": (rng.integers(0, 2**10, 200) / 1024).tolist()}
    problems, _ = split_by_problem(rows(errors), unlimited=rows(best))
    for problem in problems:
        number = int(problem.problem_id[1:])
        assert problem.cost is not None and problem.model is not None
        whole = errors["world_model"][number] - best["oracle_cost"][number]
        assert problem.planner + problem.cost + problem.model == problem.total == whole
    regret = split_regret(rows(errors), unlimited=rows(best))
    means = [regret.parts[name].mean for name in ("planner", "cost", "model")]
    assert sum(means) == pytest.approx(regret.parts["total"].mean, abs=1e-9)
    assert regret.notes[1] == GIVEN_BEST


def test_without_a_simulator_there_are_two_parts_and_it_says_so():
    errors = {method: own for method, own in ERRORS.items() if method != "oracle_simulator"}
    problems, _ = split_by_problem(rows(errors))
    assert [(each.planner, each.cost_and_model, each.total) for each in problems] == [
        (0.25, 1.25, 1.5),
        (0.5, 1.5, 2.0),
        (0.125, 0.625, 0.75),
    ]
    regret = split_regret(rows(errors))
    assert set(regret.parts) == {"total", "planner", "cost_and_model"}
    assert regret.notes == (WITHOUT_SIMULATOR, TRUTH_IS_BEST)


def test_intervals_are_paired_over_trajectories():
    errors = {
        method: [value + 0.5 * number for number, value in enumerate(own)] for method, own in ERRORS.items()
    }
    # Every problem loses the same to the model, whatever else it loses: no width.
    errors["world_model"] = [error + 0.25 for error in errors["oracle_simulator"]]
    regret = split_regret(rows(errors))
    model, total = regret.parts["model"], regret.parts["total"]
    assert (model.low, model.mean, model.high) == (0.25, 0.25, 0.25) and total.high - total.low > 0.5


def test_problems_without_all_answers_are_counted():
    own = rows(ERRORS)
    own[4] = replace(own[4], final_position_m=None, error="no level")
    problems, num_left_out = split_by_problem(own)
    assert [each.problem_id for each in problems] == ["p0", "p2"] and num_left_out == 1


def test_what_it_cannot_be_computed_from_is_refused():
    with pytest.raises(ValueError, match="there are none of oracle_cost"):
        split_regret(rows({"world_model": [1.0]}))
    with pytest.raises(ValueError, match="metric must be one of ate_m"):
        split_regret(rows(ERRORS), metric="seconds")
    failed = replace(rows({"oracle_cost": [1.0]})[0], error="no plan")
    with pytest.raises(ValueError, match="no problem has an answer of every method"):
        split_regret([*rows({"world_model": [1.0]}), failed])
