"""NWM faults: what the public evaluation of Navigation World Models computes, beside what is right.

Each function shows one fault on the numbers that it is given. None of them is used to plan or to score.
Source: read in that code; RAE-NWM's symmetric range removes the first three, its planner the fifth.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data_tools.pose import integrate
from planners.evaluation.nwm_protocol import normalise, unnormalise


@dataclass(frozen=True, eq=False)
class Fault:
    """One quantity twice; shapes may differ, since losing an axis is one of the faults."""

    public: np.ndarray
    """As the public code has it."""
    right: np.ndarray


def zero_motion() -> Fault:
    """Show how no motion is normalised: x from -2.5 to 5 has its middle at 1.25, so 0 becomes -1/3."""
    return Fault(public=normalise(np.zeros(2)), right=np.zeros(2))


def summed_deltas(norm_deltas: Float[np.ndarray, "step 2"]) -> Fault:
    """Show the motion [spacing] that several steps in one ask for.

    With a rollout stride the code adds normalised deltas and gives the sum to the model as one action; right
    is the sum of what each of them means.
    """
    return Fault(public=unnormalise(norm_deltas.sum(axis=0)), right=unnormalise(norm_deltas).sum(axis=0))


def differentiated_positions(positions_spacing: Float[np.ndarray, "step 2"]) -> Fault:
    """Show the normalised action of each step of a rollout along positions [spacing] after each step.

    The code normalises the positions and takes differences: the first step is right, and all later ones have
    lost the offset of the range, so that a robot that stands is told 0 instead of -1/3.
    """
    return Fault(
        public=np.diff(normalise(positions_spacing), axis=0, prepend=np.zeros((1, 2))),
        right=normalise(np.diff(positions_spacing, axis=0, prepend=np.zeros((1, 2)))),
    )


def first_frame_axes(displacements: Float[np.ndarray, "step 3"]) -> Fault:
    """Show the motion of each step of a path, given as displacements in each step's robot frame.

    The code leaves differences of positions in the axes of the first frame; a robot that has turned left and
    drives straight on is then said to slide sideways.
    """
    positions = integrate(displacements)[:, :2]
    return Fault(public=np.diff(positions, axis=0, prepend=np.zeros((1, 2))), right=displacements[:, :2])


def yaw_times_pi_twice(norm_yaw: float) -> Fault:
    """Show the final yaw [rad] of elites, which are in radians already when the code multiplies by pi."""
    return Fault(public=np.array(norm_yaw * np.pi * np.pi), right=np.array(norm_yaw * np.pi))


def elite_deviation(elites: Float[np.ndarray, "elite parameter"]) -> Fault:
    """Show the deviation that the next iteration draws with.

    The code divides by one less than the number of elites: one elite gives NaN, and NaN every candidate after
    it. Right, for a search that is to stay defined, is the deviation over all elites.
    """
    squares = ((elites - elites.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the fault
        public = np.sqrt(squares / np.float64(len(elites) - 1))
    return Fault(public=public, right=np.sqrt(squares / len(elites)))


def squeezed_batch(indices: Float[np.ndarray, "batch 1"]) -> Fault:
    """Show the indices of a batch after all axes of length one are dropped.

    A batch of one loses its batch axis too, and the loop over the batch fails.
    """
    return Fault(public=np.squeeze(indices), right=indices[:, 0])


def padded_mean(values: Float[np.ndarray, " problem"], *, num_ranks: int) -> Fault:
    """Show the mean over problems that are shared out evenly over processes.

    Where their number does not divide, the first problems are given out again, and count twice.
    """
    padded = np.resize(values, -(-len(values) // num_ranks) * num_ranks)
    return Fault(public=np.array(padded.mean()), right=np.array(values.mean()))
