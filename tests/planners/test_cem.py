import numpy as np
import pytest
import torch

from planners.candidates import Parameterisation, Prior, fit_prior
from planners.cem import Answer, Cem, CemConfig

TARGETS = torch.tensor([[0.30, -0.10, 0.20], [-0.25, 0.35, -0.60], [0.05, 0.00, 0.95]], dtype=torch.float64)


def _prior() -> Prior:
    root = torch.tensor([[0.3, 0.0, 0.0], [0.05, 0.2, 0.0], [-0.1, 0.1, 0.5]], dtype=torch.float64)
    return Prior(
        mean=torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64),
        covariance=root @ root.T,
        parameterisation=Parameterisation.arc,
        horizon=5,
        dt_s=0.25,
    )


def _quadratic(targets, scale=1.0, offset=0.0):
    def evaluate(candidates):
        off = candidates[:, :, 0, :3] - targets[:, None]
        return scale * off.square().sum(dim=-1) + offset

    return evaluate


def _generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("answer", list(Answer))
def test_finds_the_minimum_of_a_quadratic(answer):
    cem = Cem(CemConfig(num_candidates=100, num_elites=10, num_iterations=8, std_floor=0.02, answer=answer))
    plan = cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2))
    torch.testing.assert_close(plan.actions[:, 0, :3], TARGETS, atol=0.02, rtol=0)
    torch.testing.assert_close(plan.cost, _quadratic(TARGETS)(plan.actions[:, None])[:, 0])
    assert len(plan.iterations) == 8


def test_a_minimum_outside_the_bounds_is_met_at_the_bound():
    target = torch.tensor([[0.9, -0.2, -1.4]], dtype=torch.float64)
    cem = Cem(CemConfig(num_candidates=100, num_elites=5, num_iterations=10, std_floor=0.05))
    plan = cem.plan(_quadratic(target), _prior(), generators=_generators(0))
    expected = torch.tensor([[0.6, -0.2, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(plan.parameters, expected, atol=0.03, rtol=0)
    drawn = torch.cat([each.candidates for each in plan.iterations], dim=1)
    limits = torch.tensor([0.6, 0.6, 1.0], dtype=torch.float64)
    assert (drawn[..., :3].abs() <= limits).all()


def test_a_problem_alone_equals_the_same_problem_in_a_batch():
    cem = Cem(CemConfig(num_candidates=16, num_elites=3, num_iterations=3, prior_weight=0.1))
    together = cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(7, 8, 9))
    alone = cem.plan(_quadratic(TARGETS[1:2]), _prior(), generators=_generators(8))
    torch.testing.assert_close(together.actions[1:2], alone.actions, rtol=0, atol=0)
    torch.testing.assert_close(
        together.iterations[2].costs[1:2], alone.iterations[2].costs, rtol=0, atol=1e-12
    )


def test_equal_inputs_give_equal_plans():
    cem = Cem(CemConfig(num_candidates=8, num_elites=2))
    first, second = (
        cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(1, 2, 3)) for _ in range(2)
    )
    assert torch.equal(first.actions, second.actions)


@pytest.mark.parametrize("answer", list(Answer))
def test_an_infinite_prior_weight_answers_the_prior_mean(answer):
    cem = Cem(
        CemConfig(
            num_candidates=64, num_elites=4, num_iterations=6, prior_weight=1e9, answer=answer, std_floor=0.01
        )
    )
    plan = cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2))
    torch.testing.assert_close(plan.parameters, _prior().mean.expand(3, 3), atol=0.02, rtol=0)


def test_the_prior_pulls_a_plan_part_of_the_way():
    prior, evaluate = _prior(), _quadratic(TARGETS)
    off = []
    for weight in (0.0, 1.0, 30.0):
        config = CemConfig(
            num_candidates=100, num_elites=5, num_iterations=6, std_floor=0.02, prior_weight=weight
        )
        parameters = (
            Cem(config).plan(evaluate, prior, generators=_generators(0, 1, 2)).parameters - prior.mean
        )
        off.append(torch.einsum("pi,ij,pj->p", parameters, prior.precision(), parameters))
    assert (off[0] > off[1]).all() and (off[1] > off[2]).all()


def test_standardised_costs_make_the_prior_weigh_the_same_at_any_scale():
    cem = Cem(CemConfig(num_candidates=32, num_elites=4, prior_weight=0.5))
    small = cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2))
    large = cem.plan(
        _quadratic(TARGETS, scale=1000.0, offset=50.0), _prior(), generators=_generators(0, 1, 2)
    )
    torch.testing.assert_close(small.actions, large.actions)


def test_a_blind_problem_with_a_prior_answers_near_the_prior_mean():
    cem = Cem(CemConfig(num_candidates=64, num_elites=4, num_iterations=5, prior_weight=0.1, std_floor=0.01))
    plan = cem.plan(lambda candidates: torch.ones(candidates.shape[:2]), _prior(), generators=_generators(0))
    torch.testing.assert_close(plan.parameters[0], _prior().mean, atol=0.02, rtol=0)


@pytest.mark.parametrize("answer", list(Answer))
def test_one_elite_is_not_nan(answer):
    cem = Cem(CemConfig(num_candidates=5, num_elites=1, num_iterations=4, answer=answer))
    plan = cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2))
    assert plan.actions.isfinite().all() and (plan.iterations[-1].std > 0).all()


def test_the_best_candidate_ever_seen_is_kept():
    cem = Cem(CemConfig(num_candidates=20, num_elites=2, num_iterations=5, answer=Answer.best))
    plan = cem.plan(_quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2))
    seen = torch.cat([each.costs for each in plan.iterations], dim=1)
    torch.testing.assert_close(plan.cost, seen.min(dim=1).values)


def test_without_a_finer_evaluation_nothing_is_refined():
    plain, refined = (
        Cem(CemConfig(num_candidates=16, num_elites=2, refine_top=count)).plan(
            _quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2)
        )
        for count in (0, 6)
    )
    assert torch.equal(plain.actions, refined.actions)


def test_the_first_candidate_is_the_prior_mean():
    plan = Cem(CemConfig(num_candidates=4, num_elites=2)).plan(
        _quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2)
    )
    torch.testing.assert_close(plan.iterations[0].parameters[:, 0], _prior().mean.expand(3, 3))


def test_the_first_candidates_are_drawn_from_the_prior():
    cem = Cem(CemConfig(num_candidates=20_000, num_elites=2, num_iterations=1))
    prior = _prior()
    small = Prior(
        mean=prior.mean,
        covariance=prior.covariance / 100,
        parameterisation=prior.parameterisation,
        horizon=2,
        dt_s=0.25,
    )
    drawn = cem.plan(_quadratic(TARGETS[:1]), small, generators=_generators(0)).iterations[0].parameters[0]
    torch.testing.assert_close(drawn.mean(dim=0), small.mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), small.covariance, atol=1e-4, rtol=0)


def test_a_warm_start_is_considered_and_helps():
    config = CemConfig(num_candidates=10, num_elites=2, num_iterations=1, answer=Answer.best)
    cold = Cem(config).plan(_quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2))
    warm = Cem(config).plan(
        _quadratic(TARGETS), _prior(), generators=_generators(0, 1, 2), warm_start=TARGETS
    )
    torch.testing.assert_close(warm.parameters, TARGETS)
    assert torch.equal(warm.iterations[0].parameters[:, :5], cold.iterations[0].parameters[:, :5])


def test_costs_that_cannot_be_ranked_are_refused():
    cem = Cem(CemConfig(num_candidates=3, num_elites=1))
    with pytest.raises(ValueError, match="2 of 3 are not"):
        cem.plan(lambda _: torch.tensor([[0.0, torch.nan, torch.inf]]), _prior(), generators=_generators(0))
    with pytest.raises(ValueError, match=r"shape \(1, 3\); it returned \(3, 1\)"):
        cem.plan(lambda _: torch.zeros(3, 1), _prior(), generators=_generators(0))


def test_impossible_budgets_are_refused():
    with pytest.raises(ValueError, match="num_elites <= num_candidates; got 9 and 8"):
        CemConfig(num_candidates=8, num_elites=9)
    with pytest.raises(ValueError, match="num_iterations must be at least 1"):
        CemConfig(num_iterations=0)
    with pytest.raises(ValueError, match="prior_weight not negative"):
        CemConfig(prior_weight=-1.0)
    with pytest.raises(ValueError, match="must be positive"):
        CemConfig(std_floor=0.0)
    with pytest.raises(ValueError, match="must be positive"):
        CemConfig(warm_spread=0.0)
    with pytest.raises(ValueError, match=r"at least num_elites \(8\)"):
        CemConfig(num_elites=8, refine_top=3)


def test_each_problem_may_have_a_prior_of_its_own():

    steps = np.random.default_rng(0).normal([0.2, 0.0, 0.0], [0.05, 0.02, 0.1], (200, 3))
    prior = fit_prior(
        [steps], parameterisation=Parameterisation.arc, horizon=5, dt_s=0.25, with_odometry=True
    )
    last = np.array([[0.3, 0.0, 0.2], [0.1, 0.0, -0.2]])
    config = CemConfig(num_candidates=16, num_elites=4, num_iterations=2, prior_weight=0.5)

    def evaluate(candidates):
        return (candidates[..., :3] - 0.1).square().sum(dim=(2, 3))

    def streams(numbers):
        return [torch.Generator().manual_seed(number) for number in numbers]

    both = Cem(config).plan(evaluate, prior.after(last), generators=streams([3, 4]))
    alone = [
        Cem(config).plan(evaluate, prior.after(last[index : index + 1]), generators=streams([3 + index]))
        for index in range(2)
    ]
    for index, own in enumerate(alone):
        torch.testing.assert_close(both.actions[index], own.actions[0], rtol=0, atol=0)
    assert not torch.equal(both.parameters[0], both.parameters[1])
