"""Gradient refinement: a search's best candidates, improved by the gradient of the cost in imagination."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Parameterisation, Prior, interpolation
from planners.drawing import obeys
from planners.evaluate import LatentGoal, Mode, action_texts, whole_jumps
from planners.plan import Evaluate, Iteration, Plan, Pool, answer_plan, evaluated, objective_of
from planners.protocols import DifferentiableModel

CostGradient = Callable[[Float[Tensor, "problem sample step 4"]], Float[Tensor, "problem sample step 3"]]
"""From candidates, as their text says them, to d cost / d (dx, dy, dyaw) of each step."""


@dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """Budget and step of the refinement.

    It takes `num_starts + 1` evaluations before the first update, and after each one as many, and gradients.
    """

    num_starts: int = 4
    """Candidates of lowest cost of the search that are improved beside its answer."""
    num_updates: int = 8
    step_size: float = 0.1
    """Length of Adam's first step for each number, in units of the prior's deviation of that number."""
    betas: tuple[float, float] = (0.8, 0.95)
    """How long Adam remembers gradients and their squares; shorter than in training, for a few updates."""
    prior_weight: float = 0.0
    """How much a standard deviation away from the prior costs, as `CemConfig` has it."""

    def __post_init__(self) -> None:
        if min(self.num_starts, self.num_updates) < 1 or not self.step_size > 0 or self.prior_weight < 0:
            raise ValueError(
                "num_starts and num_updates must be at least 1, step_size positive and prior_weight not "
                f"negative; got {self.num_starts}, {self.num_updates}, {self.step_size} and "
                f"{self.prior_weight}"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1); got {self.betas}")


def refine_by_gradient(
    plan: Plan, evaluate: Evaluate, gradient: CostGradient, prior: Prior, config: GradientConfig
) -> Plan:
    """Follow the gradient from a plan and the best candidates of its search; answer the best evaluated.

    Each update writes the candidates as text, takes the gradient there (the digits are those of the rounded
    numbers, the gradient that of the values beside them), and moves the numbers that are not rounded by Adam
    (arXiv 1412.6980), inside the bounds. All are evaluated by the planner's own cost, those that break a
    constraint are never chosen, and the answer is the one of lowest

        J(p) = (C(p) - mu) / sigma + prior_weight (p - m)^T S^-1 (p - m) / 2,

    mu and sigma those of the search's first candidates: never worse than the plan, as `evaluate` sees it.

    Args:
        plan: What a search answered.
        evaluate: The cost that decides.
        gradient: Of that cost, or of the part of it that can be differentiated.
        prior: That of the search.
        config: How many updates, and how far.

    Returns:
        The plan, with the search's iterations and one for the starts and for each update.
    """
    objective = objective_of(
        plan.iterations[0].costs, prior, prior_weight=config.prior_weight, standardise=True
    )
    deviation = prior.covariance.diagonal().sqrt()
    answered = rearrange(plan.parameters, "problem parameter -> problem 1 parameter")
    parameters = torch.cat([answered, plan.cheapest(config.num_starts)], dim=1)
    adam = _Adam(config, parameters)
    pool: Pool | None = None
    iterations = list(plan.iterations)
    for update in range(config.num_updates + 1):
        candidates, costs = evaluated(parameters, evaluate, prior)
        iterations.append(Iteration.given(candidates, parameters, costs))
        objectives = torch.where(obeys(parameters, prior), objective(parameters, costs), torch.inf)
        found = Pool(parameters, costs, objectives)
        # The best so far stands first: of equals the earlier is answered, so the plan if none is better.
        pool = (found if pool is None else pool.joined(found)).best(1)
        if update < config.num_updates:
            by_steps = gradient(candidates)
            by_parameters = chained(by_steps, parameters, prior)
            slope = objective.gradient(by_parameters, parameters)
            parameters = prior.bounds.clamp(parameters + deviation * adam.step(slope * deviation))
    assert pool is not None
    return answer_plan(pool, None, evaluate, prior, tuple(iterations))


def model_gradient(
    model: DifferentiableModel,
    context: Any,
    goal: LatentGoal,
    *,
    step_s: float,
    mode: Mode,
    num_steps: int,
    generator: torch.Generator,
) -> CostGradient:
    """Return the gradient of the distance of imagined latents from the goal's.

    The likelihood of a text (`ImaginationConfig.inverse_weight`) is no function of numbers and has no part
    in it; times are fixed by the environment, so the gradient by dt is dropped.

    Args:
        model: What imagines, differentiably.
        context: What `encode_context` made of the problems' context frames.
        goal: Compares the last latents with the goals.
        step_s: True time of one step [s].
        mode: How candidates are imagined.
        num_steps: Steps of the flow sampler, as in the planner's own cost.
        generator: Random stream of the noise; not consumed, so that every call imagines from the same.

    Returns:
        The function from candidates to gradients.
    """
    state = generator.get_state()

    def gradient(
        candidates: Float[Tensor, "problem sample step 4"],
    ) -> Float[Tensor, "problem sample step 3"]:
        noise = torch.Generator(generator.device)
        noise.set_state(state)
        actions = candidates if mode is Mode.steps else whole_jumps(candidates, step_s=step_s)
        _, found = model.cost_gradients(
            context, action_texts(actions), goal, num_steps=num_steps, generator=noise
        )
        moved = found[..., :3].to(candidates)
        return moved if mode is Mode.steps else _through_jump(moved[:, :, 0], candidates[..., :3])

    return gradient


def chained(
    by_steps: Float[Tensor, "problem sample step 3"],
    parameters: Float[Tensor, "problem sample parameter"],
    prior: Prior,
) -> Float[Tensor, "problem sample parameter"]:
    """Return the gradient by a candidate's parameters, given that by its steps; the rounding counts as none.

    Steps are linear in the parameters in every parameterisation, so this is the transposed map.
    """
    match prior.parameterisation:
        case Parameterisation.steps:
            by_points = by_steps
        case Parameterisation.arc:
            by_points = by_steps.sum(dim=2, keepdim=True)
        case Parameterisation.line:
            by_points = by_steps.sum(dim=2, keepdim=True)
            by_points[..., 2] = by_steps[:, :, -1:, 2]  # the whole turn is in the last step
        case Parameterisation.points:
            weights = torch.from_numpy(interpolation(prior.horizon, prior.num_points)).to(by_steps)
            by_points = einsum(
                weights, by_steps, "step point, problem sample step number -> problem sample point number"
            )
    gradient = rearrange(by_points, "problem sample point number -> problem sample (point number)")
    assert gradient.shape == parameters.shape
    return gradient


def _through_jump(
    by_jump: Float[Tensor, "problem sample 3"], steps: Float[Tensor, "problem sample step 3"]
) -> Float[Tensor, "problem sample step 3"]:
    """Return the gradient by each step, given that by the one action that all steps together make."""
    with torch.enable_grad():
        moved = steps.clone().requires_grad_()
        before_rad = moved[..., 2].cumsum(dim=-1) - moved[..., 2]
        cosine, sine = before_rad.cos(), before_rad.sin()
        x = (cosine * moved[..., 0] - sine * moved[..., 1]).sum(dim=-1)
        y = (sine * moved[..., 0] + cosine * moved[..., 1]).sum(dim=-1)
        jump = torch.stack([x, y, moved[..., 2].sum(dim=-1)], dim=-1)
        (gradient,) = torch.autograd.grad(jump, moved, grad_outputs=by_jump)
    return gradient


class _Adam:
    """Adam's moments of standardised numbers, each candidate by itself; steps have the configured size."""

    def __init__(self, config: GradientConfig, parameters: Tensor) -> None:
        self._config = config
        self._first, self._second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self._num_steps = 0

    def step(self, gradient: Tensor) -> Tensor:
        """Return where to go, given the gradient here."""
        first, second = self._config.betas
        self._num_steps += 1
        self._first = first * self._first + (1 - first) * gradient
        self._second = second * self._second + (1 - second) * gradient.square()
        mean = self._first / (1 - first**self._num_steps)
        root = (self._second / (1 - second**self._num_steps)).sqrt()
        # A number without any gradient stays; the smallest positive float keeps 0 / 0 away.
        return -self._config.step_size * mean / root.clamp_min(torch.finfo(root.dtype).tiny)
