import math

import pytest
import torch

from planners.candidates import Parameterisation
from planners.mppi import Mppi, MppiConfig, weigh
from tests.planners.quadratic import generators, make_prior, make_targets, quadratic


def test_weights_by_hand():
    """J of 0, 1, 2 at a temperature of 1 / ln 2 weigh 4, 2, 1 of 7."""
    weights = weigh(torch.tensor([[5.0, 6.0, 7.0], [1.0, 0.0, 2.0]]).double(), temperature=1 / math.log(2))
    expected = torch.tensor([[4.0, 2.0, 1.0], [2.0, 4.0, 1.0]]).double() / 7
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_temperature_is_found_at_any_scale(scale, dtype):
    objectives = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)).to(dtype) * scale
    weights = weigh(objectives, temperature=1.0, num_effective=7.0)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, dtype=dtype))
    effective = 1 / weights.square().sum(dim=1)
    torch.testing.assert_close(effective, torch.full((3,), 7.0, dtype=dtype), rtol=1e-3, atol=0)
    assert torch.equal(weights.argmax(dim=1), objectives.argmin(dim=1))


def test_equal_candidates_weigh_the_same():
    weights = weigh(torch.full((2, 5), 3.0), temperature=0.1, num_effective=2.0)
    torch.testing.assert_close(weights, torch.full((2, 5), 0.2))


def test_a_cold_plan_is_the_best_candidate_and_a_hot_one_their_mean():
    prior = make_prior(Parameterisation.arc)
    evaluate = quadratic(make_targets(prior, 2), prior)

    def planned(temperature):
        config = MppiConfig(num_candidates=20, num_iterations=1, temperature=temperature, num_effective=None)
        return Mppi(config).plan(evaluate, prior, generators=generators(0, 1))

    cold, hot = planned(1e-9), planned(1e9)
    torch.testing.assert_close(cold.parameters, cold.cheapest(1)[:, 0])
    torch.testing.assert_close(hot.parameters, hot.iterations[0].parameters.mean(dim=1))


def test_finds_the_minimum_of_a_quadratic():
    prior = make_prior(Parameterisation.arc)
    targets = make_targets(prior, 3)
    config = MppiConfig(num_candidates=100, num_iterations=10)
    plan = Mppi(config).plan(quadratic(targets, prior), prior, generators=generators(0, 1, 2))
    torch.testing.assert_close(plan.parameters, targets, atol=0.02, rtol=0)


def test_the_spread_decays():
    prior = make_prior(Parameterisation.arc)
    config = MppiConfig(num_candidates=5, num_effective=2.0, spread=0.5, spread_decay=0.5)
    plan = Mppi(config).plan(quadratic(make_targets(prior, 1), prior), prior, generators=generators(0))
    for factor, iteration in zip((0.5, 0.25, 0.125), plan.iterations, strict=True):
        torch.testing.assert_close(iteration.std[0], factor * prior.covariance.diagonal().sqrt())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"must be positive; got 0.0, 1.0 and 0.6"):
        MppiConfig(temperature=0.0)
    with pytest.raises(ValueError, match=r"in \[1, num_candidates = 4\]; got 8.0"):
        MppiConfig(num_candidates=4)
    with pytest.raises(ValueError, match=r"prior_weight must not be negative; got -1.0"):
        MppiConfig(prior_weight=-1.0)
    with pytest.raises(ValueError, match=r"must be at least 1; got 64 and 0"):
        MppiConfig(num_iterations=0)


def test_refinement_that_could_change_nothing_is_refused():
    with pytest.raises(ValueError, match="refine_top must be 0 or above num_effective = 8"):
        MppiConfig(num_effective=8.0, refine_top=8)
    assert MppiConfig(num_effective=8.0, refine_top=9).refine_top == 9
