"""Baselines: plans that look at no frame, which every planner must beat."""

from collections.abc import Sequence

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, Float64
from torch import Tensor

from data_tools.action_text import round_actions
from planners.candidates import Prior, steady, to_actions
from planners.drawing import draw_parameters


def stand_still(prior: Prior, *, num_problems: int) -> Float[Tensor, "problem step 4"]:
    """Plan no motion at all."""
    return _same(prior.mean.new_zeros(prior.num_numbers), prior, num_problems)


def prior_mean(prior: Prior, *, num_problems: int) -> Float[Tensor, "problem step 4"]:
    """Plan the mean of the training windows, or of those after such a last step, if it is given one."""
    return to_actions(prior.bounds.clamp(prior.mean.expand(num_problems, -1)), prior)


def straight_ahead(prior: Prior, *, step_m: float, num_problems: int) -> Float[Tensor, "problem step 4"]:
    """Plan straight on at one speed; `step_m` is the mean step length of the training trajectories."""
    return _same(prior.bounds.clamp(steady([step_m, 0.0, 0.0], prior)), prior, num_problems)


def constant_velocity(
    prior: Prior, last_steps: Float64[np.ndarray, "problem 3"]
) -> Float[Tensor, "problem step 4"]:
    """Plan to go on as the robot last moved, turn included, within the bounds.

    `last_steps` are the displacements [m, m, rad] of each problem's last step before the start, by odometry.
    Every step of the plan is that one, in the robot frame of its own start, whatever the parameterisation.
    """
    motions = prior.bounds.clamp(torch.from_numpy(last_steps).to(prior.mean))
    steps = repeat(motions, "problem motion -> problem step motion", step=prior.horizon)
    actions = torch.cat([steps, torch.full_like(steps[..., :1], prior.dt_s)], dim=-1)
    return torch.from_numpy(round_actions(actions.numpy(force=True))).to(prior.mean)


def random_candidate(
    prior: Prior, *, generators: Sequence[torch.Generator]
) -> Float[Tensor, "problem step 4"]:
    """Plan one draw of the prior, each problem by its own generator (consumed)."""
    return to_actions(draw_parameters(prior, generators, 1)[:, 0], prior)


def _same(
    parameters: Float[Tensor, " parameter"], prior: Prior, num_problems: int
) -> Float[Tensor, "problem step 4"]:
    return to_actions(repeat(parameters, "parameter -> problem parameter", problem=num_problems), prior)
