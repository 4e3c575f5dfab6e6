from dataclasses import replace

import pytest
import torch

from planners.candidates import Parameterisation
from planners.constraints import Rule, parse_constraints
from planners.drawing import (
    Gaussian,
    admit,
    colour_matrix,
    draw_noise,
    draw_parameters,
    noise_factor,
    obeys,
    prior_gaussian,
)
from tests.planners.quadratic import generators, make_prior


def test_noise_of_a_problem_does_not_depend_on_its_batch():
    together, alone = draw_noise(generators(3, 5), 7), draw_noise(generators(5), 7)
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_what_the_generator_gives(dtype):
    drawn = draw_noise(generators(3, 5), 7, num_parameters=11, dtype=dtype)
    expected = torch.randn(7, 11, generator=generators(5)[0], dtype=dtype)
    assert torch.equal(drawn[1], expected)


def test_a_gaussian_has_its_mean_and_covariance():
    root = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.arange(12, dtype=torch.float64).reshape(2, 6)
    drawn = Gaussian(mean, root).around(draw_noise(generators(1, 2), 200_000, num_parameters=6))
    for index in range(2):
        torch.testing.assert_close(drawn[index].mean(dim=0), mean[index], atol=0.03, rtol=0)
        torch.testing.assert_close(drawn[index].T.cov(), root[index] @ root[index].T, atol=0.15, rtol=0)


@pytest.mark.parametrize("num_times", [1, 2, 5, 8])
def test_coloured_noise_is_that_of_a_scaled_fourier_transform(num_times):
    exponent = 1.7
    white = torch.randn(3, num_times, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frequency = torch.fft.rfftfreq(num_times, dtype=torch.float64)
    frequency[0] = 1 / num_times
    coloured = torch.fft.irfft(torch.fft.rfft(white) * frequency ** (-exponent / 2), n=num_times)
    matrix = colour_matrix(num_times, exponent=exponent)
    found = white @ matrix.T
    torch.testing.assert_close(found / found[0, 0], coloured / coloured[0, 0])
    torch.testing.assert_close(matrix.square().sum(dim=1), torch.ones(num_times, dtype=torch.float64))


def test_white_noise_stays_as_it_is():
    identity = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(colour_matrix(6, exponent=0.0), identity)
    prior = make_prior()
    torch.testing.assert_close(noise_factor(prior, exponent=0.0), torch.eye(15, dtype=torch.float64))


def test_noise_without_an_exponent_has_the_correlations_of_the_prior():
    prior = make_prior()
    factor = noise_factor(prior, exponent=None)
    deviation = prior.covariance.diagonal().sqrt()
    torch.testing.assert_close(deviation[:, None] * (factor @ factor.T) * deviation, prior.covariance)


def test_drawn_parameters_are_within_the_bounds():
    prior = make_prior()
    drawn = draw_parameters(replace(prior, covariance=25 * prior.covariance), generators(0, 1), 100)
    limits = torch.tensor([0.6, 0.6, 1.0], dtype=torch.float64).repeat(5)
    assert drawn.shape == (2, 100, 15)
    assert (drawn.abs() <= limits).all() and (drawn.abs() == limits).any()


def _drawn(prior, *seeds, num_samples=40):
    gaussian = prior_gaussian(prior, num_problems=len(seeds))
    streams = generators(*seeds)
    parameters = gaussian.around(draw_noise(streams, num_samples, num_parameters=len(prior.mean)))
    return parameters, gaussian, streams


def test_what_obeys_is_left_as_it_is():
    prior = make_prior(constraints=parse_constraints("stay inside x -9 to 9 m, y -9 to 9 m"))
    parameters, gaussian, streams = _drawn(prior, 0, 1)
    admitted = admit(parameters.clone(), gaussian, prior, generators=streams)
    torch.testing.assert_close(admitted, prior.bounds.clamp(parameters))


def test_what_leaves_a_box_is_pulled_back_along_its_way():
    prior = make_prior(Parameterisation.arc, constraints=parse_constraints("stay within 0.3 m"))
    gaussian = prior_gaussian(prior, num_problems=1)
    parameters = torch.tensor([[[0.2, 0.0, 0.0], [0.04, 0.0, 0.1]]], dtype=torch.float64)
    admitted = admit(parameters.clone(), gaussian, prior, generators=generators(0))
    # 5 x 0.2 m and 5 x 0.1 m are too far, 5 x 0.05 m are not; the second was inside.
    torch.testing.assert_close(admitted, torch.tensor([[[0.05, 0.0, 0.0], [0.04, 0.0, 0.1]]]).double())


def test_what_cannot_be_pulled_is_drawn_anew():
    fast = Rule("0.1 m at least", lambda actions: (actions[..., 0] >= 0.1).all(dim=-1))
    prior = make_prior(Parameterisation.arc, constraints=(fast,))
    parameters, gaussian, streams = _drawn(prior, 0, 1)
    was = obeys(parameters, prior)
    assert 0.2 < was.double().mean() < 0.8
    admitted = admit(parameters.clone(), gaussian, prior, generators=streams)
    assert obeys(admitted, prior).all()
    torch.testing.assert_close(admitted[was], prior.bounds.clamp(parameters[was]))
    assert len(admitted.flatten(0, 1).unique(dim=0)) == 80, "each of them is new"


def test_what_is_hopeless_is_replaced_by_what_obeys():
    target = Rule("the mean itself", lambda actions: ((actions[..., 0] - 0.1).abs() < 1e-9).all(dim=-1))
    prior = make_prior(Parameterisation.arc, constraints=(target,))
    parameters, gaussian, streams = _drawn(prior, 0, num_samples=3)
    parameters[:, 1] = prior.mean
    admitted = admit(parameters, gaussian, prior, generators=streams)
    torch.testing.assert_close(admitted, prior.mean.expand(1, 3, 3))


def test_rules_that_nothing_obeys_are_refused():
    never = Rule("never move and never stay", lambda actions: actions[..., 0, 0] > 1e9)
    prior = make_prior(constraints=(never,))
    parameters, gaussian, streams = _drawn(prior, 0, 1)
    with pytest.raises(ValueError, match=r"no candidate of 2 of 2 problems obeys never move and never stay"):
        admit(parameters, gaussian, prior, generators=streams)
