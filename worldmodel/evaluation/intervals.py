"""Intervals: how sure a ratio of sums is, by a bootstrap that resamples whole groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its 95% interval; no bounds where there is a single group, which says nothing of others."""

    value: float
    low: float | None
    high: float | None
    num_groups: int

    def scaled(self, factor: float) -> "Interval":
        """Return the interval in another unit; `factor` is positive."""
        low, high = (None if bound is None else factor * bound for bound in (self.low, self.high))
        return Interval(value=factor * self.value, low=low, high=high, num_groups=self.num_groups)


def ratio_interval(
    sums: Float[np.ndarray, " item"],
    weights: Float[np.ndarray, " item"],
    groups: Sequence[str],
    *,
    rng: np.random.Generator,
) -> Interval:
    """Return sum(sums) / sum(weights) with a percentile bootstrap over groups.

    Args:
        sums: What each item adds above the line: nats of a document, say.
        weights: What it adds below: tokens of that document.
        groups: What each item belongs to; a drawn group brings all its items, as they resemble one another.
        rng: Random stream; consumed.

    Returns:
        The ratio and its interval.
    """
    if not (len(sums) == len(weights) == len(groups) and len(groups)):
        raise ValueError(
            f"needed as many weights and groups as items, at least one; got {len(sums)} items, "
            f"{len(weights)} weights and {len(groups)} groups"
        )
    if not (np.isfinite(sums).all() and weights.sum() > 0):
        raise ValueError("needed finite sums, and weights that are not all 0")
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    above = np.bincount(index, weights=sums, minlength=len(names))
    below = np.bincount(index, weights=weights, minlength=len(names))
    value = float(above.sum() / below.sum())
    if len(names) == 1:
        return Interval(value=value, low=None, high=None, num_groups=1)
    ratios = np.empty(NUM_RESAMPLES)
    for sample in range(NUM_RESAMPLES):  # one at a time: all at once is a matrix of 2000 by a million
        drawn = rng.integers(len(names), size=len(names))
        ratios[sample] = above[drawn].sum() / max(below[drawn].sum(), 1e-12)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=value, low=float(low), high=float(high), num_groups=len(names))


def mean_interval(
    values: Float[np.ndarray, " item"], groups: Sequence[str], *, rng: np.random.Generator
) -> Interval:
    """Return a mean over items with a bootstrap over groups; of differences it is the paired interval."""
    return ratio_interval(values, np.ones(len(values)), groups, rng=rng)
