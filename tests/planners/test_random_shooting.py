import pytest
import torch

from planners.random_shooting import RandomShooting, RandomShootingConfig
from tests.planners.quadratic import generators, make_prior, make_targets, quadratic


def test_the_plan_is_the_cheapest_candidate():
    prior = make_prior()
    plan = RandomShooting(RandomShootingConfig(num_candidates=50)).plan(
        quadratic(make_targets(prior, 3), prior), prior, generators=generators(0, 1, 2)
    )
    (iteration,) = plan.iterations
    assert torch.equal(plan.cost, iteration.costs.min(dim=1).values)
    chosen = iteration.costs.argmin(dim=1)
    assert torch.equal(plan.actions, iteration.candidates[torch.arange(3), chosen])


def test_candidates_are_draws_of_the_prior_and_its_mean():
    prior = make_prior()
    plan = RandomShooting(RandomShootingConfig(num_candidates=30_000)).plan(
        quadratic(make_targets(prior, 1), prior), prior, generators=generators(0)
    )
    drawn = plan.iterations[0].parameters[0]
    torch.testing.assert_close(drawn[0], prior.mean)
    inside = drawn[(drawn.abs() < 0.59).all(dim=1)]
    assert len(inside) > 15_000
    torch.testing.assert_close(drawn.mean(dim=0), prior.mean, atol=0.01, rtol=0)


def test_the_best_of_more_is_no_worse():
    prior = make_prior()
    evaluate = quadratic(make_targets(prior, 3), prior)
    few, many = (
        RandomShooting(RandomShootingConfig(num_candidates=count)).plan(
            evaluate, prior, generators=generators(0, 1, 2)
        )
        for count in (10, 1000)
    )
    assert (many.cost <= few.cost).all() and (many.cost < few.cost).any()


def test_an_empty_budget_is_refused():
    with pytest.raises(ValueError, match="num_candidates must be at least 1; got 0"):
        RandomShootingConfig(num_candidates=0)
