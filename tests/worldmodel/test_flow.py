"""Laws of the path, the predictions and the sampler."""

import numpy as np
import pytest
import torch
from scipy.special import logit
from scipy.stats import kstest, norm

from worldmodel.flow import (
    FlowConfig,
    Prediction,
    TimeDistribution,
    default_shift,
    draw_times,
    euler_step,
    flow_error,
    interpolate,
    predicted_latent,
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


def test_predictions_convert_into_each_other(pair):
    noise, latent = pair
    time = torch.tensor([0.0, 0.4, 0.9])
    noised = interpolate(noise, latent, time)
    velocity = to_velocity(latent, noised, time)
    torch.testing.assert_close(velocity, latent - noise, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(to_latent(velocity, noised, time), latent, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        predicted_latent(velocity, noised, time, prediction=Prediction.velocity), latent, atol=1e-5, rtol=1e-5
    )


def test_velocity_is_finite_at_the_data_end(pair):
    noise, latent = pair
    assert torch.isfinite(to_velocity(noise, latent, torch.ones(3))).all()


def test_losses_of_the_two_spaces_differ_by_the_remaining_time(pair):
    noise, latent = pair
    time = torch.tensor([0.0, 0.5, 0.8])
    noised = interpolate(noise, latent, time)
    in_latents = flow_error(noise, noised, latent, time, FlowConfig())
    in_velocity = flow_error(noise, noised, latent, time, FlowConfig(loss_space=Prediction.velocity))
    torch.testing.assert_close(in_velocity, in_latents / (1 - time) ** 2)


def test_a_perfect_prediction_has_no_error(pair):
    noise, latent = pair
    time = torch.tensor([0.0, 0.5, 0.8])
    noised = interpolate(noise, latent, time)
    for prediction, output in ((Prediction.latent, latent), (Prediction.velocity, latent - noise)):
        error = flow_error(output, noised, latent, time, FlowConfig(prediction=prediction))
        torch.testing.assert_close(error, torch.zeros(3), atol=1e-9, rtol=0)


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


def test_times_toward_clean_are_refused():
    with pytest.raises(ValueError, match="never toward clean"):
        FlowConfig(time_shift=0.5)
    with pytest.raises(ValueError, match="clean_context_share"):
        FlowConfig(clean_context_share=0.2)
