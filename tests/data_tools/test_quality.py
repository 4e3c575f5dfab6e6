"""Quality: wrong headings and late odometry are found, and named, on drives made to have them."""

from dataclasses import replace

import numpy as np
import pytest

from data_tools.alignment import Aligned, AlignmentConfig, align
from data_tools.quality import (
    YawConvention,
    column_profile,
    column_shift,
    heading_test,
    image_test,
    measure,
)
from data_tools.recording import FrameStream, PoseTrack, Recording

WIDTH, FIELD_OF_VIEW_RAD = 96, 1.4


def drive(num_poses: int = 800, *, interval_s: float = 0.05) -> PoseTrack:
    """A robot that winds about at a metre a second, looking where it goes."""
    times_s = np.arange(num_poses) * interval_s
    yaw_rad = 0.6 * np.sin(0.9 * times_s) + 0.5 * np.sin(0.31 * times_s + 1) + 0.05 * times_s
    steps = np.column_stack([np.cos(yaw_rad), np.sin(yaw_rad)]) * interval_s
    positions = np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])
    return PoseTrack(times_s, np.column_stack([positions, yaw_rad]))


def panorama_views(yaw_rad: np.ndarray) -> np.ndarray:
    """What a camera sees of a panorama: turning left moves what is seen to the right."""
    columns = (np.arange(WIDTH) + 0.5) / WIDTH - 0.5
    bearing = yaw_rad[:, None] - columns[None] * FIELD_OF_VIEW_RAD
    brightness = 128 + 60 * np.sin(5 * bearing) + 40 * np.sin(11 * bearing + 1)
    return brightness.astype(np.float32)


def make_recording(track: PoseTrack, image_times_s: np.ndarray) -> Recording:
    frames = FrameStream(np.zeros((len(image_times_s), 2, 3, 3), dtype=np.uint8))
    return Recording(name="drive", place="yard", images=frames, image_times_s=image_times_s, track=track)


def aligned_of(track: PoseTrack) -> Aligned:
    return align(make_recording(track, np.arange(0, 39, 0.25)), AlignmentConfig())


def read_as(track: PoseTrack, sign: float, offset_rad: float) -> PoseTrack:
    poses = track.poses.copy()
    poses[:, 2] = sign * poses[:, 2] + offset_rad
    return PoseTrack(track.times_s, poses)


@pytest.mark.parametrize(
    ("sign", "offset_rad", "convention"),
    [
        (1.0, 0.0, YawConvention.as_is),
        (-1.0, 0.0, YawConvention.clockwise),
        (-1.0, np.pi / 2, YawConvention.compass),
        (1.0, -np.pi / 2, YawConvention.from_y),
        (1.0, np.pi, YawConvention.reversed),
    ],
)
def test_a_yaw_of_another_convention_is_named(sign, offset_rad, convention):
    found = heading_test(aligned_of(read_as(drive(), sign, offset_rad)))
    assert found is not None and found.best is convention and found.best_agreement > 0.99
    assert found.is_wrong == (convention is not YawConvention.as_is)


def test_a_robot_that_hardly_moves_has_no_heading_to_test():
    track = drive()
    assert heading_test(aligned_of(PoseTrack(track.times_s, track.poses * 1e-3))) is None


@pytest.mark.parametrize("late_s", [0.0, 0.3, -0.2])
def test_late_poses_are_found_by_the_images(late_s):
    track = drive()
    aligned = aligned_of(track)
    assert aligned.poses is not None
    views = panorama_views(aligned.poses[:, 2])
    found = image_test(aligned, PoseTrack(track.times_s + late_s, track.poses), views)
    assert found is not None and found.says_something and found.correlation > 0.9
    assert found.delay_s == pytest.approx(late_s, abs=0.06)


def test_a_yaw_that_grows_clockwise_goes_against_the_images():
    track = drive()
    aligned = aligned_of(track)
    assert aligned.poses is not None
    found = image_test(aligned, read_as(track, -1.0, 0.0), panorama_views(aligned.poses[:, 2]))
    assert found is not None and found.correlation < -0.9


def test_noise_says_nothing():
    track, rng = drive(), np.random.default_rng(0)
    aligned = aligned_of(track)
    views = rng.random((len(aligned.indices), WIDTH), dtype=np.float32)
    found = image_test(aligned, track, views)
    assert found is None or not found.says_something


@pytest.mark.parametrize("columns", [0, 3, -7, 20])
def test_the_shift_of_a_picture_is_measured(columns):
    wide = np.random.default_rng(1).integers(0, 256, WIDTH + 60)
    pictures = [wide[30 - own : 30 - own + WIDTH].astype(np.float32) for own in (0, columns)]
    assert column_shift(*pictures) * WIDTH == pytest.approx(columns, abs=0.5)


def test_shares_and_rates_are_those_of_the_drive():
    times_s = np.arange(0, 40, 0.25)
    ahead_m = np.concatenate([np.arange(80) * 0.25, np.full(40, 19.75), 19.75 - np.arange(1, 41) * 0.25])
    track = PoseTrack(times_s, np.column_stack([ahead_m, np.zeros((160, 2))]))
    image_times_s = np.delete(np.arange(0, 39.76, 0.125), slice(100, 108))
    aligned = align(make_recording(track, image_times_s), AlignmentConfig())
    quality = measure(image_times_s, aligned, track, np.zeros((len(aligned.indices), 6), dtype=np.float32))
    assert quality.image_rate_hz == pytest.approx(8) and quality.longest_gap_s == pytest.approx(1.125)
    assert quality.still_share == pytest.approx(40 / 155, abs=0.01)
    assert quality.backward_share == pytest.approx(40 / 155, abs=0.01)
    assert quality.spacing_m == pytest.approx(0.25 * 115 / 155, abs=0.005) and quality.images is None
    plain = measure(
        image_times_s,
        replace(aligned, poses=None),
        None,
        np.zeros((len(aligned.indices), 6), dtype=np.float32),
    )
    assert plain.spacing_m is None and plain.heading is None and plain.num_frames == quality.num_frames


def test_a_profile_is_the_brightness_of_columns():
    image = np.zeros((120, 192, 3), dtype=np.uint8)
    image[:60, 96:] = 255
    profile = column_profile(image)
    assert profile[:48].tolist() == [0] * 48 and profile[48:] == pytest.approx(128, abs=1)
