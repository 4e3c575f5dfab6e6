import numpy as np
import pytest

from data_tools.pose import compose, displacement_between, integrate, move, wrap_angle


def test_wrapped_angles_are_in_range_and_equal_modulo_a_turn():
    edges = np.array([-np.pi, np.nextafter(-np.pi, -9), np.pi, np.nextafter(np.pi, 9), 0.0, 7.0, -123.0, 1e6])
    wrapped = wrap_angle(edges)
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * edges), atol=1e-9)


def test_angles_in_range_stay_bit_for_bit():
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, size=(5, 7))
    np.testing.assert_array_equal(wrap_angle(angles), angles)
    assert wrap_angle(angles.astype(np.float32)).dtype == np.float32


def test_displacement_by_hand():
    start, end = np.array([1.0, 2.0, np.pi / 2]), np.array([1.0, 5.0, np.pi])
    np.testing.assert_allclose(displacement_between(start, end), [3.0, 0.0, np.pi / 2], atol=1e-12)


def test_move_is_the_inverse_of_displacement_between():
    rng = np.random.default_rng(1)
    start, end = rng.uniform(-3, 3, size=(2, 5, 7, 3))
    np.testing.assert_allclose(move(start, displacement_between(start, end)), end, atol=1e-12)


def test_integrate_equals_moving_step_by_step():
    steps = np.random.default_rng(2).uniform(-2, 2, size=(2, 5, 3))
    poses, pose = integrate(steps), np.zeros((2, 3))
    for index in range(5):
        pose = move(pose, steps[:, index])
        np.testing.assert_allclose(poses[:, index], pose, atol=1e-12)
    np.testing.assert_array_equal(compose(steps), poses[:, -1])


def test_composition_is_associative():
    steps = np.random.default_rng(3).uniform(-2, 2, size=(7, 3))
    halves = np.stack([compose(steps[:3]), compose(steps[3:])])
    np.testing.assert_allclose(compose(halves), compose(steps), atol=1e-12)


def test_steps_of_a_recording_integrate_to_its_poses():
    poses = np.random.default_rng(4).uniform(-3, 3, size=(7, 3))
    steps = displacement_between(poses[:-1], poses[1:])
    seen_from_start = displacement_between(np.broadcast_to(poses[0], (6, 3)), poses[1:])
    np.testing.assert_allclose(integrate(steps), seen_from_start, atol=1e-12)


@pytest.mark.parametrize("batch", [(), (2, 5)])
def test_no_steps_are_standing_still(batch: tuple[int, ...]):
    np.testing.assert_array_equal(compose(np.zeros((*batch, 0, 3))), np.zeros((*batch, 3)))
