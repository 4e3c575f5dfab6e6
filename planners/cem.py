"""Cross-entropy method: draw candidates, keep the best, draw around them, batched over problems."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Prior
from planners.drawing import Gaussian, admit, noise_like, prior_gaussian
from planners.plan import (
    Answer,
    Evaluate,
    Iteration,
    Objective,
    Plan,
    Pool,
    answer_plan,
    evaluated,
    objective_of,
    refined,
)


@dataclass(frozen=True, kw_only=True)
class CemConfig:
    """Budget and shape of the search.

    It takes `num_candidates * num_iterations` evaluations, `refine_top` finer ones, and one of the mean.
    """

    num_candidates: int = 64
    num_elites: int = 8
    num_iterations: int = 3
    std_floor: float = 0.05
    """Spread that is always left, in units of the prior's own: variances get `std_floor^2` of the prior's."""
    prior_weight: float = 0.0
    """How much a standard deviation away from the prior costs; 0 trusts the model entirely."""
    standardise: bool = True
    """Measure costs in standard deviations of the problem's first candidates before the prior is added."""
    answer: Answer = Answer.elite_mean
    refine_top: int = 0
    """Candidates of the whole search, those of lowest J, that are evaluated again by a finer evaluation, if
    the planner is given one; the elites of the answer are chosen among them."""
    warm_share: float = 0.5
    """Share of the first candidates that is drawn around the warm start, if there is one."""
    warm_spread: float = 0.5
    """Their spread, in units of the prior's."""

    def __post_init__(self) -> None:
        """Refuse budgets that cannot work."""
        if not 1 <= self.num_elites <= self.num_candidates:
            raise ValueError(
                f"need 1 <= num_elites <= num_candidates; got {self.num_elites} and {self.num_candidates}"
            )
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations must be at least 1; got {self.num_iterations}")
        if not (min(self.std_floor, self.warm_spread) > 0 and self.prior_weight >= 0):
            raise ValueError(
                "std_floor and warm_spread must be positive (a covariance without spread cannot be drawn "
                f"from) and prior_weight not negative; got {self.std_floor}, {self.warm_spread} and "
                f"{self.prior_weight}"
            )
        if not 0 <= self.warm_share <= 1:
            raise ValueError(f"warm_share must lie in [0, 1]; got {self.warm_share}")
        if self.refine_top and self.refine_top < self.num_elites:
            raise ValueError(
                f"refine_top must be 0 or at least num_elites ({self.num_elites}): the elites of the answer "
                f"come from there; got {self.refine_top}"
            )


class Cem:
    """Cross-entropy method over the parameters of candidates.

    An iteration draws candidates from a Gaussian, evaluates them, and fits the next Gaussian to the elites:
    the best `num_elites` among them *and the elites so far*, so nothing good is lost. Elites are chosen by

        J(p) = (C(p) - mu) / sigma + prior_weight * (p - m)^T S^-1 (p - m) / 2

    with C the cost, mu and sigma its mean and standard deviation over the first candidates of the same
    problem (0 and 1 if not `standardise`: costs of different models have different scales, and the weight
    should mean the same for all), m and S the prior's mean and covariance: the maximum a posteriori
    candidate, of exp(-C) as likelihood. A large weight answers the prior's mean.

    The first candidate of an iteration is the mean it is drawn around (the prior's mean, then the elites').
    Candidates beyond a bound are cut to it, number by number, and made to obey the prior's constraints
    (`planners.drawing.admit`), before they are evaluated. The spread never falls below `std_floor` of the
    prior's, so a single elite is a valid choice.

    A plan is a pure function of evaluate, prior, generators and warm start; each problem draws its own
    noise, so its row does not depend on the other problems of its batch.

    Source: Rubinstein 1999; NWM (arXiv 2412.03572) plans so with one iteration and no prior term.
    """

    def __init__(self, config: CemConfig) -> None:
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
        """Search one plan for each generator.

        Args:
            evaluate: The cost of candidates; called `num_iterations` times, once more for the elites' mean.
            prior: What candidates are drawn from first.
            generators: One random stream a problem; consumed.
            warm_start: Parameters of an earlier plan, around which some first candidates are drawn.
            refine: A finer and slower evaluation for the `refine_top` best; None leaves their costs.

        Returns:
            The plans, with all candidates that were considered.
        """
        config = self.config
        gaussian = prior_gaussian(prior, num_problems=len(generators))
        covariance = repeat(prior.covariance, "row column -> problem row column", problem=len(generators))
        iterations: list[Iteration] = []
        pool: Pool | None = None
        objective: Objective | None = None
        for _ in range(config.num_iterations):
            noise = noise_like(prior, generators, config.num_candidates)
            noise[:, 0] = 0.0  # the mean itself
            parameters = gaussian.around(noise)
            if warm_start is not None and not iterations:
                parameters = self._mix_in(warm_start, parameters, noise, prior)
            parameters = admit(parameters, gaussian, prior, generators=generators)
            candidates, costs = evaluated(parameters, evaluate, prior)
            objective = objective or objective_of(
                costs, prior, prior_weight=config.prior_weight, standardise=config.standardise
            )
            std = covariance.diagonal(dim1=1, dim2=2).sqrt()
            iterations.append(
                Iteration(
                    candidates=candidates, parameters=parameters, costs=costs, mean=gaussian.mean, std=std
                )
            )
            drawn = Pool(parameters, costs, objective(parameters, costs))
            pool = drawn if pool is None else pool.joined(drawn)
            pool = pool.best(max(config.num_elites, config.refine_top))
            mean, covariance = self._refit(pool.first(config.num_elites), prior)
            gaussian = Gaussian(mean, torch.linalg.cholesky(covariance))
        assert pool is not None and objective is not None
        if refine is not None and config.refine_top:
            pool, evaluate = refined(pool, refine, objective), refine
        elites = pool.best(config.num_elites)
        mean = elites.parameters.mean(dim=1) if config.answer is Answer.elite_mean else None
        return answer_plan(elites, mean, evaluate, prior, tuple(iterations))

    def _mix_in(
        self, warm_start: Tensor, parameters: Tensor, noise: Tensor, prior: Prior
    ) -> Float[Tensor, "problem sample parameter"]:
        """Replace the last candidates by ones around the warm start, the very last by the warm start."""
        num_warm = round(self.config.warm_share * self.config.num_candidates)
        if num_warm == 0:
            return parameters
        noise = noise[:, -num_warm:].clone()
        noise[:, -1] = 0.0
        spread = torch.linalg.cholesky(self.config.warm_spread**2 * prior.covariance)
        spreads = repeat(spread, "row column -> problem row column", problem=len(parameters))
        warm = Gaussian(warm_start.to(parameters), spreads).around(noise)
        return torch.cat([parameters[:, :-num_warm], warm], dim=1)

    def _refit(
        self, elites: Pool, prior: Prior
    ) -> tuple[Float[Tensor, "problem parameter"], Float[Tensor, "problem parameter parameter"]]:
        mean = elites.parameters.mean(dim=1)
        off = elites.parameters - rearrange(mean, "problem parameter -> problem 1 parameter")
        # Divided by the number of elites, not one less: one elite has no spread of its own, not NaN.
        covariance = einsum(off, off, "problem elite i, problem elite j -> problem i j") / off.shape[1]
        return mean, covariance + self.config.std_floor**2 * prior.covariance
