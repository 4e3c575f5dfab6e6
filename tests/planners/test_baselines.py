import numpy as np
import pytest
import torch

from planners.baselines import (
    constant_velocity,
    prior_mean,
    random_candidate,
    stand_still,
    straight_ahead,
)
from planners.candidates import Parameterisation, Prior
from planners.cem import Cem, CemConfig


def _prior() -> Prior:
    return Prior(
        mean=torch.tensor([0.2, 0.01, -0.05], dtype=torch.float64),
        covariance=torch.diag(torch.tensor([0.04, 0.02, 0.25], dtype=torch.float64)),
        parameterisation=Parameterisation.arc,
        horizon=7,
        dt_s=0.25,
    )


def test_each_baseline_is_what_it_says():
    still = stand_still(_prior(), num_problems=2)
    mean = prior_mean(_prior(), num_problems=3)
    ahead = straight_ahead(_prior(), step_m=0.2468, num_problems=5)
    assert (still.shape, mean.shape, ahead.shape) == ((2, 7, 4), (3, 7, 4), (5, 7, 4))
    assert still[..., :3].abs().max() == 0
    assert mean[1, 4].tolist() == [0.2, 0.01, -0.05, 0.25]
    assert ahead[4, 6].tolist() == [0.247, 0.0, 0.0, 0.25]


def test_random_candidates_follow_the_prior_within_the_bounds():
    generators = [torch.Generator().manual_seed(seed) for seed in range(2000)]
    drawn = random_candidate(_prior(), generators=generators)[:, 0, :3]
    assert (drawn.abs() <= torch.tensor([0.6, 0.6, 1.0], dtype=torch.float64)).all()
    torch.testing.assert_close(drawn.mean(dim=0), _prior().mean, atol=0.03, rtol=0)
    assert drawn[:, 0].std().item() == pytest.approx(0.2, rel=0.1)


def test_a_random_candidate_depends_on_its_own_problem_only():
    together = random_candidate(_prior(), generators=[torch.Generator().manual_seed(seed) for seed in (4, 6)])
    alone = random_candidate(_prior(), generators=[torch.Generator().manual_seed(6)])
    assert torch.equal(together[1:], alone)


def test_the_prior_mean_is_where_cem_starts():
    plan = Cem(CemConfig(num_candidates=2, num_elites=1)).plan(
        lambda candidates: candidates[..., 0].sum(dim=-1), _prior(), generators=[torch.Generator()]
    )
    assert torch.equal(plan.iterations[0].candidates[:, 0], prior_mean(_prior(), num_problems=1))


def test_constant_velocity_goes_on_as_before_within_the_bounds():
    last = np.array([[0.2, -0.05, 0.1], [5.0, 0.0, -9.0]])
    actions = constant_velocity(_prior(), last).numpy()
    assert actions.shape == (2, _prior().horizon, 4)
    np.testing.assert_allclose(
        actions[0, :, :3], np.broadcast_to(last[0], actions[0, :, :3].shape), atol=1e-9
    )
    bounds = _prior().bounds
    np.testing.assert_allclose(actions[1, 0, :3], [bounds.dx_m, 0, -bounds.dyaw_rad], atol=1e-9)
    np.testing.assert_allclose(actions[..., 3], round(_prior().dt_s, 2), atol=0.005)
