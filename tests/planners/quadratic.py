"""Quadratic problems of known minimum, for every search and every parameterisation."""

from dataclasses import dataclass, field

import torch

from planners.candidates import Parameterisation, Prior, num_parameters, to_actions
from planners.cem import CemConfig
from planners.icem import IcemConfig
from planners.mppi import MppiConfig
from planners.random_shooting import RandomShootingConfig
from planners.search import SearchMethod

HORIZON = 5
SPREADS = (0.2, 0.1, 0.3)


def make_prior(parameterisation: Parameterisation = Parameterisation.steps, **changes) -> Prior:
    """Return a prior whose motions are correlated along the horizon, as those of robots are."""
    count = num_parameters(parameterisation, horizon=HORIZON, num_points=3) // 3
    order = torch.arange(count, dtype=torch.float64)
    along = 0.5 ** (order[:, None] - order[None, :]).abs()
    each = torch.diag(torch.tensor(SPREADS, dtype=torch.float64) ** 2)
    return Prior(
        mean=torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64).repeat(count),
        covariance=torch.kron(along, each),
        parameterisation=parameterisation,
        horizon=HORIZON,
        dt_s=0.25,
        **changes,
    )


def make_targets(prior: Prior, num_problems: int) -> torch.Tensor:
    """Return parameters to be found, one draw of the prior a problem, inside its bounds."""
    generator = torch.Generator().manual_seed(11)
    noise = torch.randn(num_problems, len(prior.mean), generator=generator, dtype=torch.float64)
    return prior.bounds.clamp(prior.mean + noise @ torch.linalg.cholesky(prior.covariance).T)


def quadratic(targets: torch.Tensor, prior: Prior, *, scale: float = 1.0, offset: float = 0.0):
    """Return the squared distance from the targets' actions, all steps."""
    goals = to_actions(targets, prior)[:, None]  # problem 1 step action

    def evaluate(candidates):
        return scale * (candidates - goals).square().sum(dim=(-1, -2)) + offset

    return evaluate


def generators(*seeds: int) -> list[torch.Generator]:
    """Return a random stream a problem."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The choice of a search, at equal budgets."""

    method: SearchMethod
    cem: CemConfig = field(default_factory=lambda: CemConfig(num_candidates=48, num_elites=6))
    icem: IcemConfig = field(default_factory=lambda: IcemConfig(num_candidates=48, num_elites=6))
    mppi: MppiConfig = field(default_factory=lambda: MppiConfig(num_candidates=48))
    random_shooting: RandomShootingConfig = field(
        default_factory=lambda: RandomShootingConfig(num_candidates=144)
    )
