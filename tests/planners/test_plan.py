import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planners.candidates import Parameterisation
from planners.plan import Iteration, Plan, Pool, check_search, objective_of
from tests.planners.quadratic import make_prior


def _pool(objectives: torch.Tensor) -> Pool:
    parameters = torch.arange(objectives.numel() * 2).double().reshape(*objectives.shape, 2)
    return Pool(parameters, 10 * objectives, objectives)


@given(st.integers(0, 10_000), st.sampled_from([2, 7, 1000]), st.integers(1, 11))
def test_the_best_are_the_head_of_a_stable_sort_whatever_ties(seed, num_values, count):
    drawn = torch.randint(num_values, (5, 11), generator=torch.Generator().manual_seed(seed)).double()
    pool = _pool(drawn)
    order = drawn.argsort(dim=1, stable=True)[:, :count]
    best = pool.best(count)
    assert torch.equal(best.objectives, drawn.gather(1, order))
    assert torch.equal(best.costs, 10 * best.objectives)
    assert torch.equal(best.parameters, pool.parameters[torch.arange(5)[:, None], order])


def test_joined_pools_hold_both_and_the_first_stay_first():
    one, other = _pool(torch.tensor([[3.0, 1.0], [2.0, 2.0]])), _pool(torch.tensor([[0.0], [2.0]]))
    joined = one.joined(other)
    assert joined.objectives.tolist() == [[3.0, 1.0, 0.0], [2.0, 2.0, 2.0]]
    assert joined.best(1).parameters.tolist() == [[[0.0, 1.0]], [[4.0, 5.0]]]
    assert joined.first(2).costs.tolist() == one.costs.tolist()


def test_the_objective_by_hand():
    """Costs 1, 3 have mean 2 and deviation 1; one standard deviation away from the prior costs a half."""
    prior = make_prior(Parameterisation.arc)
    costs = torch.tensor([[1.0, 3.0]]).double()
    objective = objective_of(costs, prior, prior_weight=4.0, standardise=True)
    deviation = prior.covariance.diagonal().sqrt()
    parameters = torch.stack([prior.mean, prior.mean + torch.tensor([0.0, 1.0, 0.0]) * deviation])[None]
    torch.testing.assert_close(objective(parameters, costs), torch.tensor([[-1.0, 1.0 + 2.0]]).double())
    plain = objective_of(costs, prior, prior_weight=0.0, standardise=False)
    assert torch.equal(plain(parameters, costs), costs)


def test_the_cheapest_of_a_plan_are_those_of_all_iterations():
    def iteration(costs):
        count = len(costs)
        return Iteration(
            candidates=torch.zeros(1, count, 5, 4),
            parameters=torch.tensor(costs)[None, :, None].expand(1, count, 3) * 2,
            costs=torch.tensor([costs]),
            mean=torch.zeros(1, 3),
            std=torch.ones(1, 3),
        )

    plan = Plan(
        actions=torch.zeros(1, 5, 4),
        parameters=torch.zeros(1, 3),
        cost=torch.zeros(1),
        iterations=(iteration([4.0, 1.0, 5.0]), iteration([3.0, 0.5])),
    )
    assert plan.cheapest(3)[0, :, 0].tolist() == [1.0, 2.0, 6.0]


def test_refinement_must_leave_enough_for_the_answer():
    check_search(prior_weight=0.0, num_elites=3, refine_top=0)
    with pytest.raises(ValueError, match=r"at least num_elites \(3\).*got 2"):
        check_search(prior_weight=0.0, num_elites=3, refine_top=2)
