"""Plan: what every search returns, how candidates are ranked, and the contract of planners."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from planners.candidates import Prior, to_actions
from planners.drawing import obeys

Evaluate = Callable[[Float[Tensor, "problem sample step 4"]], Float[Tensor, "problem sample"]]
"""Any function from candidates to costs, lower is better; equal candidates must cost the same."""


class Answer(Enum):
    """Which candidate a plan is."""

    elite_mean = "elite_mean"
    """Mean of the last elites, evaluated once more: errors of a weak model average out."""

    best = "best"
    """The candidate of lowest J ever seen: right when costs can be trusted."""


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """What one iteration drew and what it cost; `mean` and `std` are those it was drawn with."""

    candidates: Float[Tensor, "problem sample step 4"]
    parameters: Float[Tensor, "problem sample parameter"]
    costs: Float[Tensor, "problem sample"]
    mean: Float[Tensor, "problem parameter"]
    std: Float[Tensor, "problem parameter"]

    @classmethod
    def given(
        cls,
        candidates: Float[Tensor, "problem sample step 4"],
        parameters: Float[Tensor, "problem sample parameter"],
        costs: Float[Tensor, "problem sample"],
    ) -> "Iteration":
        """Return an iteration whose candidates were not drawn from a Gaussian: mean and std are their own."""
        mean, std = parameters.mean(dim=1), parameters.std(dim=1, correction=0)
        return cls(candidates=candidates, parameters=parameters, costs=costs, mean=mean, std=std)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer to each problem, its cost (without the prior's share), and how it was found."""

    actions: Float[Tensor, "problem step 4"]
    parameters: Float[Tensor, "problem parameter"]
    cost: Float[Tensor, " problem"]
    iterations: tuple[Iteration, ...]

    def cheapest(self, count: int) -> Float[Tensor, "problem {count} parameter"]:
        """Return the candidates of lowest cost of the whole search, best first: elites for a warm start."""
        costs = torch.cat([each.costs for each in self.iterations], dim=1)
        parameters = torch.cat([each.parameters for each in self.iterations], dim=1)
        return Pool(parameters, costs, costs).best(count).parameters


@runtime_checkable
class Planner(Protocol):
    """A search: a pure function of evaluate, prior, generators and warm start.

    What a problem is answered does not depend on the problems beside it.
    """

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
            evaluate: The cost of candidates.
            prior: What candidates are drawn from first; its bounds and constraints hold for all.
            generators: One random stream a problem; consumed.
            warm_start: Parameters of an earlier plan.
            refine: A finer and slower evaluation for the best, if the planner is configured to use it.

        Returns:
            The plans, with all candidates that were considered.
        """
        ...


@runtime_checkable
class Refining(Protocol):
    """The part of every search's configuration that tells how its answer was evaluated."""

    @property
    def refine_top(self) -> int:
        """Candidates that are evaluated again by the finer evaluation; 0 is none."""
        ...


@dataclass(frozen=True)
class Pool:
    """Candidates with what they cost and what they are chosen by."""

    parameters: Float[Tensor, "problem sample parameter"]
    costs: Float[Tensor, "problem sample"]
    objectives: Float[Tensor, "problem sample"]

    def best(self, count: int) -> "Pool":
        """Return the `count` candidates of lowest objective, best first."""
        order = _lowest(self.objectives, count)
        index = repeat(
            order, "problem sample -> problem sample parameter", parameter=self.parameters.shape[2]
        )
        parameters = self.parameters.gather(1, index)
        return Pool(parameters, self.costs.gather(1, order), self.objectives.gather(1, order))

    def first(self, count: int) -> "Pool":
        """Return the first `count` candidates: the best, if they are in order."""
        return Pool(self.parameters[:, :count], self.costs[:, :count], self.objectives[:, :count])

    def joined(self, other: "Pool") -> "Pool":
        """Return both sets of candidates as one."""
        return Pool(
            torch.cat([self.parameters, other.parameters], dim=1),
            torch.cat([self.costs, other.costs], dim=1),
            torch.cat([self.objectives, other.objectives], dim=1),
        )


def _lowest(objectives: Float[Tensor, "problem sample"], count: int) -> Int[Tensor, "problem chosen"]:
    """Return the indices of the lowest, best first, of equals the earlier: the head of a stable sort.

    A selection takes a tenth of the time of a sort. It finds the same unless the last that is chosen ties
    with the first that is not, as candidates that read the same do; only those problems are sorted.
    """
    if count >= objectives.shape[1]:
        return objectives.argsort(dim=1, stable=True)
    values, chosen = objectives.topk(count + 1, dim=1, largest=False)
    earliest = chosen[:, :count].sort(dim=1).values
    order = objectives.gather(1, earliest).argsort(dim=1, stable=True)
    lowest = earliest.gather(1, order)
    is_tied = values[:, -1] == values[:, -2]
    if is_tied.any():
        lowest[is_tied] = objectives[is_tied].argsort(dim=1, stable=True)[:, :count]
    return lowest


@dataclass(frozen=True)
class Objective:
    """What candidates are chosen by: `(C - middle) / spread + prior_weight (p - m)^T S^-1 (p - m) / 2`."""

    prior: Prior
    prior_weight: float
    middle: Float[Tensor, "problem 1"]
    spread: Float[Tensor, "problem 1"]

    def __call__(
        self, parameters: Float[Tensor, "problem sample parameter"], costs: Float[Tensor, "problem sample"]
    ) -> Float[Tensor, "problem sample"]:
        """Return J of candidates."""
        standard = (costs - self.middle) / self.spread
        if self.prior_weight == 0:
            return standard
        off = self._off(parameters)
        distance = einsum(
            off, self.prior.precision(), off, "problem sample i, i j, problem sample j -> problem sample"
        )
        return standard + self.prior_weight * distance / 2

    def gradient(
        self,
        by_cost: Float[Tensor, "problem sample parameter"],
        parameters: Float[Tensor, "problem sample parameter"],
    ) -> Float[Tensor, "problem sample parameter"]:
        """Return the gradient of J by the parameters, given that of the costs."""
        standard = by_cost / self.spread[..., None]  # problem 1 1
        if self.prior_weight == 0:
            return standard
        pull = einsum(
            self.prior.precision(), self._off(parameters), "i j, problem sample j -> problem sample i"
        )
        return standard + self.prior_weight * pull

    def _off(self, parameters: Float[Tensor, "problem sample parameter"]) -> Tensor:
        return parameters - self.prior.mean[..., None, :]  # one mean for all problems, or one for each


def objective_of(
    first_costs: Float[Tensor, "problem sample"], prior: Prior, *, prior_weight: float, standardise: bool
) -> Objective:
    """Return the objective that standardises by the costs of each problem's first candidates, if at all."""
    middle, spread = torch.zeros_like(first_costs[:, :1]), torch.ones_like(first_costs[:, :1])
    if standardise:
        middle = first_costs.mean(dim=1, keepdim=True)
        # Equal costs (a blind problem) say nothing of their scale: they count as they are.
        deviation = first_costs.std(dim=1, correction=0, keepdim=True)
        spread = torch.where(deviation > 0, deviation, 1.0)
    return Objective(prior, prior_weight, middle, spread)


def evaluated(
    parameters: Float[Tensor, "problem sample parameter"], evaluate: Evaluate, prior: Prior
) -> tuple[Float[Tensor, "problem sample step 4"], Float[Tensor, "problem sample"]]:
    """Write candidates out as actions, and evaluate them."""
    candidates = to_actions(parameters, prior)
    return candidates, checked(evaluate(candidates), candidates)


def refined(pool: Pool, refine: Evaluate, objective: Objective) -> Pool:
    """Evaluate candidates once more, by a finer evaluation."""
    _, costs = evaluated(pool.parameters, refine, objective.prior)
    return Pool(pool.parameters, costs, objective(pool.parameters, costs))


def answer_plan(
    pool: Pool,
    mean: Float[Tensor, "problem parameter"] | None,
    evaluate: Evaluate,
    prior: Prior,
    iterations: tuple[Iteration, ...],
) -> Plan:
    """Answer the mean, evaluated once more, or the first of the pool where there is no mean.

    A mean of candidates that obey the prior's constraints may not obey them (the ways around an obstacle on
    either side); the first of the pool then takes its place.
    """
    if mean is None:
        parameters, cost = pool.parameters[:, 0], pool.costs[:, 0]
        return Plan(
            actions=to_actions(parameters, prior), parameters=parameters, cost=cost, iterations=iterations
        )
    if prior.constraints:
        is_allowed = rearrange(obeys(mean, prior), "problem -> problem 1")
        mean = torch.where(is_allowed, mean, pool.parameters[:, 0])
    candidates, costs = evaluated(
        rearrange(mean, "problem parameter -> problem 1 parameter"), evaluate, prior
    )
    return Plan(actions=candidates[:, 0], parameters=mean, cost=costs[:, 0], iterations=iterations)


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


def check_search(*, prior_weight: float, num_elites: int, refine_top: int) -> None:
    """Refuse a negative weight, and refinement that leaves too few for the answer."""
    if prior_weight < 0:
        raise ValueError(f"prior_weight must not be negative; got {prior_weight}")
    if refine_top < 0 or 0 < refine_top < num_elites:
        raise ValueError(
            f"refine_top must be 0 or at least num_elites ({num_elites}): the elites of the answer "
            f"come from there; got {refine_top}"
        )
