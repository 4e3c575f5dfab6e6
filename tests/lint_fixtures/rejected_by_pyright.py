"""A forgotten case, a wrong argument, an attribute of None."""

from enum import Enum


class Method(Enum):
    """Two methods."""

    cem = "cem"
    mppi = "mppi"


def samples(method: Method) -> int:
    """Forget a case."""
    match method:
        case Method.cem:
            return 64


def length(name: str | None) -> int:
    """Measure what may be absent."""
    return len(name.strip())


samples("cem")
