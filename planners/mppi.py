"""Model-predictive path integral control: a plan is the mean of candidates, weighed by what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Prior
from planners.drawing import Gaussian, admit, noise_like, prior_gaussian
from planners.plan import (
    Evaluate,
    Iteration,
    Objective,
    Plan,
    Pool,
    answer_plan,
    check_search,
    evaluated,
    objective_of,
    refined,
)

MAX_HALVINGS = 40
"""Of the range of log temperatures, which spans 20 powers of ten: far below what changes a weight."""
LOG_RANGE = 23.0


@dataclass(frozen=True, kw_only=True)
class MppiConfig:
    """Budget, and how sharply candidates are weighed."""

    num_candidates: int = 64
    num_iterations: int = 3
    temperature: float = 0.1
    """lambda, in units of J: a candidate that is worse by it weighs 1 / e."""
    num_effective: float | None = 8.0
    """Set the temperature of each problem and iteration so that the weights count as those of this many
    candidates, 1 / sum w^2; None takes `temperature`. A fixed one is right for one scale of costs only, and
    costs draw closer together as a search goes on."""
    spread: float = 1.0
    """Of the first candidates, in units of the prior's own."""
    spread_decay: float = 0.6
    """The spread of each iteration in units of the one before: the paper's is 1, which leaves the answer as
    wide as one iteration can average."""
    prior_weight: float = 0.0
    """How much a standard deviation away from the prior costs, as `CemConfig` has it."""
    standardise: bool = True
    """Measure costs in standard deviations of the problem's first candidates before the prior is added."""
    refine_top: int = 0
    """Candidates of lowest J that are evaluated again by a finer evaluation, if the planner is given one; the
    answer is then their weighted mean."""

    def __post_init__(self) -> None:
        """Refuse what weighs nothing."""
        if min(self.num_candidates, self.num_iterations) < 1:
            raise ValueError(
                "num_candidates and num_iterations must be at least 1; got "
                f"{self.num_candidates} and {self.num_iterations}"
            )
        if min(self.temperature, self.spread, self.spread_decay) <= 0:
            raise ValueError(
                "temperature, spread and spread_decay must be positive; got "
                f"{self.temperature}, {self.spread} and {self.spread_decay}"
            )
        if self.num_effective is not None and not 1 <= self.num_effective <= self.num_candidates:
            raise ValueError(
                f"num_effective must lie in [1, num_candidates = {self.num_candidates}]; "
                f"got {self.num_effective}"
            )
        check_search(prior_weight=self.prior_weight, num_elites=1, refine_top=self.refine_top)
        if self.num_effective is not None and 0 < self.refine_top <= self.num_effective:
            raise ValueError(
                f"refine_top must be 0 or above num_effective = {self.num_effective}, got {self.refine_top}: "
                "else all that are refined weigh the same, whatever the finer costs are"
            )


class Mppi:
    """Weighted means: the plan moves to where cheap candidates are, all of which count.

    An iteration draws candidates with the prior's covariance around the plan so far, and the next plan is

        sum_i w_i p_i,   w_i = exp(-(J(p_i) - min J) / lambda) / sum_j exp(-(J(p_j) - min J) / lambda)

    with J as in `planners.cem.Cem`. A warm start is the first plan. The first candidate is the plan itself.
    The last plan is evaluated once more, and its cost is that.

    Source: Williams et al. 2017, "Information theoretic MPC for model-based reinforcement learning", (25) and
    Algorithm 1. There the prior enters by the cross term u^T S^-1 e of its quadratic form alone, as the draws
    are around u already; here by all of it, as in the other searches.
    """

    def __init__(self, config: MppiConfig) -> None:
        self.config = config

    def plan(
        self,
        evaluate: Evaluate,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem parameter"] | None = None,
        refine: Evaluate | None = None,
    ) -> Plan:
        """Search one plan for each generator, as `planners.plan.Planner` says."""
        config = self.config
        gaussian = prior_gaussian(prior, num_problems=len(generators), spread=config.spread)
        if warm_start is not None:
            gaussian = Gaussian(warm_start.to(prior.mean), gaussian.spread)
        iterations: list[Iteration] = []
        pool: Pool | None = None
        objective: Objective | None = None
        for _ in range(config.num_iterations):
            noise = noise_like(prior, generators, config.num_candidates)
            noise[:, 0] = 0.0  # the plan so far
            parameters = admit(gaussian.around(noise), gaussian, prior, generators=generators)
            candidates, costs = evaluated(parameters, evaluate, prior)
            objective = objective or objective_of(
                costs, prior, prior_weight=config.prior_weight, standardise=config.standardise
            )
            iterations.append(
                Iteration(
                    candidates=candidates,
                    parameters=parameters,
                    costs=costs,
                    mean=gaussian.mean,
                    std=gaussian.spread.norm(dim=2),
                )
            )
            drawn = Pool(parameters, costs, objective(parameters, costs))
            pool = drawn if pool is None else pool.joined(drawn)
            pool = pool.best(max(1, config.refine_top))
            gaussian = Gaussian(self._mean(drawn), config.spread_decay * gaussian.spread)
        assert pool is not None and objective is not None
        mean = gaussian.mean
        if refine is not None and config.refine_top:
            pool, evaluate = refined(pool, refine, objective), refine
            mean = self._mean(pool)
        return answer_plan(pool.best(1), mean, evaluate, prior, tuple(iterations))

    def _mean(self, pool: Pool) -> Float[Tensor, "problem parameter"]:
        config = self.config
        weights = weigh(pool.objectives, temperature=config.temperature, num_effective=config.num_effective)
        return einsum(weights, pool.parameters, "problem sample, problem sample i -> problem i")


def weigh(
    objectives: Float[Tensor, "problem sample"], *, temperature: float, num_effective: float | None = None
) -> Float[Tensor, "problem sample"]:
    """Return the weights exp(-J / temperature), which sum to 1.

    Args:
        objectives: J of each candidate.
        temperature: What J is measured in.
        num_effective: Take the temperature at which 1 / sum w^2 is this instead, problem by problem; the
            coldest or hottest of the range where none does (equal candidates).

    Returns:
        Weights, the largest of the candidate of lowest J.
    """
    worse = objectives - objectives.amin(dim=1, keepdim=True)
    if num_effective is None:
        return torch.softmax(-worse / temperature, dim=1)
    worse = worse / worse.mean(dim=1, keepdim=True).clamp_min(torch.finfo(worse.dtype).tiny)
    low, high = torch.full_like(worse[:, :1], -LOG_RANGE), torch.full_like(worse[:, :1], LOG_RANGE)
    for _ in range(MAX_HALVINGS):  # the effective number grows with the temperature
        middle = (low + high) / 2
        weights = torch.softmax(-worse * (-middle).exp(), dim=1)
        is_cold = 1 / weights.square().sum(dim=1, keepdim=True) < num_effective
        low, high = torch.where(is_cold, middle, low), torch.where(is_cold, high, middle)
    return torch.softmax(-worse * (-high).exp(), dim=1)
