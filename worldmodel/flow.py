"""Flow matching: the straight path, the two predictions, the time distribution and the samplers.

The path of Lipman et al. (arXiv 2210.02747) with linear coefficients: z_t = (1 - t) noise + t latent,
t = 0 is noise and t = 1 is data, velocity v = latent - noise. Nothing here draws noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.special import expit
from torch import Tensor

MIN_REMAINING = 0.05
"""Smallest 1 - t that a loss is divided by; JiT (arXiv 2511.13720) clamps at the same value."""
SMALLEST_REMAINING = 2.0**-24
"""Smallest 1 - t above 0 in float32, by which a velocity is divided at t = 1, where it is undefined."""


class Prediction(Enum):
    """What the network's output stands for, and in which space its error is taken."""

    latent = "latent"  # x-prediction, better for semantic latents and pixels
    velocity = "velocity"  # v-prediction, better for VAE latents


class TimeDistribution(Enum):
    """How times are drawn before they are shifted."""

    uniform = "uniform"
    logit_normal = "logit_normal"  # most in the middle: the sigmoid of a standard normal (arXiv 2403.03206)


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How frames are noised in training.

    Source: arXiv 2603.03276 takes x-prediction for semantic latents, uniform times and a shift toward noise.
    """

    prediction: Prediction = Prediction.latent
    loss_space: Prediction = Prediction.latent
    times: TimeDistribution = TimeDistribution.uniform
    time_shift: float | None = None
    """Shift toward noise, at least 1; None computes it from the latent size."""
    clean_context_share: float = 0.6
    """Share of documents whose context frames are all clean; in the others each frame has its own noise.

    At least half: what planning asks for, and what held-out losses are reported on, is a clean context.
    """

    def __post_init__(self) -> None:
        if self.time_shift is not None and self.time_shift < 1:
            raise ValueError(
                f"time_shift must be at least 1 (never toward clean), got {self.time_shift}; "
                "leave it out to compute it from the latent size"
            )
        if not 0.5 <= self.clean_context_share <= 1:
            raise ValueError(
                f"clean_context_share must lie in [0.5, 1], got {self.clean_context_share}: planning sees "
                "clean contexts, so at least half of the documents have them"
            )

    def shift(self, latent_size: int) -> float:
        """Return the shift for latents of `latent_size` numbers a frame."""
        return default_shift(latent_size) if self.time_shift is None else self.time_shift


def default_shift(latent_size: int) -> float:
    """Return max(1, sqrt(latent size / 4096)), the shift of RAE (arXiv 2510.11690), never toward clean."""
    return max(1.0, math.sqrt(latent_size / 4096))


def draw_times(
    num_frames: int, config: FlowConfig, *, latent_size: int, rng: np.random.Generator
) -> Float32[np.ndarray, " {num_frames}"]:
    """Draw a shifted time for each frame; `latent_size` is the number of latents of one."""
    match config.times:
        case TimeDistribution.uniform:
            drawn = rng.random(num_frames)
        case TimeDistribution.logit_normal:
            drawn = expit(rng.standard_normal(num_frames))
    times = shift_time(torch.from_numpy(drawn), shift=config.shift(latent_size))
    return times.numpy().astype(np.float32)


def shift_time(time: Float[Tensor, " *batch"], *, shift: float) -> Float[Tensor, " *batch"]:
    """Move times toward noise: with tau = 1 - t, tau' = shift tau / (1 + (shift - 1) tau)."""
    tau = 1 - time
    return 1 - shift * tau / (1 + (shift - 1) * tau)


def interpolate(
    noise: Float[Tensor, "*batch channel"],
    latent: Float[Tensor, "*batch channel"],
    time: Float[Tensor, " *batch"],
) -> Float[Tensor, "*batch channel"]:
    """Return z_t = (1 - t) noise + t latent, with one time a token."""
    weight = time[..., None]  # one time for all channels of a token
    return (1 - weight) * noise + weight * latent


def to_velocity(
    predicted_latent: Float[Tensor, "*batch channel"],
    noised: Float[Tensor, "*batch channel"],
    time: Float[Tensor, " *batch"],
) -> Float[Tensor, "*batch channel"]:
    """Return v = (x - z_t) / (1 - t): exact below t = 1, finite (but undefined) there."""
    return (predicted_latent - noised) / (1 - time).clamp_min(SMALLEST_REMAINING)[..., None]


def to_latent(
    predicted_velocity: Float[Tensor, "*batch channel"],
    noised: Float[Tensor, "*batch channel"],
    time: Float[Tensor, " *batch"],
) -> Float[Tensor, "*batch channel"]:
    """Return x = z_t + (1 - t) v: exact at all times, z_t itself at t = 1."""
    return noised + (1 - time)[..., None] * predicted_velocity


def predicted_latent(
    output: Float[Tensor, "*batch channel"],
    noised: Float[Tensor, "*batch channel"],
    time: Float[Tensor, " *batch"],
    *,
    prediction: Prediction,
) -> Float[Tensor, "*batch channel"]:
    """Read the network's output as clean latents."""
    match prediction:
        case Prediction.latent:
            return output
        case Prediction.velocity:
            return to_latent(output, noised, time)


def flow_error(
    output: Float[Tensor, "token channel"],
    noise: Float[Tensor, "token channel"],
    latent: Float[Tensor, "token channel"],
    time: Float[Tensor, " token"],
    config: FlowConfig,
) -> Float[Tensor, " token"]:
    """Return each token's squared error, averaged over channels, in the configured space.

    Both spaces know the same error, v - v* = (x - x*) / (1 - t), so it is taken of what the network predicts
    and brought to the space of the loss. Nothing is divided unless an x-prediction is judged as a velocity;
    there 1 - t is kept above `MIN_REMAINING`.
    """
    match config.prediction:
        case Prediction.latent:
            error = output - latent
        case Prediction.velocity:
            error = output - (latent - noise)
    match config.prediction, config.loss_space:
        case Prediction.latent, Prediction.velocity:
            scale = (1 - time).clamp_min(MIN_REMAINING) ** -2
        case Prediction.velocity, Prediction.latent:
            scale = (1 - time).square()
        case _:
            scale = torch.ones_like(time)
    return error.square().mean(dim=-1) * scale


class Sampler(Enum):
    """How the flow is followed from noise to data."""

    euler = "euler"  # one evaluation a step; the error falls as 1 / steps
    heun = "heun"  # two, but one in the last step; the error falls as 1 / steps^2


PredictLatents = Callable[[Tensor, float], Tensor]
"""From noised latents and their time to clean latents."""


def sample_times(num_steps: int, *, shift: float = 1.0) -> list[float]:
    """Return the times between which a sampler steps, 0 and 1 included: even, then shifted toward noise.

    ValueError unless there is a step and `shift` is at least 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if not shift >= 1:
        raise ValueError(f"the shift of sampling must be at least 1 (never toward clean), got {shift}")
    if shift == 1:
        return torch.linspace(0, 1, num_steps + 1).tolist()
    return shift_time(torch.linspace(0, 1, num_steps + 1, dtype=torch.float64), shift=shift).tolist()


def sample(
    predict: PredictLatents,
    noise: Float[Tensor, "*batch channel"],
    *,
    times: Sequence[float],
    sampler: Sampler,
) -> Float[Tensor, "*batch channel"]:
    """Follow the flow from `noise`, at the first of `times`, through all of them."""
    noised = noise
    for time, next_time in pairwise(times):
        noised = sampler_step(predict, noised, time=time, next_time=next_time, sampler=sampler)
    return noised


def sampler_step(
    predict: PredictLatents,
    noised: Float[Tensor, "*batch channel"],
    *,
    time: float,
    next_time: float,
    sampler: Sampler,
) -> Float[Tensor, "*batch channel"]:
    """Go from `time` to `next_time` along the velocity that `predict` implies.

    Heun's step follows the mean of the velocities at both of its ends. The step that ends at 1, where a
    velocity is undefined, is Euler's, as in EDM (arXiv 2206.00364, algorithm 1).
    """
    latent = predict(noised, time)
    reached = euler_step(noised, latent, time=time, next_time=next_time)
    if sampler is Sampler.euler or next_time == 1:
        return reached
    first = (latent - noised) / (1 - time)
    second = (predict(reached, next_time) - reached) / (1 - next_time)
    return noised + (next_time - time) * (first + second) / 2


def euler_step(
    noised: Float[Tensor, "*batch channel"],
    latent: Float[Tensor, "*batch channel"],
    *,
    time: float,
    next_time: float,
) -> Float[Tensor, "*batch channel"]:
    """Go from `time` to `next_time` along the velocity that `latent` implies.

    A single step from 0 to 1 returns `latent` itself: the conditional mean, the cheap draft. Since
    next_time - time is at most 1 - time, the division is safe up to the end.
    """
    if next_time == 1:
        return latent
    return noised + (next_time - time) * (latent - noised) / (1 - time)


def guide(
    conditional: Float[Tensor, "*batch channel"],
    unconditional: Float[Tensor, "*batch channel"],
    *,
    scale: float,
) -> Float[Tensor, "*batch channel"]:
    """Return unconditional + scale (conditional - unconditional) (arXiv 2207.12598); 1 guides nowhere.

    The same as conditional + (scale - 1) (conditional - unconditional), and the same in latents as in
    velocities, since z_t + (1 - t) v is affine in v. arXiv 2603.03276 samples with scale 3.
    """
    return unconditional + scale * (conditional - unconditional)
