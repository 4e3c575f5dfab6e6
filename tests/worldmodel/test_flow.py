"""Laws of the path, the predictions and the sampler."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from scipy.special import logit
from scipy.stats import kstest, norm

from worldmodel.flow import (
    FlowConfig,
    Prediction,
    Sampler,
    TimeDistribution,
    default_shift,
    draw_times,
    euler_step,
    flow_error,
    guide,
    interpolate,
    predicted_latent,
    sample,
    sample_times,
    sampler_step,
    shift_time,
    to_latent,
    to_velocity,
)


@pytest.fixture
def pair(generator):
    return tuple(torch.randn(3, 5, generator=generator) for _ in range(2))


def test_endpoints_are_noise_and_latent(pair):
    noise, latent = pair
    torch.testing.assert_close(interpolate(noise, latent, torch.zeros(3)), noise)
    torch.testing.assert_close(interpolate(noise, latent, torch.ones(3)), latent)


def test_each_token_has_its_own_time(pair):
    noise, latent = pair
    time = torch.tensor([0.0, 0.25, 1.0])
    expected = torch.stack([(1 - t) * n + t * x for t, n, x in zip(time, noise, latent, strict=True)])
    torch.testing.assert_close(interpolate(noise, latent, time), expected)


TIMES = (0.0, 0.4, 0.97, 1 - 2.0**-24)
"""From noise to the last time below 1 that float32 has."""


@pytest.mark.parametrize("time", TIMES)
def test_predictions_convert_into_each_other(generator, time):
    """In float64, where a path's point still holds its noise however near the data is."""
    noise, latent = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    times = torch.full((3,), time, dtype=torch.float64)
    noised = interpolate(noise, latent, times)
    velocity = to_velocity(latent, noised, times)
    torch.testing.assert_close(velocity, latent - noise, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(to_latent(velocity, noised, times), latent, atol=1e-12, rtol=1e-12)
    read = predicted_latent(velocity, noised, times, prediction=Prediction.velocity)
    torch.testing.assert_close(read, latent, atol=1e-12, rtol=1e-12)
    assert predicted_latent(latent, noised, times, prediction=Prediction.latent) is latent


def test_conversions_at_the_two_ends(pair):
    noise, latent = pair
    start, end = torch.zeros(3), torch.ones(3)
    assert torch.equal(to_velocity(latent, noise, start), latent - noise)
    assert torch.equal(to_latent(latent - noise, noise, start), noise + (latent - noise))
    assert torch.equal(to_latent(noise, latent, end), latent)  # whatever the velocity
    assert torch.isfinite(to_velocity(noise, latent, end)).all()
    assert torch.equal(to_velocity(latent, latent, end), torch.zeros(3, 5))


ERRORS = [(prediction, space) for prediction in Prediction for space in Prediction]


@pytest.mark.parametrize(("prediction", "space"), ERRORS)
def test_errors_are_those_of_the_converted_prediction(pair, generator, prediction, space):
    noise, latent = pair
    time = torch.tensor([0.0, 0.5, 0.9])
    output = torch.randn(3, 5, generator=generator)
    noised = interpolate(noise, latent, time)
    clean = predicted_latent(output, noised, time, prediction=prediction)
    wanted = clean - latent
    if space is Prediction.velocity:
        wanted = to_velocity(clean, noised, time) - (latent - noise)
    found = flow_error(output, noise, latent, time, FlowConfig(prediction=prediction, loss_space=space))
    torch.testing.assert_close(found, wanted.square().mean(dim=1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("prediction", "space"), ERRORS)
def test_errors_and_their_gradients_are_finite_at_both_ends(pair, generator, prediction, space):
    noise, latent = pair
    output = torch.randn(3, 5, generator=generator, requires_grad=True)
    config = FlowConfig(prediction=prediction, loss_space=space)
    error = flow_error(output, noise, latent, torch.tensor([0.0, 0.99, 1.0]), config)
    error.sum().backward()
    assert output.grad is not None
    assert torch.isfinite(error).all() and torch.isfinite(output.grad).all()


def test_a_velocity_is_judged_at_clean_data_too(pair):
    """Its error is known there, though it cannot be computed from the clean latents that it implies."""
    noise, latent = pair
    config = FlowConfig(prediction=Prediction.velocity, loss_space=Prediction.velocity)
    error = flow_error(latent - noise + 0.5, noise, latent, torch.ones(3), config)
    torch.testing.assert_close(error, torch.full((3,), 0.25))


@pytest.mark.parametrize(("prediction", "space"), ERRORS)
def test_a_perfect_prediction_has_no_error(pair, prediction, space):
    noise, latent = pair
    output = latent if prediction is Prediction.latent else latent - noise
    config = FlowConfig(prediction=prediction, loss_space=space)
    error = flow_error(output, noise, latent, torch.tensor([0.0, 0.5, 1.0]), config)
    assert torch.equal(error, torch.zeros(3))


def test_shift_moves_toward_noise_and_keeps_the_ends():
    time = torch.tensor([0.0, 0.3, 0.7, 1.0])
    shifted = shift_time(time, shift=3.0)
    assert shifted[0] == 0 and shifted[-1] == 1
    assert (shifted[1:-1] < time[1:-1]).all()
    torch.testing.assert_close(shift_time(time, shift=1.0), time)


@pytest.mark.parametrize("times", list(TimeDistribution))
def test_drawn_times_have_the_density_of_their_distribution(times):
    config = FlowConfig(times=times, time_shift=2.0)
    drawn = draw_times(20_000, config, latent_size=1, rng=np.random.default_rng(0))
    # Undone the shift, t / (1 - t) is uniform's odds, or its logarithm is a standard normal.
    unshifted = 1 - shift_time(1 - torch.from_numpy(drawn), shift=2.0).numpy()
    law = "uniform" if times is TimeDistribution.uniform else lambda t: norm.cdf(logit(t))
    assert kstest(unshifted.astype(np.float64), law).pvalue > 0.01


def test_default_shift_is_the_papers_for_siglip_and_never_toward_clean():
    assert default_shift(1152 * 256) == pytest.approx(8.485, abs=1e-3)
    assert default_shift(16 * 128) == 1.0


def test_euler_with_the_true_latent_arrives_at_it_in_any_number_of_steps(pair):
    noise, latent = pair
    for num_steps in (1, 2, 7):
        sample = noise
        for index in range(num_steps):
            sample = euler_step(sample, latent, time=index / num_steps, next_time=(index + 1) / num_steps)
        torch.testing.assert_close(sample, latent, atol=1e-5, rtol=1e-5)


MEAN, DEVIATION = 1.5, 0.4
"""Of Gaussian data, whose flow has a closed form."""


def mean_latent(noised: torch.Tensor, time: float) -> torch.Tensor:
    """E[x | z_t] of x ~ N(MEAN, DEVIATION^2) and noise ~ N(0, 1)."""
    variance = (1 - time) ** 2 + (time * DEVIATION) ** 2
    return MEAN + time * DEVIATION**2 / variance * (noised - time * MEAN)


def flow_of_noise(noise: torch.Tensor, time: float) -> torch.Tensor:
    """Where the exact flow carries noise: t mean + sqrt((1 - t)^2 + t^2 deviation^2) noise."""
    return time * MEAN + ((1 - time) ** 2 + (time * DEVIATION) ** 2) ** 0.5 * noise


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(("sampler", "order"), [(Sampler.euler, 1), (Sampler.heun, 2)])
def test_errors_fall_with_the_order_of_the_sampler(generator, sampler, order, shift):
    noise = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    errors = []
    for num_steps in (40, 80, 160):
        times = sample_times(num_steps, shift=shift)
        found = sample(mean_latent, noise, times=times, sampler=sampler)
        errors.append((found - flow_of_noise(noise, 1.0)).abs().max().item())
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.1)


def test_heun_beats_euler_at_equal_work(generator):
    noise = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    exact = flow_of_noise(noise, 1.0)
    calls = 0

    def counted(noised: torch.Tensor, time: float) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return mean_latent(noised, time)

    errors = {}
    for sampler, num_steps in ((Sampler.euler, 25), (Sampler.heun, 13)):
        calls = 0
        found = sample(counted, noise, times=sample_times(num_steps), sampler=sampler)
        assert calls == 25  # the last of Heun's steps is one of Euler's
        errors[sampler] = (found - exact).abs().max()
    assert errors[Sampler.heun] < errors[Sampler.euler] / 3


@pytest.mark.parametrize("sampler", list(Sampler))
def test_the_last_step_returns_the_prediction(pair, sampler):
    noise, latent = pair
    assert sampler_step(lambda *_: latent, noise, time=0.9, next_time=1.0, sampler=sampler) is latent


@pytest.mark.parametrize("num_steps", [1, 3, 25, 100])
@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_euler_is_that_of_diffusers(generator, num_steps, shift):
    """There sigma is our 1 - time, and what the model gives is noise - data."""
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=shift)  # its annotations are too narrow
    scheduler.set_timesteps(sigmas=(1 - torch.linspace(0, 1, num_steps + 1)[:-1]).tolist())
    times = sample_times(num_steps, shift=shift)
    torch.testing.assert_close(1 - scheduler.sigmas, torch.tensor(times), atol=1e-6, rtol=1e-6)
    noise = torch.randn(2, 3, 5, generator=generator)
    theirs = noise
    for timestep, time in zip(scheduler.timesteps, times, strict=False):
        velocity = (mean_latent(theirs, time) - theirs) / (1 - time)
        theirs = scheduler.step(-velocity, timestep, theirs, return_dict=False)[0]
    ours = sample(mean_latent, noise, times=times, sampler=Sampler.euler)
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=2e-6)


def test_times_of_sampling_run_from_noise_to_data():
    assert sample_times(4) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert sample_times(4, shift=3.0) == pytest.approx([0.0, 0.1, 0.25, 0.5, 1.0])
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        sample_times(0)
    with pytest.raises(ValueError, match=r"at least 1 .never toward clean., got 0\.5"):
        sample_times(3, shift=0.5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_is_the_same_in_latents_as_in_velocities(generator, scale):
    noised, plain, free = (torch.randn(3, 5, generator=generator) for _ in range(3))
    time = torch.tensor([0.0, 0.4, 0.8])
    velocities = [to_velocity(each, noised, time) for each in (plain, free)]
    expected = plain + (scale - 1) * (plain - free)
    torch.testing.assert_close(guide(plain, free, scale=scale), expected, atol=1e-6, rtol=1e-6)
    found = to_latent(guide(velocities[0], velocities[1], scale=scale), noised, time)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_times_toward_clean_are_refused():
    with pytest.raises(ValueError, match="never toward clean"):
        FlowConfig(time_shift=0.5)
    with pytest.raises(ValueError, match="clean_context_share"):
        FlowConfig(clean_context_share=0.2)
