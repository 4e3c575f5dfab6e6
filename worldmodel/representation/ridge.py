"""Ridge regression on features that are made batch by batch: all of them at once would not fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RIDGES = (1e-3, 1e-2, 1e-1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Penalties that are tried; features are standardised and errors are means, so 1 halves a lone feature's
weight."""
SMALLEST_DEVIATION = 1e-6
"""Of a target [its own unit]; what is below it is rounding, and a share of it means nothing."""

Batches = Callable[[], Iterator[tuple[Float[Tensor, "sample feature"], Float[Tensor, "sample output"]]]]
"""Yields features and targets from the beginning, each time that it is called."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How well outputs are read: for each its coefficient of determination and root mean square error."""

    r2: list[float]
    rmse: list[float]
    mean_r2: float
    ridge: float


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A regression: standardises features, multiplies, adds the mean target."""

    mean: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]
    weight: Float[Tensor, "feature output"]
    offset: Float[Tensor, " output"]

    def __call__(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample output"]:
        """Return the outputs that are read from features."""
        return (features - self.mean) / self.scale @ self.weight + self.offset


def fit_and_score(train: Batches, validation: Batches, test: Batches) -> Reading:
    """Fit one map a penalty on `train`, choose on `validation` (other recordings), and score on `test`.

    ValueError if one of them is empty or has a target that never changes, of which nothing can be read.
    """
    maps = fit(train)
    errors = [_errors(each, validation) for each in maps]
    best = min(range(len(maps)), key=lambda index: float((errors[index][0] / errors[index][1]).sum()))
    squares, variances = _errors(maps[best], test)
    r2 = 1 - squares / variances
    return Reading(r2=r2.tolist(), rmse=squares.sqrt().tolist(), mean_r2=float(r2.mean()), ridge=RIDGES[best])


def fit(train: Batches) -> list[LinearMap]:
    """Return a regression for every penalty in RIDGES, from one pass over the data."""
    count, sums, products = 0, torch.zeros(()), torch.zeros(())
    num_features = 0
    for features, targets in train():
        num_features = features.shape[1]
        both = torch.cat([features, targets], dim=1)
        count += len(both)
        # float64 for the sums over batches: the means are subtracted from them below.
        sums = sums + both.sum(dim=0, dtype=torch.float64)
        products = products + (both.T @ both).double()
    if count == 0:
        raise ValueError("needed samples to fit a regression on, got none; give more recordings")
    mean = sums / count
    covariance = products / count - mean[:, None] * mean[None, :]
    scale = covariance.diagonal()[:num_features].clamp(min=1e-12).sqrt()
    correlation = (covariance[:num_features, :num_features] / scale[:, None] / scale[None, :]).float()
    moment = (covariance[:num_features, num_features:] / scale[:, None]).float()
    identity = torch.eye(num_features)
    return [
        LinearMap(
            mean=mean[:num_features].float(),
            scale=scale.float(),
            weight=torch.linalg.solve(correlation + ridge * identity, moment),
            offset=mean[num_features:].float(),
        )
        for ridge in RIDGES
    ]


def _errors(read: LinearMap, batches: Batches) -> tuple[Float[Tensor, " output"], Float[Tensor, " output"]]:
    made, wanted = [], []
    for features, targets in batches():
        made.append(read(features))
        wanted.append(targets)
    if not any(map(len, wanted)):
        raise ValueError("needed samples to measure errors on, got none; give more recordings")
    truth = torch.cat(wanted)
    variance = truth.var(dim=0, correction=0)
    if (variance < SMALLEST_DEVIATION**2).any():
        raise ValueError(
            f"needed targets with a deviation of at least {SMALLEST_DEVIATION}, got "
            f"{variance.sqrt().tolist()}; of one that never changes nothing can be read: give recordings in "
            "which it does"
        )
    return (torch.cat(made) - truth).square().mean(dim=0), variance
