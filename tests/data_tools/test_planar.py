"""Planar poses: headings and axes of the usual conventions, and what has no heading."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_tools.planar import Forward, WorldUp, from_above, planar_poses, quaternion_matrices


@pytest.mark.parametrize("yaw_rad", [0.0, 0.4, -2.5])
def test_a_robot_of_ros_keeps_its_pose(yaw_rad):
    matrices = quaternion_matrices(np.array([[0.0, 0.0, np.sin(yaw_rad / 2), np.cos(yaw_rad / 2)]]) * 3)
    found = planar_poses(np.array([[1.0, 2.0, 9.0]]), matrices, up=WorldUp.z, forward=Forward.x)
    np.testing.assert_allclose(found, [[1.0, 2.0, yaw_rad]], atol=1e-12)


@pytest.mark.parametrize(
    ("up", "forward", "ahead", "left", "vertical"),
    [
        # KITTI: the camera looks along +z, its left is -x, up is -y.
        (WorldUp.minus_y, Forward.z, (0, 0, 1), (-1, 0, 0), (0, -1, 0)),
        # Computer graphics: the camera looks along -z, its left is -x; up is +y.
        (WorldUp.y, Forward.minus_z, (0, 0, -1), (-1, 0, 0), (0, 1, 0)),
        (WorldUp.z, Forward.x, (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        # North, east, down: the body looks along +x, its left is -y.
        (WorldUp.minus_z, Forward.x, (1, 0, 0), (0, -1, 0), (0, 0, -1)),
    ],
)
def test_turning_left_about_the_vertical_turns_counter_clockwise(up, forward, ahead, left, vertical):
    turn = Rotation.from_rotvec(0.3 * np.array(vertical, dtype=np.float64)).as_matrix()
    rotations = np.stack([np.eye(3), turn])
    positions = np.array([ahead, left], dtype=np.float64)
    found = planar_poses(positions, rotations, up=up, forward=forward)
    assert found[1, 2] - found[0, 2] == pytest.approx(0.3)
    # Motion along the forward axis is motion along the heading, and left of it is to the left.
    heading = np.array([np.cos(found[0, 2]), np.sin(found[0, 2])])
    np.testing.assert_allclose(found[0, :2], heading, atol=1e-12)
    np.testing.assert_allclose(found[1, :2], [-heading[1], heading[0]], atol=1e-12)


def test_what_looks_straight_up_has_no_heading():
    upright = Rotation.from_rotvec([0, -np.pi / 2, 0]).as_matrix()[None]
    found = planar_poses(np.zeros((1, 3)), upright, up=WorldUp.z, forward=Forward.x)
    assert np.isnan(found[0, 2]) and np.isfinite(found[0, :2]).all()


def test_a_quaternion_without_length_is_no_rotation():
    found = quaternion_matrices(
        np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0], [np.nan, 0.0, 0.0, 1.0]])
    )
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_allclose(found[1], np.eye(3))


def test_from_above_is_right_handed():
    east_north_up = {WorldUp.z: np.eye(3), WorldUp.y: np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])}
    for up, axes in east_north_up.items():
        np.testing.assert_allclose(from_above(axes, up=up), [[1, 0], [0, 1], [0, 0]], atol=1e-12)
