import math

import numpy as np
import pytest
import torch

from data_tools.action_text import format_actions, parse_actions, round_actions
from data_tools.pose import compose
from planners.candidates import (
    TEXT_RESOLUTION,
    Bounds,
    Parameterisation,
    Prior,
    fit_prior,
    num_parameters,
    parameters_to,
    shifted,
    steady,
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


def _wide_prior(parameterisation: Parameterisation, *, horizon: int, num_points: int = 3) -> Prior:
    count = num_parameters(parameterisation, horizon=horizon, num_points=num_points)
    return Prior(
        mean=torch.zeros(count, dtype=torch.float64),
        covariance=torch.eye(count, dtype=torch.float64),
        parameterisation=parameterisation,
        horizon=horizon,
        dt_s=0.25,
        num_points=num_points,
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


def test_points_are_interpolated_by_hand():
    prior = _wide_prior(Parameterisation.points, horizon=5, num_points=3)
    parameters = torch.tensor([0.1, 0.0, 0.4, 0.3, 0.2, 0.0, 0.5, 0.0, -0.4], dtype=torch.float64)
    expected = [(0.1, 0.0, 0.4), (0.2, 0.1, 0.2), (0.3, 0.2, 0.0), (0.4, 0.1, -0.2), (0.5, 0.0, -0.4)]
    np.testing.assert_allclose(to_actions(parameters, prior)[:, :3].numpy(), expected, atol=1e-12)


def test_one_point_is_an_arc_and_as_many_points_as_steps_are_steps():
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(2, 12, generator=generator, dtype=torch.float64) * 0.3
    steps = to_actions(parameters, _wide_prior(Parameterisation.steps, horizon=4))
    assert torch.equal(
        steps, to_actions(parameters, _wide_prior(Parameterisation.points, horizon=4, num_points=4))
    )
    np.testing.assert_allclose(steps[..., :3].reshape(2, 12), parameters, atol=5e-4 + 1e-12)
    point = _wide_prior(Parameterisation.points, horizon=4, num_points=1)
    arc = _wide_prior(Parameterisation.arc, horizon=4)
    assert torch.equal(to_actions(parameters[:, :3], point), to_actions(parameters[:, :3], arc))


@pytest.mark.parametrize("parameterisation", [Parameterisation.points, Parameterisation.steps])
def test_of_many_ways_to_a_pose_the_arc_is_returned(parameterisation):
    final = np.array([[1.0, 0.5, 0.7]])
    parameters = parameters_to(final, parameterisation=parameterisation, horizon=6, num_points=2)
    prior = _wide_prior(parameterisation, horizon=6, num_points=2)
    motions = np.repeat(parameters.reshape(-1, 3)[:1], 6, axis=0)
    np.testing.assert_allclose(compose(motions), final[0], atol=1e-9)
    assert parameters.shape == (1, len(prior.mean))
    assert len(np.unique(parameters.reshape(-1, 3), axis=0)) == 1


def test_the_prior_of_steps_is_that_of_the_windows():
    rng = np.random.default_rng(1)
    steps = rng.normal(0.1, 0.2, (30, 3))
    windows = np.stack([steps[start : start + 4].ravel() for start in range(27)])
    prior = fit_prior([steps], parameterisation=Parameterisation.steps, horizon=4, dt_s=0.25)
    np.testing.assert_allclose(prior.mean.numpy(), windows.mean(axis=0))
    expected = np.cov(windows.T) + TEXT_RESOLUTION**2 * np.eye(12)
    np.testing.assert_allclose(prior.covariance.numpy(), expected)


def test_points_are_the_least_squares_of_the_windows():
    rng = np.random.default_rng(2)
    points = rng.normal(0.1, 0.2, (40, 2, 3))
    share = np.linspace(0, 1, 5)[:, None]
    exact = [(1 - share) * first + share * last for first, last in points]
    prior = fit_prior(exact, parameterisation=Parameterisation.points, horizon=5, dt_s=0.25, num_points=2)
    np.testing.assert_allclose(prior.mean.numpy(), points.reshape(40, 6).mean(axis=0), atol=1e-12)
    expected = np.cov(points.reshape(40, 6).T) + TEXT_RESOLUTION**2 * np.eye(6)
    np.testing.assert_allclose(prior.covariance.numpy(), expected)


def test_what_is_left_of_steps_is_shifted_and_an_arc_goes_on():
    steps = torch.arange(12, dtype=torch.float64)
    left = shifted(steps, _wide_prior(Parameterisation.steps, horizon=4), num_steps=3)
    assert left.tolist() == [9, 10, 11] * 4
    one = shifted(steps, _wide_prior(Parameterisation.steps, horizon=4), num_steps=1)
    assert one.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11, 9, 10, 11]
    arc = torch.tensor([0.2, 0.0, 0.1], dtype=torch.float64)
    assert torch.equal(shifted(arc, _prior(), num_steps=2), arc)


def test_what_is_left_of_points_is_as_near_as_points_come():
    prior = _wide_prior(Parameterisation.points, horizon=6, num_points=2)
    steady_points = torch.tensor([0.2, 0.0, 0.1] * 2, dtype=torch.float64)
    torch.testing.assert_close(shifted(steady_points, prior, num_steps=2), steady_points)
    ramp = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.0, 0.0], dtype=torch.float64)  # 0, 0.1, .. 0.5
    left = shifted(ramp, prior, num_steps=1)  # of 0.1, 0.2, 0.3, 0.4, 0.5, 0.5 the line of least squares
    slope, start = np.polyfit(np.arange(6), [0.1, 0.2, 0.3, 0.4, 0.5, 0.5], 1)
    np.testing.assert_allclose(left[[0, 3]].numpy(), [start, start + 5 * slope])


def test_one_motion_all_the_time():
    assert steady([0.1, 0.0, 0.2], _prior()).tolist() == [0.1, 0.0, 0.2]
    prior = _wide_prior(Parameterisation.points, horizon=5, num_points=2)
    assert steady([0.1, 0.0, 0.2], prior).tolist() == [0.1, 0.0, 0.2] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_actions_are_rounded_as_the_text_rounds(dtype):
    generator = torch.Generator().manual_seed(0)
    motions = torch.rand(2000, 3, generator=generator, dtype=dtype) * 6.2 - 3.1
    motions[:4, 0] = torch.tensor([0.0005, -0.0004, 0.0015, 50.1234], dtype=dtype)
    prior = _prior(horizon=1)
    actions = to_actions(motions, prior)
    numbers = np.column_stack([motions.numpy(), np.full(2000, prior.dt_s)])
    difference = np.abs(actions[:, 0].numpy() - round_actions(numbers))
    assert difference.max() <= (0 if dtype is torch.float64 else 1.01e-3)
    assert (difference > 1e-5).mean() < 0.002, "ties alone may fall to the other side"
    assert parse_actions(format_actions(actions[:, 0].numpy())).astype(actions.numpy().dtype).tolist() == (
        actions[:, 0].tolist()
    )
    assert not torch.signbit(actions[1, 0, 0])


@pytest.mark.parametrize("number", [math.nan, 100.0, -4.0])
def test_motions_that_no_text_can_say_are_refused(number):
    motions = torch.tensor([[0.1, 0.0, 0.2], [0.1, 0.0, number]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"1 of 2 actions cannot be written"):
        to_actions(motions, _prior())


def test_a_prior_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"steps over 4 steps has 12 parameters; the mean has 3"):
        Prior(
            mean=torch.zeros(3),
            covariance=torch.eye(3),
            parameterisation=Parameterisation.steps,
            horizon=4,
            dt_s=0.25,
        )
    with pytest.raises(ValueError, match=r"need 1 <= num_points <= horizon; got 9 and 8"):
        num_parameters(Parameterisation.points, horizon=8, num_points=9)


def test_more_numbers_need_more_windows():
    with pytest.raises(ValueError, match=r"over 12 parameters needs at least 13 windows of 4 steps"):
        fit_prior([np.zeros((15, 3))], parameterisation=Parameterisation.steps, horizon=4, dt_s=0.25)


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


def _winding(num_steps: int = 400) -> np.ndarray:
    """Steps of a robot whose speed and turn change slowly."""
    rng = np.random.default_rng(0)
    steps = np.zeros((num_steps, 3))
    steps[0] = [0.2, 0.0, 0.0]
    for index in range(1, num_steps):
        kept = 0.9 * (steps[index - 1] - [0.2, 0, 0]) + [0.2, 0, 0]
        steps[index] = kept + rng.normal(0, [0.02, 0.005, 0.03])
    return steps


@pytest.mark.parametrize("parameterisation", [Parameterisation.arc, Parameterisation.steps])
def test_a_prior_after_a_step_is_the_regression_on_it(parameterisation):
    steps = _winding()
    settings = {"parameterisation": parameterisation, "horizon": 4, "dt_s": 0.25}
    prior = fit_prior([steps], **settings, with_odometry=True)
    last = np.array([[0.35, 0.01, 0.2], [0.1, -0.02, -0.3]])
    given = prior.after(last)
    windows = np.stack([steps[start : start + 4] for start in range(1, len(steps) - 3)])
    # The same by the normal equations, with an intercept.
    before = np.column_stack([steps[: len(windows)], np.ones(len(windows))])
    targets = (
        windows.reshape(len(windows), -1)
        if parameterisation is Parameterisation.steps
        else parameters_to(compose(windows), parameterisation=parameterisation, horizon=4)
    )
    weights = np.linalg.solve(before.T @ before, before.T @ targets)
    np.testing.assert_allclose(given.mean, np.column_stack([last, np.ones(2)]) @ weights, atol=1e-9)
    assert torch.linalg.det(given.covariance) < torch.linalg.det(prior.covariance)  # it knows more
    plain = fit_prior([steps], **settings)
    assert plain.after(last) is plain
    torch.testing.assert_close(plain.mean, prior.mean, rtol=0, atol=0)


def test_odometry_needs_a_step_before_a_window():
    steps = [np.random.default_rng(index).normal(size=(4, 3)) * 0.1 for index in range(9)]
    with pytest.raises(ValueError, match="odometry needs a step before a window of 4"):
        fit_prior(steps, parameterisation=Parameterisation.arc, horizon=4, dt_s=0.25, with_odometry=True)
