"""NWM protocol: the numbers of Navigation World Models exactly as its public evaluation defines them.

They stand beside ours for comparison with its tables; what is wrong in them is in `nwm_faults`. Positions
are in units of the data set's spacing, in the axes of the start frame; actions in [-1, 1] are `norm_`.

Source: read in the public evaluation of NWM (arXiv 2412.03572) and written anew from its definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data_tools.pose import wrap_angle
from planners.evaluation.metrics import position_errors

LOWEST_SPACING = np.array([-2.5, -4.0])
HIGHEST_SPACING = np.array([5.0, 4.0])
"""What x and y [spacing] become -1 and 1; goals up to 64 steps away lie outside and are not clipped."""
SPACINGS_M: Mapping[str, float] = {
    "recon": 0.25,
    "scand": 0.38,
    "tartan": 0.72,
    "go_stanford": 0.12,
    "sacson": 0.255,
}
"""NWM's constants for its data sets."""
NUM_POSES = 8
"""Poses that are compared: 2 s at 4 frames a second, without the start."""


@dataclass(frozen=True, kw_only=True)
class NwmErrors:
    """What NWM's planning table is made of."""

    ate_spacing: float
    rpe_spacing: float
    final_position_spacing: float
    final_yaw_rad: float


def normalise(positions_spacing: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
    """Return NWM's min-max normalised action; its range is not symmetric, so no motion is (-1/3, 0)."""
    return (positions_spacing - LOWEST_SPACING) / (HIGHEST_SPACING - LOWEST_SPACING) * 2 - 1


def unnormalise(norm_positions: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
    """Return the positions [spacing] of normalised actions: the inverse of `normalise`."""
    return (norm_positions + 1) / 2 * (HIGHEST_SPACING - LOWEST_SPACING) + LOWEST_SPACING


def nwm_path(
    norm_deltas: Float[np.ndarray, "step 2"], *, norm_final_yaw: float
) -> Float[np.ndarray, "step 3"]:
    """Return the poses [spacing, spacing, rad] that NWM's planner means by normalised deltas.

    Each delta is un-normalised and added in the axes of the start; heading turns none of them. The yaw, in
    units of pi, belongs to the last pose; the others have none.
    """
    positions = np.cumsum(unnormalise(norm_deltas), axis=0)
    yaw_rad = np.zeros((len(positions), 1))
    yaw_rad[-1] = norm_final_yaw * np.pi
    return np.concatenate([positions, yaw_rad], axis=1)


def nwm_errors(
    planned: Float[np.ndarray, "step 3"], true: Float[np.ndarray, "true_step 3"], *, spacing_m: float
) -> NwmErrors:
    """Return NWM's scores of a plan.

    ATE and RPE are evo's root mean squares over `NUM_POSES` poses, divided by the spacing before they are
    compared. `path_errors` compares metres and divides afterwards: the same but for the last bits, as is
    any other constant orientation than the identity that we give evo.

    Args:
        planned: Poses after each step in the robot frame of the start [m, m, rad], the start left out.
        true: The recording's, likewise.
        spacing_m: The data set's spacing.

    Returns:
        The scores; the yaw's difference is the short way round.
    """
    for name, poses in (("planned", planned), ("true", true)):
        if len(poses) != NUM_POSES:
            raise ValueError(
                f"NWM compares {NUM_POSES} poses without the start; {name} has {len(poses)}: use "
                "planners.evaluation.metrics.path_errors for other lengths"
            )
    planned_spacing, true_spacing = planned[:, :2] / spacing_m, true[:, :2] / spacing_m
    ate_spacing, rpe_spacing = position_errors(planned_spacing, true_spacing)
    return NwmErrors(
        ate_spacing=ate_spacing,
        rpe_spacing=rpe_spacing,
        final_position_spacing=float(np.linalg.norm(planned_spacing[-1] - true_spacing[-1])),
        final_yaw_rad=float(np.abs(wrap_angle(planned[-1:, 2] - true[-1:, 2])[0])),
    )
