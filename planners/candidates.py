"""Candidates: action sequences written with few numbers, and the prior that they are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from data_tools.action_text import round_actions
from data_tools.pose import compose, wrap_angle

# The text's last decimal [m, rad]: a spread below it cannot be written, so the prior is never narrower.
TEXT_RESOLUTION = 1e-3


class Parameterisation(Enum):
    """How three numbers stand for a whole action sequence."""

    arc = "arc"
    """(dx, dy, dyaw) of each step, in the robot frame of that step: a circular arc."""

    line = "line"
    """NWM's: (dx, dy) of each step, straight on, and the whole turn (dyaw) in the last step."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Largest motion of one step that the environment takes, either way.

    All three parameters are per-step values in both parameterisations, so the same bounds hold for them.
    """

    dx_m: float = 0.6
    dy_m: float = 0.6
    dyaw_rad: float = 1.0

    def clamp(self, parameters: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Return the parameters, each cut to its bound: the rule for everything drawn beyond one."""
        limit = parameters.new_tensor([self.dx_m, self.dy_m, self.dyaw_rad])
        return torch.minimum(torch.maximum(parameters, -limit), limit)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Gaussian over the parameters of a candidate, fitted on training trajectories only.

    `dt_s` is the true time of one step; `bounds` hold for everything drawn.
    """

    mean: Float[Tensor, " parameter"]
    covariance: Float[Tensor, "parameter parameter"]
    parameterisation: Parameterisation
    horizon: int
    dt_s: float
    bounds: Bounds = Bounds()

    def precision(self) -> Float[Tensor, "parameter parameter"]:
        """Return the inverse of the covariance."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.covariance))


def fit_prior(
    displacements: Sequence[Float[np.ndarray, "_ 3"]],
    *,
    parameterisation: Parameterisation,
    horizon: int,
    dt_s: float,
    bounds: Bounds | None = None,
) -> Prior:
    """Fit the Gaussian to every window of `horizon` steps of the training trajectories.

    Each window counts once, as planning problems start at any frame. Its parameters are those that lead to
    the pose where the window ends.

    Args:
        displacements: One array of per-step displacements [m, m, rad] a training trajectory.
        parameterisation: What the parameters mean.
        horizon: Steps in a candidate.
        dt_s: Time of one step [s].
        bounds: Largest motion of one step; the environment's by default.

    Returns:
        The prior, in float64; its spread is at least what the text can tell apart.
    """
    windows = [_windows(steps, horizon) for steps in displacements if len(steps) >= horizon]
    num_windows = sum(len(window) for window in windows)
    if num_windows < 4:
        raise ValueError(
            f"a prior over 3 parameters needs at least 4 windows of {horizon} steps; {len(displacements)} "
            f"trajectories hold {num_windows}. Give more or longer training trajectories."
        )
    final = compose(np.concatenate(windows))
    parameters = parameters_to(final, parameterisation=parameterisation, horizon=horizon)
    return Prior(
        mean=torch.from_numpy(parameters.mean(axis=0)),
        covariance=torch.from_numpy(np.cov(parameters.T) + TEXT_RESOLUTION**2 * np.eye(3)),
        parameterisation=parameterisation,
        horizon=horizon,
        dt_s=dt_s,
        bounds=bounds or Bounds(),
    )


def parameters_to(
    final: Float[np.ndarray, "*batch 3"], *, parameterisation: Parameterisation, horizon: int
) -> Float[np.ndarray, "*batch 3"]:
    """Return the parameters whose actions lead to a final displacement [m, m, rad].

    Arc: with positions as complex numbers and a turn of psi a step, n equal steps d lead to
    `p = d (1 + e^{i psi} + ... + e^{i (n - 1) psi}) = d e^{i (n - 1) psi / 2} sin(n psi / 2) / sin(psi / 2)`,
    solved for d. The turn is taken the short way, n psi in [-pi, pi), where the ratio of sines never falls
    below 2 n / pi, so the division is always well conditioned (a full circle would end where it began).
    """
    match parameterisation:
        case Parameterisation.line:
            return np.concatenate([final[..., :2] / horizon, final[..., 2:]], axis=-1)
        case Parameterisation.arc:
            step_rad = wrap_angle(final[..., 2]) / horizon
            is_straight = np.abs(step_rad) < 1e-9
            half_rad = np.where(is_straight, 1.0, step_rad / 2)
            ratio = np.where(is_straight, horizon, np.sin(horizon * half_rad) / np.sin(half_rad))
            step = (final[..., 0] + 1j * final[..., 1]) * np.exp(-1j * (horizon - 1) * step_rad / 2) / ratio
            return np.stack([step.real, step.imag, step_rad], axis=-1)


def to_actions(parameters: Float[Tensor, "*batch 3"], prior: Prior) -> Float[Tensor, "*batch step 4"]:
    """Write candidates out as actions (dx, dy, dyaw, dt) [m, m, rad, s], rounded through the text.

    What is imagined, driven and scored is therefore exactly what the text says. Nothing is clamped here.
    """
    step = torch.cat([parameters, torch.full_like(parameters[..., :1], prior.dt_s)], dim=-1)
    steps = step[..., None, :].repeat(*[1] * (step.ndim - 1), prior.horizon, 1)
    if prior.parameterisation is Parameterisation.line:
        steps[..., :-1, 2] = 0.0
    return torch.from_numpy(round_actions(steps.numpy(force=True))).to(parameters)


def to_jumps(actions: Float[Tensor, "*batch step 4"], *, dt_s: float) -> Float[Tensor, "*batch 4"]:
    """Return the one action that equals each sequence: its steps composed, `dt` the whole time.

    `dt_s` is the true time of a step: eight steps of 9/35 s are a jump of 2.06 s, though each is
    written 0.26 s.
    """
    steps = actions.numpy(force=True).astype(np.float64)
    whole_s = np.full((*steps.shape[:-2], 1), dt_s * steps.shape[-2])
    jump = round_actions(np.concatenate([compose(steps[..., :3]), whole_s], axis=-1))
    return torch.from_numpy(jump).to(actions)


def to_moves(actions: Float[Tensor, "step 4"]) -> list[Float32[np.ndarray, " 4"]]:
    """Return (dx, dy, dyaw, 0) of each action: what an environment takes, whose steps all last as long."""
    moves = actions.numpy(force=True).astype(np.float32)
    moves[:, 3] = 0.0
    return list(moves)


def draw_noise(
    generators: Sequence[torch.Generator], num_samples: int
) -> Float[Tensor, "problem {num_samples} 3"]:
    """Draw standard noise, each problem from its own generator.

    A problem's noise thus depends on its own seed only, never on which problems share its batch.
    """
    drawn = [torch.randn(num_samples, 3, generator=each, dtype=torch.float64) for each in generators]
    return torch.stack(drawn)


def _windows(steps: Float[np.ndarray, "_ 3"], horizon: int) -> Float[np.ndarray, "window step 3"]:
    windows = np.lib.stride_tricks.sliding_window_view(steps, horizon, axis=0)  # window 3 step
    return np.ascontiguousarray(windows.transpose(0, 2, 1), dtype=np.float64)
