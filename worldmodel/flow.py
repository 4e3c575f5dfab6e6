"""Flow matching: the straight path, the two predictions, the time distribution and the sampler's step.

The path of Lipman et al. (arXiv 2210.02747) with linear coefficients: z_t = (1 - t) noise + t latent,
t = 0 is noise and t = 1 is data, velocity v = latent - noise. Nothing here draws noise.
"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.special import expit
from torch import Tensor

MIN_REMAINING = 0.05
"""Smallest 1 - t that a division uses; JiT (arXiv 2511.13720) clamps at the same value."""


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
    """Share of documents whose context frames are all clean, which is what planning sees."""

    def __post_init__(self) -> None:
        if self.time_shift is not None and self.time_shift < 1:
            raise ValueError(
                f"time_shift must be at least 1 (never toward clean), got {self.time_shift}; "
                "leave it out to compute it from the latent size"
            )
        if not 0.5 <= self.clean_context_share <= 1:
            raise ValueError(f"clean_context_share must lie in [0.5, 1], got {self.clean_context_share}")

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
    """Return v = (x - z_t) / (1 - t), with 1 - t kept above `MIN_REMAINING`."""
    return (predicted_latent - noised) / (1 - time).clamp_min(MIN_REMAINING)[..., None]


def to_latent(
    predicted_velocity: Float[Tensor, "*batch channel"],
    noised: Float[Tensor, "*batch channel"],
    time: Float[Tensor, " *batch"],
) -> Float[Tensor, "*batch channel"]:
    """Return x = z_t + (1 - t) v."""
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
    noised: Float[Tensor, "token channel"],
    latent: Float[Tensor, "token channel"],
    time: Float[Tensor, " token"],
    config: FlowConfig,
) -> Float[Tensor, " token"]:
    """Return each token's squared error, averaged over channels, in the configured space.

    In velocity space the error of an x-prediction is divided by (1 - t)^2: v - v* = (x - x*) / (1 - t).
    """
    error = predicted_latent(output, noised, time, prediction=config.prediction) - latent
    match config.loss_space:
        case Prediction.latent:
            scale = torch.ones_like(time)
        case Prediction.velocity:
            scale = (1 - time).clamp_min(MIN_REMAINING) ** -2
    return error.square().mean(dim=-1) * scale


def euler_step(
    noised: Float[Tensor, "*batch channel"],
    latent: Float[Tensor, "*batch channel"],
    *,
    time: float,
    next_time: float,
) -> Float[Tensor, "*batch channel"]:
    """Go from `time` to `next_time` along the velocity that `latent` implies.

    A single step from 0 to 1 returns `latent` itself: the conditional mean, the cheap draft.
    """
    if next_time == 1:
        return latent
    return noised + (next_time - time) * (latent - noised) / max(1 - time, MIN_REMAINING)
