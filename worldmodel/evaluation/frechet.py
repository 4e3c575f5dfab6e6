"""Frechet distance between two sets of features, each taken for a Gaussian.

    d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^(1/2) S2 S1^(1/2))^(1/2))

Source: Dowson and Landau 1982; Heusel et al. (arXiv 1706.08500), who report
d^2 in features of Inception as FID. It is biased upward by some
tr(S) / n: distances are compared at equal numbers of pictures alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance (divided by n - 1) of features, in float64."""

    mean: Float[np.ndarray, " feature"]
    covariance: Float[np.ndarray, "feature feature"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "sample feature"]) -> "Gaussian":
        """Return that of some features; ValueError for fewer than two samples, or numbers not finite."""
        if len(features) < 2 or not np.isfinite(features).all():
            raise ValueError(
                f"needed finite features of at least two pictures, got {features.shape[0]} x "
                f"{features.shape[1]}, {int((~np.isfinite(features)).sum())} of them not finite"
            )
        exact = features.astype(np.float64)
        return cls(exact.mean(axis=0), np.atleast_2d(np.cov(exact, rowvar=False)))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Return d^2, never below 0.

    By eigenvalues of symmetric matrices, where the usual square root of S1 S2 needs S to be regular: with
    fewer pictures than features it is not.
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(f"needed equally many features, got {one.mean.shape[0]} and {other.mean.shape[0]}")
    root = _root(one.covariance)
    spectrum = np.linalg.eigvalsh(root @ other.covariance @ root)
    overlap = np.sqrt(spectrum.clip(min=0)).sum()
    spread = np.trace(one.covariance) + np.trace(other.covariance) - 2 * overlap
    return max(float(np.square(one.mean - other.mean).sum() + spread), 0.0)


def _root(matrix: Float[np.ndarray, "feature feature"]) -> Float[np.ndarray, "feature feature"]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
