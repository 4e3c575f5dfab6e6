"""Video files, with poses beside them or without.

    drive.mp4                    .mp4 .mkv .avi .webm .mov
    drive.csv                    poses, if there are any: a header that names t (or time_s), x, y and yaw
    drive.tum  or  drive.txt     the same in TUM's form: timestamp tx ty tz qx qy qz qw, no header

Times are seconds, and in a pose file by default those since the first frame of the video; x, y in metres and
yaw in radians.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.formats.pose_table import read_tum_poses
from data_tools.number_table import read_columns
from data_tools.planar import Forward, WorldUp
from data_tools.recording import PoseTrack, Recording
from data_tools.trajectory import Skipped
from data_tools.video_streams import Backend, open_video

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
_COLUMNS = (("t", "time_s"), ("x", "x_m"), ("y", "y_m"), ("yaw", "yaw_rad"))


@dataclass(frozen=True, kw_only=True)
class VideoForm:
    """How videos are read, and what their pose files mean."""

    backend: Backend | None = None
    """None: decord where it is installed and reads the file right, else PyAV."""
    has_poses: bool = True
    """False leaves files beside the videos alone: plain video."""
    first_frame_s: float = 0.0
    """What the clock of the pose files shows at the first frame [s]."""
    up: WorldUp = WorldUp.z
    forward: Forward = Forward.z
    """Axes of poses in TUM's form; its own poses are those of the camera."""


VIDEO = VideoForm()


def read_videos(
    path: Path, *, form: VideoForm = VIDEO, place: str | None = None
) -> Iterator[Recording | Skipped]:
    """Open one video, or all below a folder in the order of their paths.

    Args:
        path: A video file, or a folder.
        form: How they are read.
        place: Where they were filmed; None: the name of the folder.

    Yields:
        A recording for each file, its frames to be decoded in order, without a track if there is no pose file
        beside it; or why there is none.
    """
    root = path if path.is_dir() else path.parent
    files = sorted(
        found
        for found in (root.rglob("*") if path.is_dir() else [path])
        if found.suffix.lower() in SUFFIXES and found.is_file() and not found.name.startswith(".")
    )
    if not files:
        raise FileNotFoundError(f"needed a video ({', '.join(SUFFIXES)}) or a folder of them, got {path}")
    for file in files:
        name = "_".join(file.relative_to(root).with_suffix("").parts)
        try:
            yield _open_recording(file, name, place or root.resolve().name, form)
        except (ValueError, OSError) as error:
            yield Skipped(file, str(error))


def _open_recording(path: Path, name: str, place: str, form: VideoForm) -> Recording:
    track, faults = _read_track(path, form) if form.has_poses else (None, ())
    video = open_video(path, backend=form.backend)
    return Recording(
        name=name,
        place=place,
        images=video,
        image_times_s=form.first_frame_s + video.times_s,
        track=track,
        faults=faults,
    )


def _read_track(video: Path, form: VideoForm) -> tuple[PoseTrack | None, tuple[str, ...]]:
    beside = [video.with_suffix(suffix) for suffix in (".csv", ".tum", ".txt")]
    found = [path for path in beside if path.is_file()]
    if not found:
        return None, ()
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{video} has {len(found)} pose files beside it ({names}); leave one")
    if found[0].suffix != ".csv":
        return read_tum_poses(found[0], up=form.up, forward=form.forward)
    table = read_columns(found[0], names=_COLUMNS)
    rows = table.rows[np.isfinite(table.rows[:, 0])]
    return PoseTrack(rows[:, 0].copy(), rows[:, 1:].copy()), table.faults
