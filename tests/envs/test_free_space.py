import math

import numpy as np
import pytest

from envs.free_space import CAMERA_HEIGHT_M, FreeSpace, free_space_from_depth

HEIGHT, WIDTH = 60, 80


def room_depth_m(wall_m: float) -> np.ndarray:
    """Planar depth of a wall across the view and the floor before it (90 degrees field of view)."""
    below_px = np.arange(HEIGHT) + 0.5 - HEIGHT / 2
    floor_m = np.where(below_px > 0, CAMERA_HEIGHT_M * (WIDTH / 2) / np.maximum(below_px, 1e-9), np.inf)
    return np.broadcast_to(np.minimum(floor_m, wall_m)[:, None], (HEIGHT, WIDTH)).copy()


def test_flat_wall_is_equally_far_along_the_axis_and_farther_along_the_rays():
    free = free_space_from_depth(room_depth_m(3.0), num_rays=16)
    np.testing.assert_allclose(free.distance_m * np.cos(free.bearing_rad), 3.0, rtol=0.06)
    assert free.ahead_m() == pytest.approx(3.0, rel=0.02)
    assert free.left_m() == pytest.approx(free.right_m(), rel=0.02)


def test_rays_go_from_left_to_right_over_the_field_of_view():
    free = free_space_from_depth(room_depth_m(3.0), num_rays=5)
    assert (np.diff(free.bearing_rad) < 0).all()
    assert free.bearing_rad[2] == pytest.approx(0.0, abs=0.02)
    assert abs(free.bearing_rad).max() < math.pi / 4


def test_a_low_step_is_free_and_a_high_box_is_not():
    below_px = np.arange(HEIGHT) + 0.5 - HEIGHT / 2
    for top_m, expected_m in ((0.6, 6.0), (1.1, 2.0)):
        depth_m = room_depth_m(6.0)
        top_px = (CAMERA_HEIGHT_M - top_m) * (WIDTH / 2) / 2.0
        rows = (below_px > top_px) & (depth_m[:, 0] > 2.0)
        depth_m[rows] = 2.0
        assert free_space_from_depth(depth_m, num_rays=5).ahead_m() == pytest.approx(expected_m, rel=0.1)


def test_a_post_in_the_corridor_blocks_and_one_beside_it_does_not():
    bearing_rad = np.radians([40.0, 20.0, 0.0, -20.0, -40.0])
    free = FreeSpace(bearing_rad=bearing_rad, distance_m=np.array([1.0, 1.0, 9.0, 9.0, 9.0]))
    assert free.ahead_m() == pytest.approx(math.cos(math.radians(20.0)))
    assert free.ahead_m(half_width_m=0.2) == 9.0


def test_the_freer_side_is_chosen_more_often_but_not_always():
    rng = np.random.default_rng(0)
    free = FreeSpace(bearing_rad=np.array([0.5, 0.0, -0.5]), distance_m=np.array([2.0, 1.0, 1.0]))
    sides = [free.freer_side(rng=rng) for _ in range(200)]
    assert 0.7 < np.mean(np.array(sides) == 1.0) < 0.9


def test_too_narrow_image_is_refused():
    with pytest.raises(ValueError, match="at least 20 columns"):
        free_space_from_depth(np.ones((7, 5)))
