"""Search: what holds for every method behind the contract."""

from dataclasses import replace

import pytest
import torch

from planners.baselines import prior_mean
from planners.candidates import Parameterisation
from planners.cem import Cem
from planners.constraints import Rule, parse_constraints
from planners.drawing import obeys
from planners.icem import Icem
from planners.mppi import Mppi
from planners.plan import Planner
from planners.random_shooting import RandomShooting
from planners.search import SearchMethod, chosen_config, make_planner
from tests.planners.quadratic import Choice, generators, make_prior, make_targets, quadratic

EVERY = pytest.mark.parametrize("method", list(SearchMethod))


def test_each_method_is_its_planner():
    kinds = [type(make_planner(Choice(method=method))) for method in SearchMethod]
    assert kinds == [Cem, Icem, Mppi, RandomShooting]
    assert chosen_config(Choice(method=SearchMethod.icem)) == Choice(method=SearchMethod.icem).icem


@EVERY
@pytest.mark.parametrize("parameterisation", list(Parameterisation))
def test_a_plan_costs_less_than_the_prior_mean(method, parameterisation):
    prior = make_prior(parameterisation)
    targets = make_targets(prior, 3)
    evaluate = quadratic(targets, prior)
    planner = make_planner(Choice(method=method))
    assert isinstance(planner, Planner)
    plan = planner.plan(evaluate, prior, generators=generators(0, 1, 2))
    torch.testing.assert_close(plan.cost, evaluate(plan.actions[:, None])[:, 0])
    blind = evaluate(prior_mean(prior, num_problems=3)[:, None])[:, 0]
    assert (plan.cost < 0.7 * blind).all()


@EVERY
def test_a_problem_alone_equals_the_same_problem_in_a_batch(method):
    prior = replace(make_prior(), constraints=parse_constraints("stay inside x 0 to 0.4 m, y -0.1 to 0.1 m"))
    targets = make_targets(prior, 3)
    planner = make_planner(Choice(method=method))
    together = planner.plan(quadratic(targets, prior), prior, generators=generators(7, 8, 9))
    alone = planner.plan(quadratic(targets[1:2], prior), prior, generators=generators(8))
    assert torch.equal(together.actions[1:2], alone.actions)
    assert torch.equal(together.iterations[-1].candidates[1:2], alone.iterations[-1].candidates)


@EVERY
def test_equal_inputs_give_equal_plans(method):
    prior = make_prior()
    evaluate = quadratic(make_targets(prior, 2), prior)
    first, second = (
        make_planner(Choice(method=method)).plan(evaluate, prior, generators=generators(1, 2))
        for _ in range(2)
    )
    assert torch.equal(first.parameters, second.parameters)


@EVERY
def test_everything_drawn_is_inside_the_bounds(method):
    prior = make_prior()
    wide = replace(prior, covariance=9 * prior.covariance)
    plan = make_planner(Choice(method=method)).plan(
        quadratic(make_targets(wide, 2) + 1.0, wide), wide, generators=generators(0, 1)
    )
    limits = torch.tensor([0.6, 0.6, 1.0], dtype=torch.float64)
    for each in plan.iterations:
        assert (each.candidates[..., :3].abs() <= limits).all()
    assert (plan.actions[..., :3].abs() <= limits).all()
    assert (plan.iterations[0].candidates[..., :3].abs() == limits).any(), "something was cut"


@EVERY
def test_a_warm_start_at_the_minimum_is_not_lost(method):
    prior = make_prior()
    targets = make_targets(prior, 3)
    evaluate = quadratic(targets, prior)
    planner = make_planner(Choice(method=method))
    cold = planner.plan(evaluate, prior, generators=generators(0, 1, 2))
    warm = planner.plan(evaluate, prior, generators=generators(0, 1, 2), warm_start=targets)
    seen = torch.cat([each.costs for each in warm.iterations], dim=1)
    assert (seen.min(dim=1).values == 0).all()
    assert (warm.cost < cold.cost).all()


@EVERY
def test_the_prior_weight_pulls_towards_the_prior_at_any_scale(method):
    prior = make_prior()
    targets = make_targets(prior, 3)
    choice = Choice(method=method)
    off = []
    for weight in (0.0, 1e9):
        changes = {each.name: replace(getattr(choice, each.name), prior_weight=weight) for each in [method]}
        planner = make_planner(replace(choice, **changes))
        small, large = (
            planner.plan(
                quadratic(targets, prior, scale=scale, offset=offset),
                prior,
                generators=[*generators(0, 1, 2)],
            )
            for scale, offset in ((1.0, 0.0), (1000.0, 50.0))
        )
        torch.testing.assert_close(small.actions, large.actions)
        off.append((small.parameters - prior.mean).norm(dim=1))
    assert (off[1] < 0.3 * off[0]).all()


@EVERY
def test_a_finer_evaluation_chooses_among_the_best_of_the_coarse(method):
    """The coarse cost is blind to the turn; the finer one sees it."""
    prior = make_prior(Parameterisation.arc)
    targets = make_targets(prior, 3)
    fine = quadratic(targets, prior)

    def coarse(candidates):
        return fine(torch.cat([candidates[..., :2], 0 * candidates[..., 2:3], candidates[..., 3:]], dim=-1))

    counts = []

    def counted(candidates):
        counts.append(candidates.shape[1])
        return fine(candidates)

    choice = Choice(method=method)
    choice = replace(choice, **{method.name: replace(getattr(choice, method.name), refine_top=20)})
    planner = make_planner(choice)
    plain = planner.plan(coarse, prior, generators=generators(0, 1, 2))
    refined = planner.plan(coarse, prior, generators=generators(0, 1, 2), refine=counted)
    assert counts[0] == 20
    torch.testing.assert_close(refined.cost, fine(refined.actions[:, None])[:, 0])
    unrefined = fine(plain.actions[:, None])[:, 0]
    assert (refined.cost <= unrefined).all() and (refined.cost < unrefined).any()


@EVERY
def test_a_plan_obeys_even_where_the_mean_of_what_obeys_does_not(method):
    """Straight on is forbidden and lies between what is allowed on either side."""
    around = Rule("turn at least 0.1 rad in the first step", lambda actions: actions[..., 0, 2].abs() >= 0.1)
    prior = make_prior(Parameterisation.arc, constraints=(around,))
    plan = make_planner(Choice(method=method)).plan(
        lambda candidates: candidates[..., 0, 2].abs(), prior, generators=generators(0, 1, 2)
    )
    assert (plan.actions[:, 0, 2].abs() >= 0.1 - 1e-9).all()
    for each in plan.iterations:
        assert obeys(each.parameters, prior).all()


@EVERY
def test_costs_that_cannot_be_ranked_are_refused(method):
    planner = make_planner(Choice(method=method))
    with pytest.raises(ValueError, match=r"are not. Check the model's outputs"):
        planner.plan(
            lambda candidates: torch.full(candidates.shape[:2], torch.nan),
            make_prior(),
            generators=generators(0),
        )
