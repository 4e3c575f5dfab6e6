"""Search: which planner a configuration names, and that planner."""

from enum import Enum
from typing import Protocol, runtime_checkable

from planners.cem import Cem, CemConfig
from planners.icem import Icem, IcemConfig
from planners.mppi import Mppi, MppiConfig
from planners.plan import Planner
from planners.random_shooting import RandomShooting, RandomShootingConfig


class SearchMethod(Enum):
    """How plans are searched."""

    cem = "cem"
    """Cross-entropy method, with correlations."""
    icem = "icem"
    """Cross-entropy method with coloured noise, kept elites and a decaying population."""
    mppi = "mppi"
    """Weighted means."""
    random_shooting = "random_shooting"
    """The best of one draw."""


@runtime_checkable
class SearchChoice(Protocol):
    """The part of a configuration that chooses a search: the method, and what each method would do."""

    @property
    def method(self) -> SearchMethod:
        """The method that is used."""
        ...

    @property
    def cem(self) -> CemConfig:
        """Budget and shape of `SearchMethod.cem`."""
        ...

    @property
    def icem(self) -> IcemConfig:
        """Budget and shape of `SearchMethod.icem`."""
        ...

    @property
    def mppi(self) -> MppiConfig:
        """Budget and shape of `SearchMethod.mppi`."""
        ...

    @property
    def random_shooting(self) -> RandomShootingConfig:
        """Budget of `SearchMethod.random_shooting`."""
        ...


def chosen_config(choice: SearchChoice) -> CemConfig | IcemConfig | MppiConfig | RandomShootingConfig:
    """Return the configuration of the method that is used."""
    match choice.method:
        case SearchMethod.cem:
            return choice.cem
        case SearchMethod.icem:
            return choice.icem
        case SearchMethod.mppi:
            return choice.mppi
        case SearchMethod.random_shooting:
            return choice.random_shooting


def make_planner(choice: SearchChoice) -> Planner:
    """Return the planner that a configuration names."""
    match chosen_config(choice):
        case CemConfig() as config:
            return Cem(config)
        case IcemConfig() as config:
            return Icem(config)
        case MppiConfig() as config:
            return Mppi(config)
        case RandomShootingConfig() as config:
            return RandomShooting(config)
