import math

import numpy as np
import pytest
import torch

from data_tools.action_text import format_actions, parse_actions
from data_tools.pose import compose
from planners.candidates import (
    TEXT_RESOLUTION,
    Bounds,
    Parameterisation,
    Prior,
    fit_prior,
    parameters_to,
    to_actions,
    to_jumps,
)

BOTH = pytest.mark.parametrize("parameterisation", [Parameterisation.arc, Parameterisation.line])


def _prior(parameterisation: Parameterisation = Parameterisation.arc, horizon: int = 5) -> Prior:
    return Prior(
        mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
        covariance=torch.diag(torch.tensor([0.01, 0.02, 0.09], dtype=torch.float64)),
        parameterisation=parameterisation,
        horizon=horizon,
        dt_s=9 / 35,
    )


@BOTH
def test_parameters_lead_to_the_pose_they_were_solved_for(parameterisation):
    rng = np.random.default_rng(0)
    final = np.column_stack([rng.uniform(-4, 4, (50, 2)), rng.uniform(-math.pi, math.pi, 50)])
    final[:3, 2] = [0.0, 1e-12, -math.pi]
    parameters = parameters_to(final, parameterisation=parameterisation, horizon=7)
    steps = np.repeat(parameters[:, None], 7, axis=1)
    if parameterisation is Parameterisation.line:
        steps[:, :-1, 2] = 0.0
    np.testing.assert_allclose(compose(steps), final, atol=1e-9)


def test_a_quarter_circle_of_one_metre_by_hand():
    # Chords inscribed in a quarter circle of radius 1: 2 sin(pi / 4n) long, turned by half a step.
    (dx, dy, dyaw) = parameters_to(
        np.array([1.0, 1.0, math.pi / 2]), parameterisation=Parameterisation.arc, horizon=4
    )
    chord, half = 2 * math.sin(math.pi / 16), math.pi / 16
    assert (dx, dy, dyaw) == pytest.approx((chord * math.cos(half), chord * math.sin(half), math.pi / 8))


@BOTH
def test_the_prior_of_constant_motion_is_that_motion(parameterisation):
    motion = np.array([0.25, 0.03, 0.1 if parameterisation is Parameterisation.arc else 0.0])
    steps = [np.tile(motion, (length, 1)) for length in (4, 9, 2)]
    prior = fit_prior(steps, parameterisation=parameterisation, horizon=3, dt_s=0.25)
    np.testing.assert_allclose(prior.mean.numpy(), motion, atol=1e-12)
    np.testing.assert_allclose(prior.covariance.numpy(), TEXT_RESOLUTION**2 * np.eye(3), atol=1e-12)


def test_every_window_of_every_trajectory_counts_once():
    rng = np.random.default_rng(1)
    steps = [rng.normal(0.1, 0.2, (length, 3)) for length in (6, 3, 9)]
    final = [compose(each[i : i + 5]) for each in steps for i in range(len(each) - 4)]
    parameters = parameters_to(np.array(final), parameterisation=Parameterisation.arc, horizon=5)
    prior = fit_prior(steps, parameterisation=Parameterisation.arc, horizon=5, dt_s=0.25)
    np.testing.assert_allclose(prior.mean.numpy(), parameters.mean(axis=0))
    expected = np.cov(parameters.T) + TEXT_RESOLUTION**2 * np.eye(3)
    np.testing.assert_allclose(prior.covariance.numpy(), expected)


@BOTH
def test_actions_are_what_their_text_says(parameterisation):
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64) * 0.3
    actions = to_actions(parameters, _prior(parameterisation))
    assert actions.shape == (2, 3, 5, 4)
    flat = actions.reshape(-1, 4).numpy()
    np.testing.assert_array_equal(parse_actions(format_actions(flat)), flat)
    np.testing.assert_array_equal(flat[:, 3], 0.26)
    np.testing.assert_allclose(actions[..., -1, :3], parameters, atol=5e-4 + 1e-12)


def test_a_line_turns_in_its_last_step_only():
    actions = to_actions(torch.tensor([[0.1, 0.2, 0.7]]), _prior(Parameterisation.line))
    assert actions[0, :, 2].tolist() == pytest.approx([0, 0, 0, 0, 0.7])
    assert actions[0, :, 0].tolist() == pytest.approx([0.1] * 5)


def test_a_jump_is_the_composed_steps_and_the_true_time():
    actions = to_actions(torch.tensor([[0.3, -0.02, 0.15], [0.0, 0.0, 0.9]]).double(), _prior(horizon=8))
    jumps = to_jumps(actions, dt_s=9 / 35)
    expected = compose(actions[..., :3].numpy())
    np.testing.assert_allclose(jumps[:, :3].numpy(), expected, atol=5e-4 + 1e-12)
    assert jumps[:, 3].tolist() == [2.06, 2.06]


def test_bounds_cut_each_number_alone():
    cut = Bounds().clamp(torch.tensor([[0.9, -0.1, -7.0], [-0.61, 0.6, 0.99]], dtype=torch.float64))
    assert cut.tolist() == [[0.6, -0.1, -1.0], [-0.6, 0.6, 0.99]]


def test_too_few_windows_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 windows of 8 steps; 2 trajectories hold 3"):
        fit_prior(
            [np.zeros((10, 3)), np.zeros((7, 3))],
            parameterisation=Parameterisation.arc,
            horizon=8,
            dt_s=0.25,
        )


def test_precision_is_the_inverse_of_the_covariance():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    prior = Prior(
        mean=root[0], covariance=root @ root.T, parameterisation=Parameterisation.arc, horizon=2, dt_s=0.25
    )
    torch.testing.assert_close(prior.precision() @ prior.covariance, torch.eye(3, dtype=torch.float64))
