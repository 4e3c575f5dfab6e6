"""Cross-entropy method: draw candidates, keep the best, draw around them, batched over problems."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Prior, draw_noise, to_actions

Evaluate = Callable[[Float[Tensor, "problem sample step 4"]], Float[Tensor, "problem sample"]]
"""Any function from candidates to costs, lower is better; equal candidates must cost the same."""


class Answer(Enum):
    """Which candidate a plan is."""

    elite_mean = "elite_mean"
    """Mean of the last elites, evaluated once more: errors of a weak model average out."""

    best = "best"
    """The candidate of lowest J ever seen: right when costs can be trusted."""


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


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """What one iteration drew and what it cost; `mean` and `std` are those it was drawn with."""

    candidates: Float[Tensor, "problem sample step 4"]
    parameters: Float[Tensor, "problem sample 3"]
    costs: Float[Tensor, "problem sample"]
    mean: Float[Tensor, "problem 3"]
    std: Float[Tensor, "problem 3"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer to each problem, its cost (without the prior's share), and how it was found."""

    actions: Float[Tensor, "problem step 4"]
    parameters: Float[Tensor, "problem 3"]
    cost: Float[Tensor, " problem"]
    iterations: tuple[Iteration, ...]


@dataclass(frozen=True)
class _Pool:
    """Candidates with what they cost and what they are chosen by."""

    parameters: Float[Tensor, "problem sample 3"]
    costs: Float[Tensor, "problem sample"]
    objectives: Float[Tensor, "problem sample"]

    def best(self, count: int) -> "_Pool":
        """Return the `count` candidates of lowest objective, best first."""
        order = self.objectives.argsort(dim=1, stable=True)[:, :count]
        parameters = self.parameters.gather(1, repeat(order, "problem sample -> problem sample 3"))
        return _Pool(parameters, self.costs.gather(1, order), self.objectives.gather(1, order))

    def joined(self, other: "_Pool") -> "_Pool":
        """Return both sets of candidates as one."""
        return _Pool(
            torch.cat([self.parameters, other.parameters], dim=1),
            torch.cat([self.costs, other.costs], dim=1),
            torch.cat([self.objectives, other.objectives], dim=1),
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
    Candidates beyond a bound are cut to it, number by number, before they are evaluated. The spread never
    falls below `std_floor` of the prior's, so a single elite is a valid choice.

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
        warm_start: Float[Tensor, "problem 3"] | None = None,
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
        mean = repeat(prior.mean, "parameter -> problem parameter", problem=len(generators))
        covariance = repeat(prior.covariance, "row column -> problem row column", problem=len(generators))
        iterations: list[Iteration] = []
        pool: _Pool | None = None
        scale: tuple[Tensor, Tensor] | None = None
        for _ in range(config.num_iterations):
            noise = draw_noise(generators, config.num_candidates)
            noise[:, 0] = 0.0  # the mean itself
            parameters = _around(mean, covariance, noise)
            if warm_start is not None and not iterations:
                parameters = self._mix_in(warm_start, parameters, noise, prior)
            parameters = prior.bounds.clamp(parameters)
            candidates = to_actions(parameters, prior)
            costs = checked(evaluate(candidates), candidates)
            scale = scale or _scale(costs, standardise=config.standardise)
            drawn = _Pool(parameters, costs, self._objective(parameters, costs, scale, prior))
            std = covariance.diagonal(dim1=1, dim2=2).sqrt()
            iterations.append(
                Iteration(candidates=candidates, parameters=parameters, costs=costs, mean=mean, std=std)
            )
            pool = drawn if pool is None else pool.joined(drawn)
            pool = pool.best(max(config.num_elites, config.refine_top))
            mean, covariance = self._refit(pool.best(config.num_elites), prior)
        assert pool is not None and scale is not None
        if refine is not None and config.refine_top:
            candidates = to_actions(pool.parameters, prior)
            costs = checked(refine(candidates), candidates)
            pool = _Pool(pool.parameters, costs, self._objective(pool.parameters, costs, scale, prior))
            evaluate = refine
        return self._answer(pool.best(config.num_elites), prior, evaluate, tuple(iterations))

    def _mix_in(
        self, warm_start: Tensor, parameters: Tensor, noise: Tensor, prior: Prior
    ) -> Float[Tensor, "problem sample 3"]:
        """Replace the last candidates by ones around the warm start, the very last by the warm start."""
        num_warm = round(self.config.warm_share * self.config.num_candidates)
        if num_warm == 0:
            return parameters
        noise = noise[:, -num_warm:].clone()
        noise[:, -1] = 0.0
        covariance = self.config.warm_spread**2 * prior.covariance
        warm = _around(warm_start.to(parameters), covariance.expand(len(parameters), 3, 3), noise)
        return torch.cat([parameters[:, :-num_warm], warm], dim=1)

    def _objective(
        self, parameters: Tensor, costs: Tensor, scale: tuple[Tensor, Tensor], prior: Prior
    ) -> Float[Tensor, "problem sample"]:
        middle, spread = scale
        off = parameters - prior.mean
        distance = einsum(
            off, prior.precision(), off, "problem sample i, i j, problem sample j -> problem sample"
        )
        return (costs - middle) / spread + self.config.prior_weight * distance / 2

    def _refit(
        self, elites: _Pool, prior: Prior
    ) -> tuple[Float[Tensor, "problem 3"], Float[Tensor, "problem 3 3"]]:
        mean = elites.parameters.mean(dim=1)
        off = elites.parameters - rearrange(mean, "problem parameter -> problem 1 parameter")
        # Divided by the number of elites, not one less: one elite has no spread of its own, not NaN.
        covariance = einsum(off, off, "problem elite i, problem elite j -> problem i j") / off.shape[1]
        return mean, covariance + self.config.std_floor**2 * prior.covariance

    def _answer(
        self, elites: _Pool, prior: Prior, evaluate: Evaluate, iterations: tuple[Iteration, ...]
    ) -> Plan:
        match self.config.answer:
            case Answer.best:
                parameters, cost = elites.parameters[:, 0], elites.costs[:, 0]
                actions = to_actions(parameters, prior)
            case Answer.elite_mean:
                parameters = elites.parameters.mean(dim=1)
                actions = to_actions(parameters, prior)
                candidates = rearrange(actions, "problem step action -> problem 1 step action")
                cost = checked(evaluate(candidates), candidates)[:, 0]
        return Plan(actions=actions, parameters=parameters, cost=cost, iterations=iterations)


def checked(
    costs: Tensor, candidates: Float[Tensor, "problem sample step 4"]
) -> Float[Tensor, "problem sample"]:
    """Return the costs in the candidates' dtype and on their device, or refuse what cannot be ranked."""
    if costs.shape != candidates.shape[:2]:
        raise ValueError(
            f"evaluate must return one cost a candidate, shape {tuple(candidates.shape[:2])}; "
            f"it returned {tuple(costs.shape)}"
        )
    num_bad = int((~costs.isfinite()).sum())
    if num_bad:
        raise ValueError(
            f"evaluate must return finite costs; {num_bad} of {costs.numel()} are not. "
            "Check the model's outputs for these candidates."
        )
    return costs.to(candidates)


def _around(
    mean: Float[Tensor, "problem 3"],
    covariance: Float[Tensor, "problem 3 3"],
    noise: Float[Tensor, "problem sample 3"],
) -> Float[Tensor, "problem sample 3"]:
    spread = torch.linalg.cholesky(covariance)
    offset = einsum(spread, noise, "problem row column, problem sample column -> problem sample row")
    return rearrange(mean, "problem parameter -> problem 1 parameter") + offset


def _scale(costs: Tensor, *, standardise: bool) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of each problem's costs, or 0 and 1."""
    if not standardise:
        return torch.zeros_like(costs[:, :1]), torch.ones_like(costs[:, :1])
    # Equal costs (a blind problem) say nothing: any positive spread then leaves the choice to the prior.
    spread = costs.std(dim=1, correction=0, keepdim=True).clamp_min(torch.finfo(costs.dtype).tiny)
    return costs.mean(dim=1, keepdim=True), spread
