"""Improved cross-entropy method: coloured noise, elites that are kept, a population that decays."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from planners.candidates import Prior
from planners.drawing import Gaussian, admit, noise_factor, noise_like
from planners.plan import (
    Answer,
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


@dataclass(frozen=True, kw_only=True)
class IcemConfig:
    """Budget and shape of the search; the defaults below the budget are the paper's."""

    num_candidates: int = 64
    """Candidates of the first iteration; later ones have fewer."""
    num_elites: int = 8
    num_iterations: int = 3
    population_decay: float = 1.25
    """gamma: iteration i has num_candidates / gamma^i candidates, and never fewer than two an elite."""
    noise_exponent: float | None = None
    """beta: the power of the noise along the horizon falls as 1 / f^beta; 0 is white, the paper's is 0.25 to
    4, by task (an arc and a line have no horizon: theirs is white). None: the noise has the correlations of
    the prior, which training windows tell; for goals drawn from such a prior the plans of steps cost a third
    of those with an exponent of 2."""
    kept_share: float = 0.3
    """xi: share of the elites that compete again in the next iteration."""
    momentum: float = 0.1
    """alpha: what is left of the mean and the spread in the next iteration."""
    initial_spread: float = 1.0
    """First spread, in units of the prior's own."""
    std_floor: float = 0.05
    """Spread that is always left, in units of the prior's own."""
    prior_weight: float = 0.0
    """How much a standard deviation away from the prior costs, as `CemConfig` has it."""
    standardise: bool = True
    """Measure costs in standard deviations of the problem's first candidates before the prior is added."""
    answer: Answer = Answer.best
    refine_top: int = 0
    """Candidates of lowest J that are evaluated again by a finer evaluation, if the planner is given one."""

    def __post_init__(self) -> None:
        """Refuse budgets that cannot work."""
        if not 1 <= self.num_elites or not 2 * self.num_elites <= self.num_candidates:
            raise ValueError(
                "need 1 <= num_elites and 2 num_elites <= num_candidates; got "
                f"{self.num_elites} and {self.num_candidates}"
            )
        if self.num_iterations < 1 or self.population_decay < 1:
            raise ValueError(
                "num_iterations and population_decay must be at least 1; got "
                f"{self.num_iterations} and {self.population_decay}"
            )
        if not (0 <= self.kept_share <= 1 and 0 <= self.momentum < 1):
            raise ValueError(
                f"need 0 <= kept_share <= 1 and 0 <= momentum < 1; got {self.kept_share} and {self.momentum}"
            )
        if min(self.std_floor, self.initial_spread) <= 0 or (self.noise_exponent or 0) < 0:
            raise ValueError(
                "std_floor and initial_spread must be positive and noise_exponent not negative; got "
                f"{self.std_floor}, {self.initial_spread} and {self.noise_exponent}"
            )
        check_search(prior_weight=self.prior_weight, num_elites=self.num_elites, refine_top=self.refine_top)

    @property
    def populations(self) -> list[int]:
        """Candidates of each iteration."""
        smallest = 2 * self.num_elites
        decayed = [
            int(self.num_candidates / self.population_decay**index) for index in range(self.num_iterations)
        ]
        return [max(smallest, each) for each in decayed]


class Icem:
    """Cross-entropy method with the improvements that make it sample-efficient.

    Against `planners.cem.Cem`: noise is coloured along the horizon, so that candidates do not tremble; the
    spread is one a number, without correlations, and changes with momentum; the population decays; of the
    elites only a share competes again; the mean itself is a candidate in the last iteration. A warm start may
    be one plan a problem, which is then the first mean, or several (an earlier plan's `cheapest`, shifted),
    which are then candidates of the first iteration around whose mean the others are drawn. J, the bounds and
    the constraints are those of `Cem`. Kept elites are not evaluated again: equal candidates cost the same.

    Source: Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning"
    (arXiv 2008.06389), Algorithm 1. Here the first spread is the prior's, and `std_floor` is new.
    """

    def __init__(self, config: IcemConfig) -> None:
        self.config = config

    def plan(
        self,
        evaluate: Evaluate,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem *elite parameter"] | None = None,
        refine: Evaluate | None = None,
    ) -> Plan:
        """Search one plan for each generator, as `planners.plan.Planner` says."""
        config = self.config
        elites_before = _elites(warm_start, prior)
        prior_std = prior.covariance.diagonal().sqrt().expand(len(generators), -1)
        std = config.initial_spread * prior_std
        mean = prior.mean.expand(len(generators), -1) if elites_before is None else elites_before.mean(dim=1)
        factor = noise_factor(prior, exponent=config.noise_exponent)
        iterations: list[Iteration] = []
        kept: Pool | None = None
        answers: Pool | None = None
        objective: Objective | None = None
        for index, population in enumerate(config.populations):
            gaussian = Gaussian(mean, einsum(std, factor, "problem row, row column -> problem row column"))
            noise = noise_like(prior, generators, population)
            if index in (0, config.num_iterations - 1):
                noise[:, 0] = 0.0  # the mean itself
            parameters = gaussian.around(noise)
            if elites_before is not None and index == 0:
                count = min(elites_before.shape[1], population - 1)
                parameters[:, population - count :] = elites_before[:, :count]
            parameters = admit(parameters, gaussian, prior, generators=generators)
            candidates, costs = evaluated(parameters, evaluate, prior)
            objective = objective or objective_of(
                costs, prior, prior_weight=config.prior_weight, standardise=config.standardise
            )
            iterations.append(
                Iteration(candidates=candidates, parameters=parameters, costs=costs, mean=mean, std=std)
            )
            drawn = Pool(parameters, costs, objective(parameters, costs))
            elites = (drawn if kept is None else drawn.joined(kept)).best(config.num_elites)
            num_kept = int(config.kept_share * config.num_elites)
            kept = elites.first(num_kept) if num_kept else None
            answers = drawn if answers is None else answers.joined(drawn)
            answers = answers.best(max(config.num_elites, config.refine_top))
            mean, std = self._moved(mean, std, elites, prior_std)
        assert answers is not None and objective is not None
        if refine is not None and config.refine_top:
            answers, evaluate = refined(answers, refine, objective), refine
        answers = answers.best(config.num_elites)
        answer = answers.parameters.mean(dim=1) if config.answer is Answer.elite_mean else None
        return answer_plan(answers, answer, evaluate, prior, tuple(iterations))

    def _moved(
        self, mean: Tensor, std: Tensor, elites: Pool, prior_std: Tensor
    ) -> tuple[Float[Tensor, "problem parameter"], Float[Tensor, "problem parameter"]]:
        """Return the next mean and spread: the elites', with what momentum leaves of the last."""
        alpha = self.config.momentum
        new_std, new_mean = torch.std_mean(elites.parameters, dim=1, correction=0)
        spread = alpha * std + (1 - alpha) * new_std
        return alpha * mean + (1 - alpha) * new_mean, spread.maximum(self.config.std_floor * prior_std)


def _elites(warm_start: Tensor | None, prior: Prior) -> Float[Tensor, "problem elite parameter"] | None:
    if warm_start is None:
        return None
    given = warm_start.to(prior.mean)
    return rearrange(given, "problem parameter -> problem 1 parameter") if given.ndim == 2 else given
