"""NWM's own numbers: bit for bit those of evo's commands, and its normalisation as it states it."""

import math

import numpy as np
import pytest
from evo import main_ape, main_rpe
from evo.core.metrics import PoseRelation, Unit
from evo.core.trajectory import PoseTrajectory3D

from data_tools.pose import displacement_between, integrate
from planners.evaluation.metrics import path_errors
from planners.evaluation.nwm_protocol import SPACINGS_M, normalise, nwm_errors, nwm_path, unnormalise


def evo_trajectory(positions: np.ndarray) -> PoseTrajectory3D:
    return PoseTrajectory3D(
        positions_xyz=np.column_stack([positions, np.zeros(len(positions))]),
        orientations_quat_wxyz=np.tile([1.0, 0.0, 0.0, 0.0], (len(positions), 1)),
        timestamps=np.arange(float(len(positions))),
    )


@pytest.mark.parametrize("seed", range(5))
def test_ate_and_rpe_are_those_of_evo_bit_for_bit(seed: int):
    rng = np.random.default_rng(seed)
    planned, true = (integrate(rng.normal(0.2, 0.3, (8, 3))) for _ in range(2))
    pair = [evo_trajectory(poses[:, :2] / 0.38) for poses in (true, planned)]
    ape = main_ape.ape(*pair, pose_relation=PoseRelation.translation_part, align=False, correct_scale=False)
    rpe = main_rpe.rpe(
        *pair,
        pose_relation=PoseRelation.translation_part,
        delta=1.0,
        delta_unit=Unit.frames,
        rel_delta_tol=0.1,
        align=False,
        correct_scale=False,
    )
    found = nwm_errors(planned, true, spacing_m=0.38)
    assert found.ate_spacing == ape.stats["rmse"]
    assert found.rpe_spacing == rpe.stats["rmse"]
    assert len(rpe.np_arrays["error_array"]) == 7


def test_scores_are_ours_in_units_of_spacing():
    rng = np.random.default_rng(3)
    displacements, true = (rng.normal(0.2, 0.3, (8, 3)) for _ in range(2))
    ours = path_errors(displacements, true, spacing_m=0.25)
    nwm = nwm_errors(integrate(displacements), integrate(true), spacing_m=0.25)
    assert (nwm.ate_spacing, nwm.rpe_spacing) == pytest.approx((ours.ate_spacing, ours.rpe_spacing))
    assert nwm.final_position_spacing == pytest.approx(ours.final_position_m / 0.25)
    assert nwm.final_yaw_rad == pytest.approx(ours.final_yaw_rad)


def test_by_hand_with_the_start_left_out():
    # Off by one spacing at the last of eight poses only: ATE sqrt(1/8), and one of seven changes is off.
    true = np.zeros((8, 3))
    planned = true.copy()
    planned[-1] = [0.0, 0.72, -3.0]
    true[-1, 2] = 3.0
    found = nwm_errors(planned, true, spacing_m=SPACINGS_M["tartan"])
    assert found.ate_spacing == pytest.approx(math.sqrt(1 / 8))
    assert found.rpe_spacing == pytest.approx(math.sqrt(1 / 7))
    assert (found.final_position_spacing, found.final_yaw_rad) == pytest.approx((1.0, 2 * math.pi - 6))


def test_heading_counts_in_no_position():
    rng = np.random.default_rng(4)
    planned, true = (integrate(rng.normal(0.2, 0.3, (8, 3))) for _ in range(2))
    turned = planned + np.array([0.0, 0.0, 1.0])
    first, second = (nwm_errors(each, true, spacing_m=0.25) for each in (planned, turned))
    assert (first.ate_spacing, first.rpe_spacing) == (second.ate_spacing, second.rpe_spacing)


def test_normalisation_by_hand_and_back():
    corners = np.array([[-2.5, -4.0], [5.0, 4.0], [1.25, 0.0], [20.0, -16.0]])
    norm = normalise(corners)
    assert norm.tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [5.0, -4.0]]  # the last is not clipped
    np.testing.assert_allclose(unnormalise(norm), corners, atol=1e-12)


def test_a_path_is_added_in_the_axes_of_the_start():
    # NWM's prior mean on RECON, -0.1, is 0.875 spacing a step.
    path = nwm_path(np.tile([-0.1, 0.0], (8, 1)), norm_final_yaw=0.5)
    np.testing.assert_allclose(path[:, 0], 0.875 * np.arange(1, 9))
    np.testing.assert_allclose(path[:, 1], 0.0, atol=1e-12)
    assert path[:-1, 2].tolist() == [0.0] * 7 and path[-1, 2] == math.pi / 2
    # Read as poses, the last step therefore turns on the spot that it ends at.
    last = displacement_between(path[-2], path[-1])
    np.testing.assert_allclose(last, [0.875, 0.0, math.pi / 2], atol=1e-12)


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"8 poses without the start; true has 9"):
        nwm_errors(np.zeros((8, 3)), np.zeros((9, 3)), spacing_m=0.25)
