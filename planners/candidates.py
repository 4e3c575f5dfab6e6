"""Candidates: action sequences written with few numbers, and the prior that they are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from data_tools.action_text import HIGHEST, UNITS_PER_ONE, round_actions
from data_tools.pose import compose, wrap_angle
from planners.constraints import Constraint

# The text's last decimal [m, rad]: a spread below it cannot be written, so the prior is never narrower.
TEXT_RESOLUTION = 1e-3
TEXT_UNITS = 1000.0  # of it in a metre or a radian


class Parameterisation(Enum):
    """How numbers stand for a whole action sequence: always motions (dx, dy, dyaw), three numbers each."""

    arc = "arc"
    """(dx, dy, dyaw) of each step, in the robot frame of that step: a circular arc."""

    line = "line"
    """NWM's: (dx, dy) of each step, straight on, and the whole turn (dyaw) in the last step."""

    points = "points"
    """`num_points` motions of a step, evenly spaced from the first step to the last, linear in between:
    RAE-NWM's curve. One point is an arc, `horizon` points are steps."""

    steps = "steps"
    """One motion a step, each in the robot frame of that step."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Largest motion of one step that the environment takes, either way.

    All parameters are per-step values in every parameterisation, so the same bounds hold for them, motion
    by motion; what lies linearly between two motions inside is inside.
    """

    dx_m: float = 0.6
    dy_m: float = 0.6
    dyaw_rad: float = 1.0

    def clamp(self, parameters: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch parameter"]:
        """Return the parameters, each cut to its bound: the rule for everything drawn beyond one."""
        limit = parameters.new_tensor([self.dx_m, self.dy_m, self.dyaw_rad]).repeat(parameters.shape[-1] // 3)
        return torch.clamp(parameters, -limit, limit)


@dataclass(frozen=True, kw_only=True)
class Odometry:
    """How a candidate's parameters follow from the robot's last step: a regression on training windows.

    Given a step d the Gaussian is `mean + gain (d - step)` with `covariance`.
    """

    mean: Float[Tensor, " parameter"]
    step: Float[Tensor, " 3"]
    gain: Float[Tensor, "parameter 3"]
    covariance: Float[Tensor, "parameter parameter"]


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Gaussian over the parameters of a candidate, fitted on training trajectories only.

    `dt_s` is the true time of one step; `bounds` and `constraints` hold for everything that a search draws
    and answers. `num_points` counts for `Parameterisation.points` alone. The mean is one for all problems, or
    one for each (`after`).
    """

    mean: Float[Tensor, "*problem parameter"]
    covariance: Float[Tensor, "parameter parameter"]
    parameterisation: Parameterisation
    horizon: int
    dt_s: float
    bounds: Bounds = Bounds()
    num_points: int = 3
    constraints: tuple[Constraint, ...] = ()
    odometry: Odometry | None = None

    def __post_init__(self) -> None:
        """Refuse a mean of another length than candidates have."""
        needed = num_parameters(self.parameterisation, horizon=self.horizon, num_points=self.num_points)
        if self.num_numbers != needed:
            raise ValueError(
                f"{self.parameterisation.name} over {self.horizon} steps has {needed} parameters; "
                f"the mean has {self.num_numbers}"
            )

    @property
    def num_numbers(self) -> int:
        """Parameters of a candidate."""
        return self.mean.shape[-1]

    def after(self, last_steps: Float64[np.ndarray, "problem 3"]) -> "Prior":
        """Return the prior given each problem's last step [m, m, rad]; itself if it was fitted without."""
        if self.odometry is None:
            return self
        off = torch.from_numpy(last_steps).to(self.mean) - self.odometry.step
        means = self.odometry.mean + off @ self.odometry.gain.T
        return replace(self, mean=means, covariance=self.odometry.covariance, odometry=None)

    def precision(self) -> Float[Tensor, "parameter parameter"]:
        """Return the inverse of the covariance."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.covariance))


def num_parameters(parameterisation: Parameterisation, *, horizon: int, num_points: int) -> int:
    """Return how many numbers a candidate is."""
    match parameterisation:
        case Parameterisation.arc | Parameterisation.line:
            return 3
        case Parameterisation.points:
            if not 1 <= num_points <= horizon:
                raise ValueError(f"need 1 <= num_points <= horizon; got {num_points} and {horizon}")
            return 3 * num_points
        case Parameterisation.steps:
            return 3 * horizon


def fit_prior(
    displacements: Sequence[Float[np.ndarray, "_ 3"]],
    *,
    parameterisation: Parameterisation,
    horizon: int,
    dt_s: float,
    bounds: Bounds | None = None,
    num_points: int = 3,
    with_odometry: bool = False,
) -> Prior:
    """Fit the Gaussian to every window of `horizon` steps of the training trajectories.

    Each window counts once, as planning problems start at any frame. The parameters of an arc or a line are
    those that lead to the pose where the window ends; steps are the window itself; points are nearest to it
    in the least squares of the steps' displacements.

    Args:
        displacements: One array of per-step displacements [m, m, rad] a training trajectory.
        parameterisation: What the parameters mean.
        horizon: Steps in a candidate.
        dt_s: Time of one step [s].
        bounds: Largest motion of one step; the environment's by default.
        num_points: Motions of a candidate, for `Parameterisation.points`.
        with_odometry: Also fit how a window follows from the step before it (`Prior.after`).

    Returns:
        The prior, in float64; its spread is at least what the text can tell apart.
    """
    needed = num_parameters(parameterisation, horizon=horizon, num_points=num_points)
    windows = [_windows(steps, horizon) for steps in displacements if len(steps) >= horizon]
    num_windows = sum(len(window) for window in windows)
    if num_windows <= needed:
        raise ValueError(
            f"a prior over {needed} parameters needs at least {needed + 1} windows of {horizon} steps; "
            f"{len(displacements)} trajectories hold {num_windows}. Give more or longer training "
            "trajectories, or a parameterisation of fewer numbers."
        )
    parameters = _parameters_of(np.concatenate(windows), parameterisation, num_points)
    return Prior(
        mean=torch.from_numpy(parameters.mean(axis=0)),
        covariance=torch.from_numpy(np.cov(parameters.T) + TEXT_RESOLUTION**2 * np.eye(needed)),
        parameterisation=parameterisation,
        horizon=horizon,
        dt_s=dt_s,
        bounds=bounds or Bounds(),
        num_points=num_points,
        odometry=_fit_odometry(displacements, parameterisation, horizon, num_points)
        if with_odometry
        else None,
    )


def parameters_to(
    final: Float[np.ndarray, "*batch 3"],
    *,
    parameterisation: Parameterisation,
    horizon: int,
    num_points: int = 3,
) -> Float[np.ndarray, "*batch parameter"]:
    """Return the parameters whose actions lead to a final displacement [m, m, rad].

    Arc: with positions as complex numbers and a turn of psi a step, n equal steps d lead to
    `p = d (1 + e^{i psi} + ... + e^{i (n - 1) psi}) = d e^{i (n - 1) psi / 2} sin(n psi / 2) / sin(psi / 2)`,
    solved for d. The turn is taken the short way, n psi in [-pi, pi), where the ratio of sines never falls
    below 2 n / pi, so the division is always well conditioned (a full circle would end where it began).
    Of all points and steps that lead there, the arc's are returned.
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
        case Parameterisation.points | Parameterisation.steps:
            arc = parameters_to(final, parameterisation=Parameterisation.arc, horizon=horizon)
            count = num_parameters(parameterisation, horizon=horizon, num_points=num_points) // 3
            return np.tile(arc, count)


def steady(motion: Sequence[float], prior: Prior) -> Float[Tensor, " parameter"]:
    """Return the parameters of one motion (dx, dy, dyaw) [m, m, rad] at all times."""
    return prior.mean.new_tensor(motion).repeat(prior.num_numbers // 3)


def shifted(
    parameters: Float[Tensor, "*batch parameter"], prior: Prior, *, num_steps: int
) -> Float[Tensor, "*batch parameter"]:
    """Return what is left of plans after their first steps, the last motion held: a warm start.

    An arc or a line goes on as it began. Points are nearest to what is left in the least squares.
    """
    motions = rearrange(parameters, "... (point number) -> ... point number", number=3)
    left = torch.arange(num_steps, num_steps + prior.horizon).clamp(max=prior.horizon - 1)
    match prior.parameterisation:
        case Parameterisation.arc | Parameterisation.line:
            return parameters
        case Parameterisation.steps:
            moved = motions[..., left, :]
        case Parameterisation.points:
            weights = torch.from_numpy(interpolation(prior.horizon, prior.num_points))
            shift = (torch.linalg.pinv(weights) @ weights[left]).to(motions)
            moved = einsum(shift, motions, "new point, ... point number -> ... new number")
    return rearrange(moved, "... point number -> ... (point number)")


def to_actions(parameters: Float[Tensor, "*batch parameter"], prior: Prior) -> Float[Tensor, "*batch step 4"]:
    """Write candidates out as actions (dx, dy, dyaw, dt) [m, m, rad, s], rounded through the text.

    What is imagined, driven and scored is therefore exactly what the text says. Nothing is clamped here.
    """
    motions = rearrange(parameters, "... (point number) -> ... point number", number=3)
    if prior.parameterisation is Parameterisation.points:
        weights = torch.from_numpy(interpolation(prior.horizon, prior.num_points)).to(motions)
        motions = einsum(weights, motions, "step point, ... point number -> ... step number")
    # An arc's one motion is rounded before it is repeated: a rounding a step would say the same, slower.
    steps = motions.new_empty((*motions.shape[:-1], 4))
    steps[..., :3] = _as_text(motions)
    steps[..., 3] = np.rint(prior.dt_s * UNITS_PER_ONE[3]) / UNITS_PER_ONE[3]
    if prior.parameterisation in (Parameterisation.arc, Parameterisation.line):
        steps = steps.repeat(*[1] * (steps.ndim - 2), prior.horizon, 1)
    if prior.parameterisation is Parameterisation.line:
        steps[..., :-1, 2] = 0.0
    return steps


def _as_text(motions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Return what `round_actions` makes of motions, in their own precision and on their device.

    That function takes five times as long, which a search without a model feels. In float32 a number half
    way between two texts may go to the other one.
    """
    rounded = (motions * TEXT_UNITS).round_().div_(TEXT_UNITS).add_(0.0)
    # Nearly all motions are below the turn's limit; what is not, and what is no number, is looked at.
    if not rounded.abs().amax() <= HIGHEST[2]:
        round_actions(torch.cat([rounded, torch.zeros_like(rounded[..., :1])], dim=-1).numpy(force=True))
    return rounded


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


def interpolation(horizon: int, num_points: int) -> Float64[np.ndarray, "step point"]:
    """Return what each point weighs in each step."""
    position = np.linspace(0, num_points - 1, horizon) if horizon > 1 else np.zeros(1)
    return np.clip(1 - np.abs(position[:, None] - np.arange(num_points)), 0, 1)


def _parameters_of(
    windows: Float[np.ndarray, "window step 3"], parameterisation: Parameterisation, num_points: int
) -> Float[np.ndarray, "window parameter"]:
    horizon = windows.shape[1]
    match parameterisation:
        case Parameterisation.arc | Parameterisation.line:
            return parameters_to(compose(windows), parameterisation=parameterisation, horizon=horizon)
        case Parameterisation.points:
            points = np.linalg.pinv(interpolation(horizon, num_points)) @ windows
            return rearrange(points, "window point number -> window (point number)")
        case Parameterisation.steps:
            return rearrange(windows, "window step number -> window (step number)")


def _fit_odometry(
    displacements: Sequence[Float[np.ndarray, "_ 3"]],
    parameterisation: Parameterisation,
    horizon: int,
    num_points: int,
) -> Odometry:
    """Regress the parameters of windows on the step before each, by least squares."""
    long_enough = [steps for steps in displacements if len(steps) > horizon]
    windows = [_windows(steps[1:], horizon) for steps in long_enough]
    if not windows:
        raise ValueError(
            f"odometry needs a step before a window of {horizon}; no trajectory has as many steps"
        )
    before = np.concatenate([steps[: len(own)] for steps, own in zip(long_enough, windows, strict=True)])
    parameters = _parameters_of(np.concatenate(windows), parameterisation, num_points)
    step, mean = before.mean(axis=0), parameters.mean(axis=0)
    gain, *_ = np.linalg.lstsq(before - step, parameters - mean, rcond=None)
    left = parameters - mean - (before - step) @ gain
    floor = TEXT_RESOLUTION**2 * np.eye(parameters.shape[1])
    return Odometry(
        mean=torch.from_numpy(mean),
        step=torch.from_numpy(step),
        gain=torch.from_numpy(gain.T.copy()),
        covariance=torch.from_numpy(left.T @ left / len(left) + floor),
    )


def _windows(steps: Float[np.ndarray, "_ 3"], horizon: int) -> Float[np.ndarray, "window step 3"]:
    windows = np.lib.stride_tricks.sliding_window_view(steps, horizon, axis=0)  # window 3 step
    return np.ascontiguousarray(windows.transpose(0, 2, 1), dtype=np.float64)
