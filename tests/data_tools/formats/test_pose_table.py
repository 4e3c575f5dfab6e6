"""Pose tables in the forms of KITTI and TUM: poses against evo's, axes, and rows that are broken."""

import os
from pathlib import Path

import numpy as np
import pytest
from evo.tools import file_interface
from PIL import Image
from scipy.spatial.transform import Rotation

from data_tools.formats import pose_table
from data_tools.formats.pose_table import (
    TARTAN_AIR,
    TARTAN_DRIVE,
    KittiForm,
    TumForm,
    read_kitti,
    read_tum,
    read_tum_poses,
)
from data_tools.planar import Forward, WorldUp
from data_tools.recording import BadImage, EncodedImage, ImageStream, PoseTrack, Recording
from data_tools.trajectory import Skipped


def write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.new("RGB", (4, 3), (10 * index,) * 3).save(folder / name)


def random_matrices(num_poses: int) -> np.ndarray:
    matrices = np.tile(np.eye(4), (num_poses, 1, 1))
    matrices[:, :3, :3] = Rotation.random(num_poses, np.random.default_rng(3)).as_matrix()
    matrices[:, :3, 3] = np.random.default_rng(num_poses).normal(size=(num_poses, 3))
    return matrices


def write_kitti(folder: Path, matrices: np.ndarray, *, poses: Path | None = None) -> None:
    write_images(folder / "image_2", [f"{index:06}.png" for index in range(len(matrices))])
    np.savetxt(folder / "times.txt", 0.1 * np.arange(len(matrices)))
    np.savetxt(poses or folder / "poses.txt", matrices[:, :3].reshape(-1, 12))


def track_of(found: Recording | Skipped) -> PoseTrack:
    assert isinstance(found, Recording), found
    assert found.track is not None
    return found.track


def reason_of(path: Path, form: KittiForm = pose_table.KITTI) -> str:
    (found,) = read_kitti(path, form=form)
    assert isinstance(found, Skipped) and found.folder == path
    return found.reason


def test_kitti_poses_are_those_that_evo_reads(tmp_path):
    matrices = random_matrices(5)
    write_kitti(tmp_path / "drives" / "00", matrices)
    (found,) = read_kitti(tmp_path / "drives" / "00")
    track = track_of(found)
    assert isinstance(found, Recording) and (found.name, found.place) == ("00", "drives")
    reference = file_interface.read_kitti_poses_file(tmp_path / "drives" / "00" / "poses.txt")
    # The first camera looks along z; x is to its right and y is down.
    np.testing.assert_allclose(track.poses[:, 0], reference.positions_xyz[:, 2])
    np.testing.assert_allclose(track.poses[:, 1], -reference.positions_xyz[:, 0])
    ahead = np.array([pose[:3, 2] for pose in reference.poses_se3])
    np.testing.assert_allclose(np.sin(track.poses[:, 2]), -ahead[:, 0] / np.hypot(ahead[:, 0], ahead[:, 2]))
    np.testing.assert_allclose(found.image_times_s, [0.0, 0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(track.times_s, found.image_times_s)


def test_images_pass_through_in_the_order_of_their_numbers(tmp_path):
    write_images(tmp_path / "000", ["2.png", "10.png", "1.jpg", ".hidden.png"])
    (tmp_path / "000" / "K.txt").write_text("1 2 3")
    (tmp_path / "000" / "11.png").touch()
    form = KittiForm(images="000", image_times=None, period_s=0.5, poses=None)
    (found,) = read_kitti(tmp_path, form=form, place="lab")
    assert isinstance(found, Recording) and isinstance(found.images, ImageStream) and found.track is None
    assert found.place == "lab"
    np.testing.assert_array_equal(found.image_times_s, [0.0, 0.5, 1.0, 1.5])
    first, *_, tenth, empty = found.images.select([0, 1, 2, 3])
    assert isinstance(first, EncodedImage) and first.data == (tmp_path / "000" / "1.jpg").read_bytes()
    assert isinstance(tenth, EncodedImage) and tenth.decode()[0, 0, 0] == 10
    assert isinstance(empty, BadImage) and "11.png has 0 bytes" in empty.reason


@pytest.mark.parametrize("width", [12, 16, 7, 13])
def test_all_widths_say_the_same(tmp_path, width):
    matrices = random_matrices(4)
    write_kitti(tmp_path, matrices)
    (expected,) = read_kitti(tmp_path)
    quaternions = Rotation.from_matrix(matrices[:, :3, :3]).as_quat()
    vectors = np.column_stack([matrices[:, :3, 3], 2 * quaternions, np.full((4, 6), np.inf)])
    rows = matrices.reshape(4, 16)[:, :width] if width in (12, 16) else vectors[:, :width]
    np.savetxt(tmp_path / "poses.txt", rows)
    np.testing.assert_allclose(
        track_of(*read_kitti(tmp_path)).poses, track_of(expected).poses, rtol=1e-9, atol=1e-12
    )


def test_a_world_with_y_up_is_seen_from_above(tmp_path):
    matrices = random_matrices(6)
    write_kitti(tmp_path, matrices)
    found = track_of(*read_kitti(tmp_path, form=KittiForm(up=WorldUp.y, forward=Forward.z))).poses
    ahead = matrices[:, :3, 2]
    np.testing.assert_allclose(found[:, :2], np.column_stack([matrices[:, 0, 3], -matrices[:, 2, 3]]))
    np.testing.assert_allclose(found[:, 2], np.arctan2(-ahead[:, 2], ahead[:, 0]))


def test_the_official_layout_of_kitti(tmp_path):
    (tmp_path / "dataset" / "poses").mkdir(parents=True)
    for name in ("01", "00"):
        poses = tmp_path / "dataset" / "poses" / f"{name}.txt"
        write_kitti(tmp_path / "dataset" / "sequences" / name, random_matrices(3), poses=poses)
    found = list(read_kitti(tmp_path / "dataset"))
    assert [(one.name, one.place) for one in found if isinstance(one, Recording)] == [
        ("sequences_00", "dataset"),
        ("sequences_01", "dataset"),
    ]
    assert len(track_of(found[0]).poses) == 3


def test_tartan_air_turns_left_counter_clockwise(tmp_path):
    folder = tmp_path / "factory" / "Easy" / "P000"
    write_images(folder / "image_left", ["000000_left.png", "000001_left.png"])
    # North-east-down: the drone flies west while it looks north-west, 30 degrees left of north.
    left = Rotation.from_rotvec([0, 0, -np.pi / 6]).as_quat()
    np.savetxt(folder / "pose_left.txt", [[5, 1, -2, 0, 0, 0, 1], [5, -1, -2, *left]])
    found = track_of(*read_kitti(tmp_path / "factory", form=TARTAN_AIR))
    np.testing.assert_allclose(found.poses, [[5, -1, 0], [5, 1, np.pi / 6]], atol=1e-12)
    np.testing.assert_array_equal(found.times_s, [0.0, 0.1])


def test_tartan_drive_has_poses_at_times_of_their_own(tmp_path):
    write_images(tmp_path / "image_left_color", ["000000.png", "000001.png"])
    (tmp_path / "image_left_color" / "timestamps.txt").write_text("1694628000.05\n1694628000.15\n")
    (tmp_path / "gps_odom").mkdir()
    (tmp_path / "gps_odom" / "timestamps.txt").write_text("1694628000.0\n1694628000.1\n1694628000.2\n")
    rows = np.zeros((3, 13))
    rows[:, 0], rows[:, 5:7] = [1, 2, 3], [np.sin(0.2), np.cos(0.2)]
    rows[1] = np.inf
    np.save(tmp_path / "gps_odom" / "odometry.npy", rows)
    (found,) = read_kitti(tmp_path, form=TARTAN_DRIVE)
    track = track_of(found)
    assert isinstance(found, Recording)
    np.testing.assert_array_equal(found.image_times_s, [1694628000.05, 1694628000.15])
    np.testing.assert_array_equal(track.times_s, [1694628000.0, 1694628000.1, 1694628000.2])
    np.testing.assert_allclose(track.poses, [[1, 0, 0.4], [np.nan] * 3, [3, 0, 0.4]], atol=1e-12)


def test_broken_rows_are_nan_and_named(tmp_path):
    write_kitti(tmp_path, random_matrices(5))
    lines = (tmp_path / "poses.txt").read_text().splitlines()
    lines[1] = "1 0 0 9"
    lines[2] = " ".join(["nan"] * 12)
    lines[3] = "2 0 0 0 0 1 0 0 0 0 1 0"
    (tmp_path / "poses.txt").write_text("\n".join(["# camera to world", *lines]))
    (found,) = read_kitti(tmp_path)
    assert np.isnan(track_of(found).poses).all(axis=1).tolist() == [False, True, True, True, False]
    assert isinstance(found, Recording) and found.faults == (
        f"{tmp_path / 'poses.txt'}: 1 of 5 rows are not 12 numbers: line 3",
        f"{tmp_path / 'poses.txt'}: 1 of 5 rows hold no rotation, the first is row 4",
    )


def test_refuses_what_does_not_fit_and_goes_on(tmp_path):
    for name in ("a", "b", "c", "d", "e", "f"):
        write_kitti(tmp_path / name, random_matrices(3))
    (tmp_path / "a" / "times.txt").write_text("0\n0.1\n")
    (tmp_path / "b" / "times.txt").write_text("0\nsoon\n0.2\n")
    (tmp_path / "c" / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    np.savetxt(tmp_path / "d" / "poses.txt", np.tile(np.arange(12), (3, 1)))
    (tmp_path / "e" / "poses.txt").unlink()
    a, b, c, d, e, f = read_kitti(tmp_path)
    reasons = [one.reason for one in (a, b, c, d, e) if isinstance(one, Skipped)]
    for found, expected in zip(
        reasons,
        (
            "lengths disagree: 3 images in image_2, 2 times in times.txt",
            "times.txt: 1 of 3 rows are not 1 numbers: line 2; without its time an image cannot be placed",
            "lengths disagree: 1 poses, 3 images",
            "3 of 3 rows hold no rotation, the first is row 1; a row is the 3x4 or 4x4 matrix",
            "poses.txt is missing",
        ),
        strict=True,
    ):
        assert expected in found
    assert isinstance(f, Recording) and f.name == "f"


def test_a_left_handed_matrix_is_no_rotation(tmp_path):
    write_kitti(tmp_path, random_matrices(2) * np.array([[1], [1], [-1], [1]]))
    assert "2 of 2 rows hold no rotation" in reason_of(tmp_path)


def test_refuses_folders_without_recordings_and_times_twice(tmp_path):
    with pytest.raises(FileNotFoundError, match="needed recordings with a folder image_2/"):
        next(read_kitti(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"needed recordings with a list rgb\.txt"):
        next(read_tum(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="either image_times or period_s"):
        KittiForm(period_s=0.1)


def write_tum(folder: Path) -> np.ndarray:
    """Write two images and three poses; return the poses' rows."""
    write_images(folder / "rgb", ["1305031102.175304.png", "1305031102.211214.png"])
    (folder / "rgb.txt").write_text(
        "# color images\n1305031102.175304 rgb/1305031102.175304.png\n"
        "1305031102.211214\trgb/1305031102.211214.png\n"
    )
    quaternions = Rotation.random(3, np.random.default_rng(0)).as_quat()
    times_s = 1305031102.1 + 0.05 * np.arange(3)
    rows = np.column_stack([times_s, np.random.default_rng(0).normal(size=(3, 3)), quaternions])
    np.savetxt(folder / "groundtruth.txt", rows, header="timestamp tx ty tz qx qy qz qw", fmt="%.7f")
    return rows


def test_tum_poses_are_those_that_evo_reads_at_their_own_times(tmp_path):
    write_tum(tmp_path / "desk")
    (found,) = read_tum(tmp_path)
    track = track_of(found)
    reference = file_interface.read_tum_trajectory_file(tmp_path / "desk" / "groundtruth.txt")
    np.testing.assert_array_equal(track.times_s, reference.timestamps)
    np.testing.assert_array_equal(track.poses[:, :2], reference.positions_xyz[:, :2])
    ahead = np.array([pose[:3, 2] for pose in reference.poses_se3])
    np.testing.assert_allclose(track.poses[:, 2], np.arctan2(ahead[:, 1], ahead[:, 0]), atol=1e-6)
    assert isinstance(found, Recording) and (found.name, found.place) == ("desk", tmp_path.name)
    np.testing.assert_array_equal(found.image_times_s, [1305031102.175304, 1305031102.211214])
    assert [isinstance(image, EncodedImage) for image in found.images.select([0, 1])] == [True, True]


def test_tum_leaves_out_broken_lines_and_names_them(tmp_path):
    rows = write_tum(tmp_path)
    with (tmp_path / "groundtruth.txt").open("a") as file:
        file.write("1305031103.0 nan nan nan nan nan nan nan\n1305031103.1 1 2")
    with (tmp_path / "rgb.txt").open("a") as file:
        file.write("soon rgb/gone.png\n1305031102.3 rgb/gone.png\n1305031102.4\n")
    (found,) = read_tum(tmp_path)
    track = track_of(found)
    np.testing.assert_allclose(track.times_s, [*rows[:, 0], 1305031103.0])
    assert np.isnan(track.poses[3]).all() and np.isfinite(track.poses[:3]).all()
    assert isinstance(found, Recording) and found.faults == (
        f"{tmp_path / 'rgb.txt'}: 2 lines are not `timestamp filename`, the first is line 4",
        f"{tmp_path / 'groundtruth.txt'}: 1 of 5 rows are not 8 numbers: line 6",
    )
    *_, gone = found.images.select([0, 1, 2])
    assert isinstance(gone, BadImage) and "gone.png cannot be read" in gone.reason


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "rgb/../../secret.png", "rgb/link.png"])
def test_refuses_lists_that_lead_out_of_the_folder(tmp_path, name):
    write_tum(tmp_path / "desk")
    write_images(tmp_path, ["secret.png"])
    os.symlink(tmp_path / "secret.png", tmp_path / "desk" / "rgb" / "link.png")
    (tmp_path / "desk" / "rgb.txt").write_text(f"1.0 rgb/1305031102.175304.png\n2.0 {name}\n")
    (found,) = read_tum(tmp_path)
    assert isinstance(found, Skipped)
    assert f"rgb.txt, line 2: '{name}' leads out of" in found.reason


def test_other_names_and_axes_of_tums_form(tmp_path):
    write_tum(tmp_path)
    os.rename(tmp_path / "rgb.txt", tmp_path / "images.txt")
    (tmp_path / "odometry.txt").write_text("7 1 2 3 0 0 0 1\n")
    form = TumForm(images="images.txt", poses="odometry.txt", up=WorldUp.minus_y, forward=Forward.x)
    track = track_of(*read_tum(tmp_path, form=form))
    np.testing.assert_array_equal(track.poses, [[3, -1, -np.pi / 2]])
    (plain,) = read_tum(tmp_path, form=TumForm(images="images.txt", poses=None))
    assert isinstance(plain, Recording) and plain.track is None
    (tmp_path / "images.txt").write_text("# nothing\n")
    (empty,) = read_tum(tmp_path, form=form)
    assert isinstance(empty, Skipped) and "needs lines of `timestamp filename`" in empty.reason


def test_refuses_pose_files_of_another_form(tmp_path):
    (tmp_path / "poses.txt").write_text("1 2 3\n")
    with pytest.raises(ValueError, match=r"poses\.txt needs rows of 8 numbers; line 1"):
        read_tum_poses(tmp_path / "poses.txt", up=WorldUp.z, forward=Forward.x)
