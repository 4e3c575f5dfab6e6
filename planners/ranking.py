"""Ranking: the best of trajectories that another policy proposed, by any evaluation of candidates."""

from dataclasses import replace

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Parameterisation, Prior
from planners.drawing import obeys
from planners.plan import Evaluate, Iteration, Plan, Pool, answer_plan, evaluated, objective_of


def rank(
    proposals: Float[Tensor, "problem candidate step 3"],
    evaluate: Evaluate,
    prior: Prior,
    *,
    temperature: float = 0.0,
) -> Plan:
    """Answer the best of each problem's proposals, as their action text says them.

    Proposals are taken as they are: the prior's bounds are not asked, since a proposal that was cut would be
    another one. Those that break its constraints are evaluated and never chosen. The plan's parameters are
    the displacements of all steps (`Parameterisation.steps`), whatever the prior's are.

    Args:
        proposals: Displacements of each step in the robot frame of its start [m, m, rad].
        evaluate: The cost of candidates; called once, and once more for a mean.
        prior: Has the time of a step and the constraints; its Gaussian is not used.
        temperature: 0 answers the proposal of lowest cost. Above, the mean of all, each with weight
            exp(-(C - mu) / (sigma temperature)), mu and sigma the mean and spread of its problem's costs.

    Returns:
        The plans, with all proposals as their one iteration.

    Raises:
        ValueError: If the temperature is negative, the proposals have another number of steps than the
            prior, a number cannot be written as text, or no proposal of a problem obeys the constraints.

    Source: NWM (arXiv 2412.03572) ranks 16 or 32 trajectories of NoMaD so, and takes the best.
    """
    _check(proposals, prior, temperature)
    parameters = rearrange(proposals, "problem candidate step number -> problem candidate (step number)")
    written = _written_in_steps(prior, parameters)
    return best_of(parameters, evaluate, written, temperature=temperature)


def best_of(
    parameters: Float[Tensor, "problem candidate parameter"],
    evaluate: Evaluate,
    prior: Prior,
    *,
    temperature: float = 0.0,
) -> Plan:
    """Answer the best of given candidates, or with a temperature their softmin mean, without a search.

    Those that break the prior's constraints are evaluated and never chosen; ValueError if a problem has no
    other. Of equal ones the first is taken.
    """
    candidates, costs = evaluated(parameters, evaluate, prior)
    iteration = Iteration.given(candidates, parameters, costs)
    standard = objective_of(costs, prior, prior_weight=0.0, standardise=True)(parameters, costs)
    is_allowed = obeys(parameters, prior)
    _refuse_hopeless(is_allowed, prior)
    objectives = torch.where(is_allowed, standard, torch.inf)
    mean = None
    if temperature > 0:
        weights = torch.softmax(-objectives / temperature, dim=1)
        mean = einsum(weights, parameters, "problem candidate, problem candidate i -> problem i")
    pool = Pool(parameters, costs, objectives).best(1)
    return answer_plan(pool, mean, evaluate, prior, (iteration,))


def _written_in_steps(prior: Prior, parameters: Float[Tensor, "problem candidate parameter"]) -> Prior:
    """Return a prior whose parameters are steps; its Gaussian says nothing."""
    return replace(
        prior,
        parameterisation=Parameterisation.steps,
        mean=torch.zeros_like(parameters[0, 0]),
        covariance=torch.eye(parameters.shape[2], dtype=parameters.dtype, device=parameters.device),
    )


def _check(proposals: Float[Tensor, "problem candidate step 3"], prior: Prior, temperature: float) -> None:
    if temperature < 0:
        raise ValueError(f"temperature must not be negative; got {temperature}")
    if proposals.shape[2] != prior.horizon or 0 in proposals.shape:
        raise ValueError(
            f"needed at least one proposal of {prior.horizon} steps for each problem, as the prior has; got "
            f"{proposals.shape[1]} of {proposals.shape[2]} steps for {proposals.shape[0]} problems"
        )


def _refuse_hopeless(is_allowed: Tensor, prior: Prior) -> None:
    is_hopeless = ~is_allowed.any(dim=1)
    if is_hopeless.any():
        raise ValueError(
            f"no proposal of {int(is_hopeless.sum())} of {len(is_allowed)} problems obeys "
            f"{'; '.join(str(each) for each in prior.constraints)}; drop a constraint or propose more"
        )
