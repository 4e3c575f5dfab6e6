"""Each fault has the size that is said of it, and none where its condition does not hold."""

import math

import numpy as np
import pytest

from data_tools.pose import integrate
from planners.evaluation.nwm_faults import (
    differentiated_positions,
    elite_deviation,
    first_frame_axes,
    padded_mean,
    squeezed_batch,
    summed_deltas,
    yaw_times_pi_twice,
    zero_motion,
)
from planners.evaluation.nwm_protocol import normalise


def test_zero_motion_is_a_third_backward():
    np.testing.assert_allclose(zero_motion().public, [-1 / 3, 0.0], atol=1e-15)


def test_eight_summed_steps_forward_ask_for_a_motion_backward():
    fault = summed_deltas(np.tile([-0.1, 0.0], (8, 1)))
    np.testing.assert_allclose(fault.public, [-1.75, 0.0], atol=1e-12)  # what -0.8 means [spacing]
    np.testing.assert_allclose(fault.right, [7.0, 0.0], atol=1e-12)
    assert normalise(fault.right)[0] == pytest.approx(1.5333, abs=1e-4)


def test_one_summed_step_is_right():
    fault = summed_deltas(np.array([[0.3, -0.2]]))
    np.testing.assert_allclose(fault.public, fault.right, atol=1e-12)


def test_a_robot_that_stands_is_told_to_move_after_the_first_step():
    fault = differentiated_positions(np.zeros((3, 2)))
    np.testing.assert_allclose(fault.public[:, 0], [-1 / 3, 0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(fault.right[:, 0], [-1 / 3, -1 / 3, -1 / 3], atol=1e-15)


def test_y_whose_range_is_symmetric_has_no_such_fault():
    fault = differentiated_positions(np.random.default_rng(0).normal(size=(5, 2)))
    np.testing.assert_allclose(fault.public[:, 1], fault.right[:, 1], atol=1e-12)
    np.testing.assert_allclose((fault.public - fault.right)[1:, 0], 1 / 3, atol=1e-12)


def test_deltas_in_the_first_frames_axes_slide_sideways():
    quarter = math.pi / 2
    fault = first_frame_axes(np.array([[1.0, 0.0, quarter], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]]))
    np.testing.assert_allclose(fault.public, [[1.0, 0.0], [0.0, 1.0], [0.0, 0.5]], atol=1e-12)
    np.testing.assert_allclose(fault.right, [[1.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    straight = first_frame_axes(np.array([[1.0, 0.5, 0.0], [2.0, -1.0, 0.0]]))
    np.testing.assert_allclose(straight.public, straight.right)


def test_added_in_the_first_frames_axes_they_still_reach_the_end():
    # Why ATE and RPE do not show the fault: it is in what the model is told, not in the planned path.
    displacements = np.random.default_rng(1).normal(size=(6, 3))
    fault = first_frame_axes(displacements)
    np.testing.assert_allclose(fault.public.sum(axis=0), integrate(displacements)[-1, :2], atol=1e-12)


def test_the_final_yaw_is_pi_times_too_large():
    fault = yaw_times_pi_twice(0.25)
    assert fault.right == pytest.approx(math.pi / 4) and fault.public / fault.right == pytest.approx(math.pi)


def test_one_elite_has_no_deviation():
    fault = elite_deviation(np.array([[0.5, -0.25, 1.0]]))
    assert np.isnan(fault.public).all() and fault.right.tolist() == [0.0, 0.0, 0.0]
    two = elite_deviation(np.array([[0.0], [2.0]]))
    assert (two.public[0], two.right[0]) == pytest.approx((math.sqrt(2), 1.0))


def test_a_batch_of_one_cannot_be_looped_over():
    fault = squeezed_batch(np.array([[4.0]]))
    assert fault.right.tolist() == [4.0]
    with pytest.raises(TypeError, match="0-d array"):
        list(fault.public)
    assert squeezed_batch(np.array([[4.0], [7.0]])).public.tolist() == [4.0, 7.0]


def test_duplicated_samples_shift_the_mean():
    fault = padded_mean(np.array([8.0, 0.0, 0.0, 0.0, 0.0]), num_ranks=4)
    assert (float(fault.public), float(fault.right)) == (2.0, 1.6)  # (8 + 8) / 8
    whole = padded_mean(np.arange(8.0), num_ranks=4)
    assert float(whole.public) == float(whole.right)
