"""Measures: what one episode is worth.

Source: the definitions of habitat-lab (`habitat/tasks/nav/nav.py`) and Anderson et al. 2018, "On Evaluation
of Embodied Navigation Agents". Distances to the goal are geodesic. Two words are kept apart: `success`
needs a stop, `reached` does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

SUCCESS_RADIUS_M = 1.0
"""Geodesic distance within which a goal counts as found."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """One episode's scores; lengths and distances in metres, spl and soft_spl in [0, 1]."""

    success: bool
    reached: bool
    spl: float
    soft_spl: float
    final_distance_m: float
    path_length_m: float
    collisions: int
    num_steps: int


def is_success(distance_m: float, *, stopped: bool) -> bool:
    """Return whether the agent stopped within 1 m of the goal."""
    return stopped and distance_m <= SUCCESS_RADIUS_M


def is_reached(distances_m: Float64[np.ndarray, " frame"]) -> bool:
    """Return whether the agent was ever within 1 m of the goal, given its distance at every frame [m]."""
    return bool((distances_m <= SUCCESS_RADIUS_M).any())


def path_length_m(poses: Float64[np.ndarray, "frame coordinate"]) -> float:
    """Return the length of the way between poses, or places (x, y), in straight pieces [m]."""
    return float(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=-1).sum())


def spl(*, success: bool, geodesic_m: float, length_m: float) -> float:
    """Return success weighted by path length: success * geodesic / max(length, geodesic), in [0, 1]."""
    _check_lengths(geodesic_m, length_m)
    return float(success) * geodesic_m / max(length_m, geodesic_m)


def soft_spl(*, final_distance_m: float, geodesic_m: float, length_m: float) -> float:
    """Return SPL with progress max(0, 1 - final distance / geodesic) in the place of success, in [0, 1]."""
    _check_lengths(geodesic_m, length_m)
    progress = max(0.0, 1 - final_distance_m / geodesic_m)
    return progress * geodesic_m / max(length_m, geodesic_m)


def measure(
    *,
    poses: Float64[np.ndarray, "frame 3"],
    distances_m: Float64[np.ndarray, " frame"],
    collided: Bool[np.ndarray, " step"],
    stopped: bool,
    geodesic_m: float,
) -> Measures:
    """Score one episode.

    Args:
        poses: Where the agent was at the start and after every step.
        distances_m: The geodesic distance to the goal there [m].
        collided: For each step, whether it was cut short.
        stopped: Whether the agent ended the episode itself.
        geodesic_m: Length of the shortest path from start to goal [m].

    Returns:
        All measures of the episode.
    """
    if not len(poses) == len(distances_m) == len(collided) + 1:
        raise ValueError(
            f"needed n + 1 poses and distances for n steps; got {len(poses)} poses, {len(distances_m)} "
            f"distances, {len(collided)} steps. The start counts as a pose"
        )
    final_distance_m, length_m = float(distances_m[-1]), path_length_m(poses)
    success = is_success(final_distance_m, stopped=stopped)
    return Measures(
        success=success,
        reached=is_reached(distances_m),
        spl=spl(success=success, geodesic_m=geodesic_m, length_m=length_m),
        soft_spl=soft_spl(final_distance_m=final_distance_m, geodesic_m=geodesic_m, length_m=length_m),
        final_distance_m=final_distance_m,
        path_length_m=length_m,
        collisions=int(collided.sum()),
        num_steps=len(collided),
    )


def _check_lengths(geodesic_m: float, length_m: float) -> None:
    if not (geodesic_m > 0 and np.isfinite(geodesic_m) and length_m >= 0):
        raise ValueError(
            f"needed a finite geodesic distance above 0 and a length of at least 0; got {geodesic_m} and "
            f"{length_m} m. Drop episodes that start at their goal"
        )
