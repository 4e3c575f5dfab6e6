"""Statistics of features as LeRobot normalises by them: mean, deviation, range, count and five quantiles.

All are exact. LeRobot's own are estimates where many episodes come together: it samples images, and makes the
quantiles of a set from those of its episodes (0.4 their mean, 0.6 the outermost).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Of one feature, in the shapes that LeRobot has: [number], or [channel, 1, 1] of images in [0, 1]."""

    min: np.ndarray
    max: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    """Of the values themselves, not an estimate for others: divided by their count."""
    count: int
    quantiles: dict[str, np.ndarray]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists by LeRobot's names."""
        arrays = {"min": self.min, "max": self.max, "mean": self.mean, "std": self.std, **self.quantiles}
        return {name: array.tolist() for name, array in arrays.items()} | {"count": [self.count]}


def describe_numbers(values: Shaped[np.ndarray, "row number"]) -> FeatureStatistics:
    """Return the statistics of each number over rows; ValueError for none."""
    if len(values) == 0:
        raise ValueError("statistics need at least one row, got none")
    exact = values.astype(np.float64)
    quantiles = np.quantile(exact, list(QUANTILES.values()), axis=0)
    return FeatureStatistics(
        min=values.min(axis=0),
        max=values.max(axis=0),
        mean=exact.mean(axis=0),
        std=exact.std(axis=0),
        count=len(values),
        quantiles=dict(zip(QUANTILES, quantiles, strict=True)),
    )


class PixelCounts:
    """How often each value occurs in each channel: enough for all statistics of any number of images."""

    def __init__(self) -> None:
        self._counts: Int64[np.ndarray, "3 256"] = np.zeros((3, 256), dtype=np.int64)
        self._num_images = 0

    def add(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Count one image."""
        for channel in range(3):
            self._counts[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
        self._num_images += 1

    def add_all(self, other: "PixelCounts") -> None:
        """Count what another has counted."""
        self._counts += other._counts
        self._num_images += other._num_images

    def describe(self) -> FeatureStatistics:
        """Return the statistics of what was counted, values scaled to [0, 1]; the count is that of images."""
        levels = np.arange(256) / 255
        shares = self._counts / self._counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
        cumulative = self._counts.cumsum(axis=1)
        found = self._counts > 0
        return FeatureStatistics(
            min=_by_channel(levels[found.argmax(axis=1)]),
            max=_by_channel(levels[255 - found[:, ::-1].argmax(axis=1)]),
            mean=_by_channel(mean),
            std=_by_channel(np.sqrt(variance)),
            count=self._num_images,
            quantiles={
                # The lowest value that at least this share of pixels does not exceed.
                name: _by_channel(levels[(cumulative >= share * cumulative[:, -1:]).argmax(axis=1)])
                for name, share in QUANTILES.items()
            },
        )


def _by_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(3, 1, 1)
