import pytest
import torch

from planners.candidates import Parameterisation, shifted
from planners.icem import Icem, IcemConfig
from planners.plan import Answer
from tests.planners.quadratic import generators, make_prior, make_targets, quadratic


def test_the_population_decays_to_two_an_elite():
    config = IcemConfig(num_candidates=100, num_elites=10, num_iterations=8, population_decay=1.5)
    assert config.populations == [100, 66, 44, 29, 20, 20, 20, 20]
    prior = make_prior()
    plan = Icem(config).plan(quadratic(make_targets(prior, 2), prior), prior, generators=generators(0, 1))
    assert [each.costs.shape[1] for each in plan.iterations] == config.populations


@pytest.mark.parametrize("exponent", [None, 0.0, 2.0])
@pytest.mark.parametrize("answer", list(Answer))
def test_finds_the_minimum_of_a_quadratic(exponent, answer):
    prior = make_prior(Parameterisation.arc)
    targets = make_targets(prior, 3)
    config = IcemConfig(
        num_candidates=100,
        num_elites=10,
        num_iterations=10,
        std_floor=0.02,
        noise_exponent=exponent,
        answer=answer,
    )
    plan = Icem(config).plan(quadratic(targets, prior), prior, generators=generators(0, 1, 2))
    torch.testing.assert_close(plan.parameters, targets, atol=0.02, rtol=0)


def test_one_iteration_by_hand():
    """Momentum 0.25, two elites, none kept: the second mean and spread are three quarters new."""
    prior = make_prior(Parameterisation.arc)
    config = IcemConfig(
        num_candidates=6, num_elites=2, num_iterations=2, momentum=0.25, kept_share=0.0, population_decay=1.0
    )
    plan = Icem(config).plan(quadratic(make_targets(prior, 1), prior), prior, generators=generators(5))
    first, second = plan.iterations
    elites = first.parameters[0][first.costs[0].argsort()[:2]]
    torch.testing.assert_close(second.mean[0], 0.25 * prior.mean + 0.75 * elites.mean(dim=0))
    spread = 0.25 * prior.covariance.diagonal().sqrt() + 0.75 * (elites[0] - elites[1]).abs() / 2
    torch.testing.assert_close(second.std[0], spread)
    torch.testing.assert_close(second.parameters[0, 0], second.mean[0])


def test_elites_that_are_kept_stay_in_the_fit():
    """Later candidates cost more and more, so that the kept elites are the best of the second iteration."""
    prior = make_prior(Parameterisation.arc)
    calls = []

    def ever_dearer(candidates):
        calls.append(candidates)
        return candidates[..., 0, :3].square().sum(dim=-1) + 100.0 * len(calls)

    config = IcemConfig(
        num_candidates=8, num_elites=2, num_iterations=3, kept_share=1.0, momentum=0.0, population_decay=1.0
    )
    plan = Icem(config).plan(ever_dearer, prior, generators=generators(3))
    assert torch.equal(plan.iterations[1].mean, plan.iterations[2].mean)
    assert len(calls) == 3, "kept elites are not evaluated again"


def test_noise_of_steps_is_coloured():
    """The mean over the horizon varies the more, the redder the noise.

    Five steps have the frequencies 0 (as 1), 1, 2, 3, 4 (as 2, 1): with the exponent 3 the mean has
    1 / (1 + 2 + 2 / 8) of the variance, where white noise has 1 / 5.
    """
    spreads = []
    for exponent in (0.0, 3.0):
        prior = make_prior()
        config = IcemConfig(
            num_candidates=4000, num_elites=2, num_iterations=1, noise_exponent=exponent, initial_spread=0.1
        )
        drawn = Icem(config).plan(quadratic(make_targets(prior, 1), prior), prior, generators=generators(0))
        parameters = drawn.iterations[0].parameters[0].reshape(4000, 5, 3)
        deviation = parameters.std(dim=0)
        expected = torch.tensor([0.02, 0.01, 0.03], dtype=torch.float64).expand(5, 3)
        torch.testing.assert_close(deviation, expected, rtol=0.08, atol=0)
        spreads.append(parameters[..., 2].mean(dim=1).std().item())
    assert spreads[0] == pytest.approx(0.03 / 5**0.5, rel=0.05)
    assert spreads[1] == pytest.approx(0.03 * (1 / 3.25) ** 0.5, rel=0.05)


def test_elites_of_the_last_plan_warm_the_next():
    prior = make_prior()
    targets = make_targets(prior, 2)
    config = IcemConfig(num_candidates=32, num_elites=4, num_iterations=2)
    last = Icem(config).plan(quadratic(targets, prior), prior, generators=generators(0, 1))
    elites = shifted(last.cheapest(4), prior, num_steps=2)
    left = shifted(targets, prior, num_steps=2)
    warm = Icem(config).plan(quadratic(left, prior), prior, generators=generators(2, 3), warm_start=elites)
    first = warm.iterations[0]
    torch.testing.assert_close(first.mean, elites.mean(dim=1))
    torch.testing.assert_close(first.parameters[:, -4:], prior.bounds.clamp(elites))
    cold = Icem(config).plan(quadratic(left, prior), prior, generators=generators(2, 3))
    assert (warm.cost < cold.cost).all()


def test_impossible_budgets_are_refused():
    with pytest.raises(ValueError, match=r"2 num_elites <= num_candidates; got 5 and 9"):
        IcemConfig(num_candidates=9, num_elites=5)
    with pytest.raises(ValueError, match=r"population_decay must be at least 1; got 3 and 0.5"):
        IcemConfig(population_decay=0.5)
    with pytest.raises(ValueError, match=r"momentum < 1; got 0.3 and 1.0"):
        IcemConfig(momentum=1.0)
    with pytest.raises(ValueError, match=r"noise_exponent not negative; got 0.05, 1.0 and -1.0"):
        IcemConfig(noise_exponent=-1.0)
    with pytest.raises(ValueError, match=r"at least num_elites \(8\)"):
        IcemConfig(refine_top=3)
