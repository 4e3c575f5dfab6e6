"""Alignment: frames at an even period, poses at their times, and cuts that account for all the rest."""

from dataclasses import replace

import numpy as np
import pytest

from data_tools.alignment import (
    AlignmentConfig,
    Cut,
    Reason,
    align,
    poses_at,
    stretches,
    without_bad_images,
)
from data_tools.recording import FrameStream, PoseTrack, Recording

CONFIG = AlignmentConfig(period_s=0.25, min_frames=3)


def straight(times_s: np.ndarray, *, speed_m_s: float = 1.0) -> PoseTrack:
    return PoseTrack(times_s, np.column_stack([speed_m_s * times_s, np.zeros((len(times_s), 2))]))


def make_recording(image_times_s: np.ndarray, track: PoseTrack | None) -> Recording:
    frames = FrameStream(np.zeros((len(image_times_s), 2, 3, 3), dtype=np.uint8))
    return Recording(name="drive", place="yard", images=frames, image_times_s=image_times_s, track=track)


def test_every_fourth_image_of_sixteen_a_second_is_chosen():
    aligned = align(make_recording(np.arange(33) / 16, straight(np.arange(0, 3, 0.1))), CONFIG)
    assert aligned.indices.tolist() == list(range(0, 33, 4)) and aligned.cuts == ()
    assert aligned.follows.tolist() == [False] + [True] * 8
    assert aligned.poses is not None
    np.testing.assert_allclose(aligned.poses[:, 0], aligned.times_s, atol=1e-12)


@pytest.mark.parametrize("interval_s", [0.257, 0.243, 9 / 35])
def test_a_camera_a_little_off_the_period_loses_nothing(interval_s):
    times_s = np.arange(200) * interval_s
    aligned = align(make_recording(times_s, straight(np.arange(0, 60, 0.1))), CONFIG)
    assert len(aligned.indices) == 200 and aligned.cuts == ()


def test_a_gap_cuts_and_is_counted():
    times_s = np.concatenate([np.arange(5) * 0.25, 3.0 + np.arange(4) * 0.25])
    aligned = align(make_recording(times_s, straight(np.arange(0, 5, 0.1))), CONFIG)
    assert aligned.cuts == (Cut(Reason.no_image, 1.0, 3.0, 7),)
    found, short = stretches(aligned, CONFIG)
    assert found == [slice(0, 5), slice(5, 9)] and short == []
    found, short = stretches(aligned, replace(CONFIG, min_frames=5))
    assert found == [slice(0, 5)] and short == [Cut(Reason.short, 3.0, 3.75, 4)]


def test_long_stretches_are_divided_and_nothing_is_lost():
    aligned = align(make_recording(np.arange(23) * 0.25, None), CONFIG)
    found, short = stretches(aligned, replace(CONFIG, max_frames=10))
    assert found == [slice(0, 8), slice(8, 15), slice(15, 23)] and short == []


def test_without_a_period_every_image_is_kept():
    times_s = np.array([0.0, 0.1, 0.5, 2.5, 2.6])
    aligned = align(make_recording(times_s, None), replace(CONFIG, period_s=None, max_gap_s=1.0))
    assert aligned.indices.tolist() == [0, 1, 2, 3, 4] and aligned.poses is None
    assert aligned.follows.tolist() == [False, True, True, False, True]
    assert aligned.cuts == (Cut(Reason.no_image, 0.5, 2.5, 0),)


def test_times_that_do_not_increase_are_left_out():
    times_s = np.array([0.0, 0.25, 0.1, np.nan, 0.5, 0.75])
    aligned = align(make_recording(times_s, None), CONFIG)
    assert aligned.indices.tolist() == [0, 1, 4, 5]
    (cut,) = aligned.cuts
    assert cut.reason is Reason.bad_time and cut.num_frames == 2


def test_yaw_is_interpolated_the_short_way_round():
    track = PoseTrack(np.array([0.0, 0.4]), np.array([[0.0, 0.0, 3.0], [1.0, 2.0, -3.0]]))
    poses, lacks = poses_at(track, np.array([0.1, 0.4]), CONFIG)
    assert lacks == [None, None]
    np.testing.assert_allclose(poses[0], [0.25, 0.5, 3.0 + 0.25 * (2 * np.pi - 6.0)])
    np.testing.assert_allclose(poses[1], [1.0, 2.0, -3.0])


def test_a_pose_that_is_not_finite_spoils_only_the_frames_that_need_it():
    times_s = np.arange(9) * 0.25
    track = straight(times_s)
    track.poses[4, 2] = np.nan
    aligned = align(make_recording(times_s, track), CONFIG)
    assert aligned.indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert aligned.cuts == (Cut(Reason.bad_pose, 1.0, 1.0, 1),)
    assert aligned.follows.tolist() == [False, True, True, True, False, True, True, True]


def test_frames_beyond_the_poses_are_cut():
    aligned = align(make_recording(np.arange(9) * 0.25, straight(np.arange(0, 1.3, 0.25))), CONFIG)
    assert aligned.cuts == (Cut(Reason.no_pose, 1.5, 2.0, 3),)
    aligned = align(
        make_recording(np.arange(9) * 0.25, straight(np.array([0.0, 0.25, 1.5, 1.75, 2.0]))), CONFIG
    )
    assert aligned.cuts == (Cut(Reason.no_pose, 0.5, 1.25, 4),)  # too far apart to interpolate between


def test_poses_that_come_late_are_brought_back():
    times_s = np.arange(9) * 0.25
    late = PoseTrack(times_s + 0.1, straight(times_s).poses)
    aligned = align(make_recording(times_s, late), replace(CONFIG, pose_delay_s=-0.1))
    assert aligned.poses is not None
    np.testing.assert_allclose(aligned.poses[:, 0], times_s[: len(aligned.poses)], atol=1e-12)


def test_a_jump_cuts_between_two_frames():
    times_s = np.arange(8) * 0.25
    track = straight(times_s)
    track.poses[4:, 1] += 9.0
    aligned = align(make_recording(times_s, track), CONFIG)
    assert aligned.cuts == (Cut(Reason.jump, 0.75, 1.0, 0),)
    assert np.flatnonzero(~aligned.follows).tolist() == [0, 4]


def test_standing_still_and_backward_are_cut_where_asked():
    times_s = np.arange(24) * 0.25
    ahead_m = np.concatenate([np.arange(8), np.full(8, 7), 7 - np.arange(1, 9)]) * 0.25
    track = PoseTrack(times_s, np.column_stack([ahead_m, np.zeros((24, 2))]))
    recording = make_recording(times_s, track)
    assert align(recording, CONFIG).cuts == ()
    still = align(recording, replace(CONFIG, cut_still_s=1.0))
    assert still.cuts == (Cut(Reason.still, 1.75, 3.5, 8),)
    assert np.flatnonzero(~still.follows).tolist() == [0, 7]
    assert align(recording, replace(CONFIG, cut_still_s=3.0)).cuts == ()
    (cut,) = align(recording, replace(CONFIG, cut_backward=True)).cuts
    assert cut == Cut(Reason.backward, 3.75, 5.5, 8)


def test_bad_images_cut_too():
    aligned = align(make_recording(np.arange(6) * 0.25, None), CONFIG)
    left = without_bad_images(aligned, np.array([False, False, True, True, False, False]))
    assert left.indices.tolist() == [0, 1, 4, 5] and left.follows.tolist() == [False, True, False, True]
    assert left.cuts == (Cut(Reason.bad_image, 0.5, 0.75, 2),)


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match="period_s must be a number above 0"):
        replace(CONFIG, period_s=0.0)
    with pytest.raises(ValueError, match="min_frames must be at least 2"):
        replace(CONFIG, min_frames=1)
    with pytest.raises(ValueError, match="at least twice min_frames"):
        replace(CONFIG, max_frames=5)
