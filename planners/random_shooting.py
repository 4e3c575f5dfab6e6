"""Random shooting: draw candidates from the prior once, and take the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Prior
from planners.drawing import admit, noise_like, prior_gaussian
from planners.plan import (
    Evaluate,
    Iteration,
    Plan,
    Pool,
    answer_plan,
    check_search,
    evaluated,
    objective_of,
    refined,
)


@dataclass(frozen=True, kw_only=True)
class RandomShootingConfig:
    """Budget of the search."""

    num_candidates: int = 192
    prior_weight: float = 0.0
    """How much a standard deviation away from the prior costs, as `CemConfig` has it."""
    standardise: bool = True
    """Measure costs in standard deviations of the problem's candidates before the prior is added."""
    refine_top: int = 0
    """Candidates of lowest J that are evaluated again by a finer evaluation, if the planner is given one; the
    answer is the best of them."""

    def __post_init__(self) -> None:
        """Refuse an empty budget."""
        if self.num_candidates < 1:
            raise ValueError(f"num_candidates must be at least 1; got {self.num_candidates}")
        check_search(prior_weight=self.prior_weight, num_elites=1, refine_top=self.refine_top)


class RandomShooting:
    """The best of many: what a search that learns from its own candidates must beat at equal budget.

    The first candidate is the prior's mean, the last the warm start if there is one. J, the bounds and the
    constraints are those of `planners.cem.Cem`.
    """

    def __init__(self, config: RandomShootingConfig) -> None:
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
        gaussian = prior_gaussian(prior, num_problems=len(generators))
        noise = noise_like(prior, generators, config.num_candidates)
        noise[:, 0] = 0.0  # the mean itself
        parameters = gaussian.around(noise)
        if warm_start is not None:
            parameters[:, -1] = warm_start.to(parameters)
        parameters = admit(parameters, gaussian, prior, generators=generators)
        candidates, costs = evaluated(parameters, evaluate, prior)
        objective = objective_of(
            costs, prior, prior_weight=config.prior_weight, standardise=config.standardise
        )
        pool = Pool(parameters, costs, objective(parameters, costs)).best(max(1, config.refine_top))
        if refine is not None and config.refine_top:
            pool = refined(pool, refine, objective).best(1)
        iteration = Iteration(
            candidates=candidates,
            parameters=parameters,
            costs=costs,
            mean=gaussian.mean,
            std=gaussian.spread.norm(dim=2),
        )
        return answer_plan(pool, None, evaluate, prior, (iteration,))
