"""Baselines: plans that look at nothing, which every planner must beat."""

from collections.abc import Sequence

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Prior, steady, to_actions
from planners.drawing import draw_parameters


def stand_still(prior: Prior, *, num_problems: int) -> Float[Tensor, "problem step 4"]:
    """Plan no motion at all."""
    return _same(torch.zeros_like(prior.mean), prior, num_problems)


def prior_mean(prior: Prior, *, num_problems: int) -> Float[Tensor, "problem step 4"]:
    """Plan the mean of the training windows: the best constant answer, and where CEM starts."""
    return _same(prior.bounds.clamp(prior.mean), prior, num_problems)


def straight_ahead(prior: Prior, *, step_m: float, num_problems: int) -> Float[Tensor, "problem step 4"]:
    """Plan straight on at one speed; `step_m` is the mean step length of the training trajectories."""
    return _same(prior.bounds.clamp(steady([step_m, 0.0, 0.0], prior)), prior, num_problems)


def random_candidate(
    prior: Prior, *, generators: Sequence[torch.Generator]
) -> Float[Tensor, "problem step 4"]:
    """Plan one draw of the prior, each problem by its own generator (consumed)."""
    return to_actions(draw_parameters(prior, generators, 1)[:, 0], prior)


def _same(
    parameters: Float[Tensor, " parameter"], prior: Prior, num_problems: int
) -> Float[Tensor, "problem step 4"]:
    return to_actions(repeat(parameters, "parameter -> problem parameter", problem=num_problems), prior)
