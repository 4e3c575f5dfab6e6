"""Pose tables: folders of images with a text file of six-degree poses, in the forms of KITTI and of TUM.

KITTI's form has one row a frame and no times in it; TUM's has a time in each row and a list of images with
times of their own. Many other sets are shipped in one of the two, with other names and other axes: both are
settings. Poses are those of the body (mostly the camera) in the world, never the inverse.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from data_tools.number_table import NumberTable, read_lines, read_numbers
from data_tools.planar import Forward, WorldUp, planar_poses, quaternion_matrices
from data_tools.recording import BadImage, EncodedImage, PoseTrack, Recording, SourceImage
from data_tools.trajectory import Skipped

MAX_IMAGE_BYTES = 100_000_000
"""Largest image file that is read."""
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_MAX_SKEW = 0.02
"""How far rows of a rotation may be from unit length and right angles: text rounds them to a few digits."""


@dataclass(frozen=True, kw_only=True)
class KittiForm:
    """What a recording of one pose a row consists of: paths relative to its folder, and its axes."""

    poses: str | None = "poses.txt"
    """Rows of 12 numbers (3x4 matrix by rows) or 16 (4x4), or 7 (x y z qx qy qz qw) or 13 (velocities follow,
    which are not read), as text or as `.npy`. None: there are none, it is plain video."""
    pose_times: str | None = None
    """Times of the poses [s], one a row; None: there is one pose for each image, at the same time."""
    images: str = "image_2"
    """The folder of images, in the order of the numbers in their names."""
    image_times: str | None = "times.txt"
    """Times of the images [s], one a row."""
    period_s: float | None = None
    """Time between images [s] where no file holds their times."""
    up: WorldUp = WorldUp.minus_y
    forward: Forward = Forward.z

    def __post_init__(self) -> None:
        if (self.image_times is None) == (self.period_s is None):
            raise ValueError(
                f"needed either image_times or period_s, got {self.image_times!r} and {self.period_s}"
            )


KITTI = KittiForm()
"""KITTI odometry; a sequence without `poses.txt` has `../../poses/<sequence>.txt`, as KITTI is shipped."""
TARTAN_DRIVE = KittiForm(
    poses="gps_odom/odometry.npy",
    pose_times="gps_odom/timestamps.txt",
    images="image_left_color",
    image_times="image_left_color/timestamps.txt",
    up=WorldUp.z,
    forward=Forward.x,
)
"""TartanDrive 2.0 in what its downloader calls the KITTI form (`assets/files.yaml` of the public code)."""
TARTAN_AIR = KittiForm(
    poses="pose_left.txt",
    images="image_left",
    image_times=None,
    period_s=0.1,  # tartanair.org/modalities: 10 Hz
    up=WorldUp.minus_z,
    forward=Forward.x,
)
"""TartanAir: x y z qx qy qz qw in north-east-down, the camera looking along x."""


@dataclass(frozen=True, kw_only=True)
class TumForm:
    """What a recording with a time in each row consists of: paths relative to its folder, and its axes."""

    images: str = "rgb.txt"
    """The list of images: `timestamp filename` a line."""
    poses: str | None = "groundtruth.txt"
    """`timestamp tx ty tz qx qy qz qw` a line; None: there are none, it is plain video."""
    up: WorldUp = WorldUp.z
    forward: Forward = Forward.z  # poses are those of the camera


TUM = TumForm()
"""TUM RGB-D."""


def read_kitti(
    path: Path, *, form: KittiForm = KITTI, place: str | None = None
) -> Iterator[Recording | Skipped]:
    """Open one recording, or all below a folder in the order of their paths.

    Args:
        path: The folder of a recording, which holds `form.images`, or one above.
        form: Names and axes.
        place: Where it was driven; None: the name of `path`, or of the folder above if `path` is a recording.

    Yields:
        A recording for each folder with images, its poses read; or why there is none.
    """
    for found in _find(
        path, lambda folder: (folder / form.images).is_dir(), f"a folder {form.images}/", place
    ):
        try:
            yield _open_kitti(found, form)
        except (ValueError, OSError) as error:
            yield Skipped(found.folder, str(error))


def read_tum(path: Path, *, form: TumForm = TUM, place: str | None = None) -> Iterator[Recording | Skipped]:
    """Open one recording, or all below a folder, as `read_kitti` does; what holds `form.images` is one."""
    for found in _find(path, lambda folder: (folder / form.images).is_file(), f"a list {form.images}", place):
        try:
            yield _open_tum(found, form)
        except (ValueError, OSError) as error:
            yield Skipped(found.folder, str(error))


def read_tum_poses(path: Path, *, up: WorldUp, forward: Forward) -> tuple[PoseTrack, tuple[str, ...]]:
    """Read a file of `timestamp tx ty tz qx qy qz qw` rows, and sentences about rows that are left out."""
    table = read_numbers(path, widths=(8,))
    rows = table.rows[np.isfinite(table.rows[:, 0])]
    positions, rotations, faults = _transforms(NumberTable(rows[:, 1:], ()), path)
    poses = planar_poses(positions, rotations, up=up, forward=forward)
    return PoseTrack(rows[:, 0].copy(), poses), table.faults + faults


@dataclass(frozen=True)
class ImageFiles:
    """Images in files, passed on as they are."""

    paths: tuple[Path, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each."""
        for index in indices:
            yield _read_image(self.paths[index])


@dataclass(frozen=True)
class _Found:
    folder: Path
    name: str
    place: str


def _find(
    path: Path, is_recording: Callable[[Path], bool], needed: str, place: str | None
) -> Iterator[_Found]:
    if is_recording(path):
        folder = path.resolve()
        yield _Found(path, folder.name, place or folder.parent.name)
        return
    folders = []
    for folder, names, _ in os.walk(path):
        names.sort()
        if is_recording(Path(folder)):
            folders.append(Path(folder))
            names.clear()  # what lies in a recording is a part of it
    if not folders:
        raise FileNotFoundError(f"needed recordings with {needed} at or below {path}, found none")
    for folder in folders:
        yield _Found(folder, "_".join(folder.relative_to(path).parts), place or path.resolve().name)


def _open_kitti(found: _Found, form: KittiForm) -> Recording:
    paths = _image_files(found.folder / form.images)
    if form.image_times is None:
        assert form.period_s is not None
        image_times_s = np.arange(len(paths)) * form.period_s
    else:
        image_times_s = _read_times(found.folder / form.image_times)
    if len(paths) != len(image_times_s):
        raise ValueError(
            f"{found.folder}: lengths disagree: {len(paths)} images in {form.images}, "
            f"{len(image_times_s)} times in {form.image_times}"
        )
    track, faults = None, ()
    if form.poses is not None:
        track, faults = _read_kitti_track(found.folder, form.poses, form, image_times_s)
    return Recording(
        name=found.name,
        place=found.place,
        images=ImageFiles(paths),
        image_times_s=image_times_s,
        track=track,
        faults=faults,
    )


def _read_kitti_track(
    folder: Path, poses: str, form: KittiForm, image_times_s: Float64[np.ndarray, " _"]
) -> tuple[PoseTrack, tuple[str, ...]]:
    path = folder / poses
    official = folder.resolve().parent.parent / "poses" / f"{folder.resolve().name}.txt"
    if not path.exists() and official.exists():
        path = official
    table = read_numbers(path, widths=(12, 16, 7, 13))
    times_s = image_times_s if form.pose_times is None else _read_times(folder / form.pose_times)
    if len(times_s) != len(table.rows):
        what = "images" if form.pose_times is None else f"times in {form.pose_times}"
        raise ValueError(f"{path}: lengths disagree: {len(table.rows)} poses, {len(times_s)} {what}")
    positions, rotations, faults = _transforms(table, path)
    planar = planar_poses(positions, rotations, up=form.up, forward=form.forward)
    return PoseTrack(times_s, planar), table.faults + faults


def _transforms(
    table: NumberTable, path: Path
) -> tuple[Float64[np.ndarray, "_ 3"], Float64[np.ndarray, "_ 3 3"], tuple[str, ...]]:
    """Return positions, rotations and faults of rows of any width; what is no pose becomes NaN."""
    is_matrix = table.rows.shape[1] in (12, 16)
    rows = table.rows[:, : 12 if is_matrix else 7].copy()
    rows[~np.isfinite(rows).all(axis=1)] = (
        np.nan
    )  # infinite numbers are some writers' mark of what is missing
    if not is_matrix:
        return rows[:, :3], quaternion_matrices(rows[:, 3:]), ()
    matrices = rows.reshape(-1, 3, 4)
    positions, rotations = matrices[:, :, 3].copy(), matrices[:, :, :3].copy()
    is_skewed = ~np.isnan(rows[:, 0])
    is_skewed[is_skewed] = ~_are_rotations(rotations[is_skewed])
    if not is_skewed.any():
        return positions, rotations, ()
    positions[is_skewed], rotations[is_skewed] = np.nan, np.nan
    first = int(np.argmax(is_skewed))
    complaint = f"{is_skewed.sum()} of {len(rows)} rows hold no rotation, the first is row {first + 1}"
    if np.isnan(positions).all():
        raise ValueError(f"{path}: {complaint}; a row is the 3x4 or 4x4 matrix of a rigid body, row by row")
    return positions, rotations, (f"{path}: {complaint}",)


def _are_rotations(matrices: Float64[np.ndarray, "_ 3 3"]) -> np.ndarray:
    skew = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0.0)
    return (skew < _MAX_SKEW) & (np.linalg.det(matrices) > 0)


def _read_times(path: Path) -> Float64[np.ndarray, " _"]:
    table = read_numbers(path, widths=(1,))
    if table.faults:
        raise ValueError(f"{table.faults[0]}; without its time an image cannot be placed")
    return table.rows[:, 0].copy()


def _image_files(folder: Path) -> tuple[Path, ...]:
    paths = [path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES]
    visible = [path for path in paths if not path.name.startswith(".")]
    if not visible:
        raise FileNotFoundError(f"{folder} holds no images; needed files that end in {_IMAGE_SUFFIXES}")
    return tuple(sorted(visible, key=_by_number))


def _by_number(path: Path) -> list[tuple[int, str]]:
    # 2.png stands before 10.png, and 000002.png where it did.
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


def _read_image(path: Path) -> SourceImage:
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_IMAGE_BYTES:
            return BadImage(f"{path} has {size} bytes; an image has 1 to {MAX_IMAGE_BYTES}")
        return EncodedImage(path.read_bytes(), str(path))
    except OSError as error:
        return BadImage(f"{path} cannot be read: {error}")


def _open_tum(found: _Found, form: TumForm) -> Recording:
    times_s, paths, faults = _read_image_list(found.folder, found.folder / form.images)
    track = None
    if form.poses is not None:
        poses = found.folder / form.poses
        track, pose_faults = read_tum_poses(poses, up=form.up, forward=form.forward)
        faults += pose_faults
    return Recording(
        name=found.name,
        place=found.place,
        images=ImageFiles(paths),
        image_times_s=times_s,
        track=track,
        faults=faults,
    )


def _read_image_list(
    folder: Path, listing: Path
) -> tuple[Float64[np.ndarray, " _"], tuple[Path, ...], tuple[str, ...]]:
    times_s, paths, bad_lines = [], [], []
    for number, line in read_lines(listing):
        words = line.split(maxsplit=1)
        if len(words) != 2 or not _is_number(words[0]):
            bad_lines.append(number)
            continue
        times_s.append(float(words[0]))
        paths.append(_inside(folder, words[1], f"{listing}, line {number}"))
    if not paths:
        raise ValueError(f"{listing} needs lines of `timestamp filename`; it holds none")
    faults = ()
    if bad_lines:
        what = f"{len(bad_lines)} lines are not `timestamp filename`"
        faults = (f"{listing}: {what}, the first is line {bad_lines[0]}",)
    return np.array(times_s), tuple(paths), faults


def _inside(folder: Path, name: str, where: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: {name!r} leads out of {folder}, which is refused")
    return path


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
