"""Ranking answers the proposal of lowest cost, exactly as it was proposed, or a mean of all."""

import math
from dataclasses import replace

import pytest
import torch

from planners.candidates import Parameterisation
from planners.constraints import parse_constraints
from planners.ranking import rank
from tests.planners.quadratic import HORIZON, generators, make_prior


def make_proposals(num_problems: int = 3, count: int = 7) -> torch.Tensor:
    (generator,) = generators(5)
    noise = torch.randn(num_problems, count, HORIZON, 3, generator=generator, dtype=torch.float64)
    return 0.3 * noise


def forward_cost(candidates: torch.Tensor) -> torch.Tensor:
    """Return how far the sum of dx is from 1 m."""
    return (candidates[..., 0].sum(dim=-1) - 1).abs()


@pytest.mark.parametrize("parameterisation", list(Parameterisation))
def test_the_plan_is_the_cheapest_proposal_as_its_text_says_it(parameterisation):
    proposals, prior = make_proposals(), make_prior(parameterisation)
    plan = rank(proposals, forward_cost, prior)
    written = (proposals * 1000).round() / 1000
    costs = forward_cost(written)
    chosen = written[torch.arange(3), costs.argmin(dim=1)]
    torch.testing.assert_close(plan.actions[..., :3], chosen, atol=1e-12, rtol=0)
    torch.testing.assert_close(plan.cost, costs.min(dim=1).values, atol=1e-12, rtol=0)
    assert (plan.actions[..., 3] == 0.25).all()
    (iteration,) = plan.iterations
    torch.testing.assert_close(iteration.costs, costs, atol=1e-12, rtol=0)


def test_bounds_do_not_cut_a_proposal():
    proposals = make_proposals()
    proposals[:, 2, 0, 0] = 7.0
    plan = rank(proposals, lambda candidates: -candidates[..., 0, 0], make_prior())
    assert (plan.actions[:, 0, 0] == 7.0).all()


def test_a_mean_weighs_by_standard_costs():
    """Two proposals have standard costs -1 and 1, whatever their costs are."""
    proposals = make_proposals(count=2)
    plan = rank(
        proposals, lambda candidates: 40 + 9 * forward_cost(candidates), make_prior(), temperature=0.5
    )
    better = forward_cost((proposals * 1000).round() / 1000).argmin(dim=1)
    weight = 1 / (1 + math.exp(-2 / 0.5))
    both = torch.arange(3)
    mean = weight * proposals[both, better] + (1 - weight) * proposals[both, 1 - better]
    torch.testing.assert_close(plan.actions[..., :3], mean, atol=6e-4, rtol=0)
    assert torch.equal(plan.cost, 40 + 9 * forward_cost(plan.actions))


def test_a_cold_mean_is_the_best_and_a_hot_one_the_mean():
    proposals, prior = make_proposals(), make_prior()
    best = rank(proposals, forward_cost, prior)
    cold = rank(proposals, forward_cost, prior, temperature=1e-6)
    hot = rank(proposals, forward_cost, prior, temperature=1e9)
    assert torch.equal(cold.actions, best.actions)
    torch.testing.assert_close(hot.actions[..., :3], proposals.mean(dim=1), atol=6e-4, rtol=0)


def test_forbidden_proposals_are_never_chosen():
    proposals = make_proposals(count=4).abs()
    proposals[:, 1, :, 2] = 0.0
    prior = replace(make_prior(), constraints=parse_constraints("no left turn"))
    for temperature in (0.0, 3.0):
        plan = rank(proposals, lambda candidates: -candidates[..., 2].sum(-1), prior, temperature=temperature)
        assert (plan.actions[..., 2] == 0).all()
    with pytest.raises(ValueError, match=r"no proposal of 3 of 3 problems obeys .*; drop a constraint"):
        rank(proposals + 0.1, forward_cost, prior)


def test_what_cannot_be_ranked_is_refused():
    proposals, prior = make_proposals(), make_prior()
    with pytest.raises(ValueError, match="of 5 steps for each problem, as the prior has; got 7 of 4 steps"):
        rank(proposals[:, :, :4], forward_cost, prior)
    with pytest.raises(ValueError, match="temperature must not be negative; got -1"):
        rank(proposals, forward_cost, prior, temperature=-1.0)
    with pytest.raises(ValueError, match="1 of 105 actions cannot be written"):
        proposals[0, 0, 0, 2] = 4.0
        rank(proposals, forward_cost, prior)
