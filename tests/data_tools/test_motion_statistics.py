from dataclasses import replace

import numpy as np
import pytest

from data_tools.motion_statistics import QUANTILES, Stillness, displacements_after, measure_motion
from data_tools.pose import displacement_between, move
from data_tools.trajectory import Trajectory
from tests.data_tools.recordings import drive, drives


def posed(poses: np.ndarray, times_s: np.ndarray, name: str = "drive1") -> Trajectory:
    blank = drive(len(poses), seed=1, with_texts=False)
    return replace(
        blank, name=name, poses=np.asarray(poses, np.float64), times_s=np.asarray(times_s, np.float64)
    )


def line(x_m: list[float], *, period_s: float) -> Trajectory:
    poses = np.zeros((len(x_m), 3))
    poses[:, 0] = x_m
    return posed(poses, np.arange(len(x_m)) * period_s)


def test_a_drive_by_hand():
    """Five steps of half a second: ahead by 0.3, standing, back by 0.1, ahead by 0.5, ahead by 0.1 m."""
    measured = measure_motion(
        [line([0.0, 0.3, 0.3, 0.2, 0.7, 0.8], period_s=0.5)],
        step_s=0.5,
        horizons_s=[1.0, 2.5, 3.0],
        stillness=Stillness(),
    )
    assert measured.spacing_m == pytest.approx(1.0 / 5)
    assert (measured.still_share, measured.turning_share, measured.backward_share) == (0.2, 0.0, 0.2)
    assert (measured.num_frames, measured.duration_s) == (6, 2.5)
    assert measured.path_m == pytest.approx(1.0)
    one, whole, longer = measured.horizons
    assert one.dx_m is not None and one.distance_m is not None and one.dyaw_rad is not None
    expected = np.array([0.3, -0.1, 0.4, 0.6])
    assert (one.num_displacements, one.num_too_short, one.num_in_gaps) == (4, 0, 0)
    assert one.dx_m.mean == pytest.approx(expected.mean())
    assert one.dx_m.std == pytest.approx(expected.std())
    assert (one.dx_m.min, one.dx_m.max) == pytest.approx((-0.1, 0.6))
    assert one.dx_m.quantiles == pytest.approx(np.quantile(expected, QUANTILES))
    assert one.distance_m.mean == pytest.approx(np.abs(expected).mean())
    assert one.dyaw_rad.max == 0.0
    assert whole.distance_m is not None and whole.distance_m.mean == pytest.approx(0.8)
    assert (longer.num_displacements, longer.num_too_short, longer.dx_m) == (0, 1, None)


def test_at_the_frame_period_spacing_is_that_of_the_trajectory():
    trajectory = drive(53, seed=1)
    assert trajectory.poses is not None
    period_s = float(np.median(np.diff(trajectory.times_s)))
    values = displacements_after(trajectory, period_s).values
    expected = displacement_between(trajectory.poses[:-1], trajectory.poses[1:])
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert np.hypot(values[:, 0], values[:, 1]).mean() == pytest.approx(trajectory.spacing_m)


def test_the_rate_of_frames_does_not_change_a_steady_drive():
    """A circle, whose displacements over a horizon are all one, recorded at three rates and unevenly."""
    rng = np.random.default_rng(0)
    grids = [np.arange(0, 20, 0.1), np.arange(0, 20, 0.01), np.sort(rng.uniform(0, 20, size=2000))]
    for times_s in grids:
        heading_rad = 0.4 * times_s
        poses = np.column_stack(
            [np.sin(heading_rad), -np.cos(heading_rad), (heading_rad + np.pi) % (2 * np.pi) - np.pi]
        )
        values = displacements_after(posed(poses, times_s), 0.73).values
        turn = 0.4 * 0.73
        expected = np.tile([np.sin(turn), 1 - np.cos(turn), turn], (len(values), 1))
        np.testing.assert_allclose(values, expected, atol=3e-4)


def test_displacements_do_not_hang_on_where_the_world_begins():
    trajectory = drive(31, seed=3)
    assert trajectory.poses is not None
    origin = np.array([3.0, -5.0, 2.5])
    moved = replace(trajectory, poses=move(np.broadcast_to(origin, trajectory.poses.shape), trajectory.poses))
    first, second = (displacements_after(each, 1.0).values for each in (trajectory, moved))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_frames_whose_horizon_ends_in_a_gap_are_counted():
    times_s = np.array([0.0, 1.0, 2.0, 3.0, 9.0, 10.0])
    found = displacements_after(posed(np.zeros((6, 3)), times_s), 2.0)
    assert (len(found.values), found.num_in_gaps) == (2, 2)  # after frames 2 and 3 nobody knows
    measured = measure_motion(
        [posed(np.zeros((6, 3)), times_s)], step_s=1.0, horizons_s=[2.0], stillness=Stillness()
    )
    assert measured.horizons[0].num_in_gaps == 2
    assert measured.horizons[0].num_too_short == 0


def test_turning_on_the_spot_is_neither_standing_nor_driving():
    poses = np.zeros((5, 3))
    poses[:, 2] = [0.0, 0.2, 0.2, 0.2, 0.2]
    poses[:, 0] = [0.0, 0.0, 0.0, 0.6, 0.6]
    measured = measure_motion(
        [posed(poses, np.arange(5.0))], step_s=1.0, horizons_s=[], stillness=Stillness(turn_rad_per_s=0.1)
    )
    assert (measured.turning_share, measured.still_share, measured.backward_share) == (0.25, 0.5, 0.0)


def test_sets_are_pooled_and_videos_only_counted():
    everything = drives()  # of 53, 23 (no poses), 31 and 7 frames
    measured = measure_motion(everything, step_s=0.25, horizons_s=[1.0, 5.0], stillness=Stillness())
    assert (measured.num_trajectories, measured.num_without_poses, measured.num_frames) == (4, 1, 114)
    assert measured.period_s is not None and measured.period_s.max == pytest.approx(9 / 35)
    pooled = np.concatenate(
        [displacements_after(each, 1.0).values for each in everything if each.poses is not None]
    )
    assert measured.horizons[0].num_displacements == len(pooled) == 49 + 27 + 3
    assert measured.horizons[0].dy_m is not None
    assert measured.horizons[0].dy_m.mean == pytest.approx(pooled[:, 1].mean())
    assert measured.horizons[1].num_too_short == 1


def test_nothing_to_measure_is_none():
    video = drive(7, seed=1, with_poses=False)
    measured = measure_motion([video], step_s=0.25, horizons_s=[1.0], stillness=Stillness())
    assert (measured.spacing_m, measured.still_share, measured.horizons[0].distance_m) == (None, None, None)
    with pytest.raises(ValueError, match="has no poses"):
        displacements_after(video, 1.0)


def test_refuses_horizons_and_speeds_that_are_none():
    with pytest.raises(ValueError, match=r"above 0 s; got 0\.0"):
        displacements_after(drive(7, seed=1), 0.0)
    with pytest.raises(ValueError, match="cannot be negative"):
        Stillness(speed_m_per_s=-0.1)
