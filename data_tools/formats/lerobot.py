"""LeRobot data sets read, layout v3.0: a recording an episode.

Images come from one camera, out of films or out of the rows. Poses come from one feature, of which names in
info.json say what its numbers are; a set without one is plain video. Tasks are not read: a recording has no
place for texts.

Source: huggingface/lerobot 0.4.4 and 0.6.1, `lerobot/datasets`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_tools.formats.lerobot_layout import ORIGINS_FILE, TOLERANCE_S, FilePlace, Info, read_info
from data_tools.formats.lerobot_tables import ImageColumn, RowReader
from data_tools.formats.lerobot_video import FilmSpan, import_av
from data_tools.planar import Forward, WorldUp, planar_poses, quaternion_matrices
from data_tools.recording import ImageStream, PoseTrack, Recording
from data_tools.trajectory import Skipped

_STATE = "observation.state"
_PLANAR_NAMES = ("x", "y", "yaw")
_EPISODES_PER_READ = 256


@dataclass(frozen=True, kw_only=True)
class LeRobotKeys:
    """Which features are images and poses."""

    camera: str | None = None
    """None takes the first of observation.images.*, or observation.image; depth maps are none."""
    pose: str | None = None
    """Feature with 3 numbers (x, y, yaw) [m, m, rad] or 7 (position, quaternion x y z w) [m].

    None takes observation.state if its names are x, y, yaw, and no poses otherwise.
    """
    pose_names: list[str] = field(default_factory=list)
    """Which of its numbers, in that order, by their names in info.json, or by number (0, 1, ...) where they
    have none; empty takes all."""
    up: WorldUp = WorldUp.z
    """The world's vertical, for 7 numbers."""
    forward: Forward = Forward.x
    """The axis that looks ahead, for 7 numbers."""


def read_lerobot(root: Path, *, keys: LeRobotKeys) -> Iterator[Recording | Skipped]:
    """Yield a recording an episode; episodes that cannot be read are skipped and named.

    Times are those of the rows [s], exact multiples of the frame period where they are meant to be. Images
    are read when asked for.

    Args:
        root: Folder of the data set, with meta, data and videos.
        keys: What is image and what is pose.

    Returns:
        Recordings named after the folder and the episode; those that this package wrote have their own names.

    Raises:
        FileNotFoundError: Without meta/info.json or episodes.
        ValueError: For other versions of the layout, and for features that are not there or do not fit.
        ImportError: If the images are films and PyAV is missing.
    """
    info = read_info(root)
    source = _choose(info, keys, root)
    if source.is_film:
        import_av()
    paths = sorted(root.glob("meta/episodes/chunk-*/file-*.parquet"), key=_file_numbers)
    if not paths:
        raise FileNotFoundError(
            f"{root} has no meta/episodes/chunk-000/file-000.parquet; get the whole data set"
        )
    return _read_all(root, source, paths)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is read of each episode."""

    fps: float
    camera: str
    is_film: bool
    pose: str | None
    pose_numbers: tuple[int, ...]
    up: WorldUp
    forward: Forward


@dataclass(frozen=True)
class _Episode:
    """What meta/episodes says of one."""

    index: int
    length: int
    data: FilePlace
    film: FilePlace
    film_from_s: float


def _choose(info: Info, keys: LeRobotKeys, root: Path) -> _Source:
    cameras = [key for key, feature in info.features.items() if feature.is_camera]
    camera = keys.camera
    if camera is None:
        camera = next((key for key in cameras if key.startswith("observation.image")), None)
    if camera not in cameras:
        raise ValueError(
            f"{root}: needed a camera, {'none is called so' if camera is None else f'{camera!r} is none'}; "
            f"choose `camera` from {cameras}"
        )
    assert camera is not None
    pose = keys.pose
    if pose is None and _STATE in info.features and info.features[_STATE].names == _PLANAR_NAMES:
        pose = _STATE
    return _Source(
        fps=info.fps,
        camera=camera,
        is_film=info.features[camera].dtype == "video",
        pose=pose,
        pose_numbers=() if pose is None else _pose_numbers(info, pose, keys, root),
        up=keys.up,
        forward=keys.forward,
    )


def _pose_numbers(info: Info, pose: str, keys: LeRobotKeys, root: Path) -> tuple[int, ...]:
    """Return which numbers of a feature are the pose."""
    feature = info.features.get(pose)
    if feature is None or len(feature.shape) != 1 or feature.is_image:
        known = [key for key, each in info.features.items() if len(each.shape) == 1 and not each.is_image]
        raise ValueError(f"{root}: {pose!r} is no feature of some numbers; choose `pose` from {known}")
    names = feature.names or tuple(map(str, range(feature.shape[0])))
    unknown = [name for name in keys.pose_names if name not in names]
    if unknown:
        raise ValueError(
            f"{root}: {pose} has no number {unknown[0]!r}; choose `pose_names` from {list(names)}"
        )
    numbers = tuple(names.index(name) for name in keys.pose_names or names)
    if len(numbers) not in {3, 7}:
        raise ValueError(
            f"{root}: a pose has 3 numbers (x, y, yaw) or 7 (position, quaternion x y z w), {pose} gives "
            f"{len(numbers)}; choose them with `pose_names` from {list(names)}"
        )
    return numbers


def _read_all(root: Path, source: _Source, paths: list[Path]) -> Iterator[Recording | Skipped]:
    import pyarrow as pa  # noqa: PLC0415 - readers of other formats need no Parquet

    origins = _read_origins(root)
    rows = RowReader(root)
    for path in paths:
        try:
            for episode in _read_episodes(path, source):
                yield _read_or_skip(root, source, rows, episode, origins)
        except (ValueError, OSError, KeyError, TypeError, pa.ArrowException) as error:
            yield Skipped(path, f"its episodes from here on cannot be read: {type(error).__name__}: {error}")


def _read_or_skip(
    root: Path, source: _Source, rows: RowReader, episode: _Episode, origins: dict[int, tuple[str, str]]
) -> Recording | Skipped:
    import pyarrow as pa  # noqa: PLC0415

    name, place = origins.get(episode.index, (f"{root.name}_episode_{episode.index:06d}", root.name))
    try:
        return _read_episode(root, source, rows, episode, name=name, place=place)
    except (ValueError, OSError, OverflowError, pa.ArrowException) as error:
        return Skipped(episode.data.data_path(root), f"episode {episode.index}: {error}")


def _read_episode(
    root: Path, source: _Source, rows: RowReader, episode: _Episode, *, name: str, place: str
) -> Recording:
    keys = ["timestamp", "frame_index", *([] if source.pose is None else [source.pose])]
    columns = rows.columns(episode.data, episode.index, keys)
    times_s = _times(columns["timestamp"], columns["frame_index"], source.fps)
    images: ImageStream
    if source.is_film:
        path = episode.film.video_path(root, source.camera)
        if not path.is_file():
            raise FileNotFoundError(f"its film {path} is missing")
        if not np.isfinite(episode.film_from_s):
            raise ValueError(f"its film begins at {episode.film_from_s} s")
        images = FilmSpan(path, episode.film_from_s + times_s)
    else:
        images = ImageColumn(
            root=root,
            path=episode.data.data_path(root),
            key=source.camera,
            episode=episode.index,
            groups=tuple(rows.groups(episode.data, episode.index)),
            num_images=len(times_s),
        )
    track = None
    if source.pose is not None:
        track = PoseTrack(times_s, _poses(columns[source.pose], source))
    num_rows = len(times_s)
    faults = (
        ()
        if num_rows == episode.length
        else (f"{episode.length} frames are announced, {num_rows} are there",)
    )
    return Recording(name=name, place=place, images=images, image_times_s=times_s, track=track, faults=faults)


def _times(timestamps: np.ndarray, frame_indices: np.ndarray, fps: float) -> Float64[np.ndarray, " frame"]:
    """Return times [s] without the rounding to float32 that the layout asks for, where they are regular."""
    if timestamps.ndim != 1 or frame_indices.ndim != 1:
        raise ValueError("timestamp and frame_index must be one number a frame")
    if not np.isfinite(timestamps).all():
        raise ValueError("its timestamps are not all finite")
    if not (np.diff(frame_indices) > 0).all():
        raise ValueError("its rows are not in the order of frame_index")
    regular_s = frame_indices / fps
    is_regular = np.abs(timestamps - regular_s) < TOLERANCE_S
    return regular_s if is_regular.all() else timestamps.astype(np.float64)


def _poses(values: np.ndarray, source: _Source) -> Float64[np.ndarray, "frame 3"]:
    if values.ndim != 2 or values.shape[1] <= max(source.pose_numbers):
        raise ValueError(f"{source.pose} has {values.shape[1:]} numbers a frame, fewer than info.json says")
    numbers = values[:, list(source.pose_numbers)].astype(np.float64)
    if numbers.shape[1] == 3:
        return numbers
    rotations = quaternion_matrices(numbers[:, 3:])
    return planar_poses(numbers[:, :3], rotations, up=source.up, forward=source.forward)


def _read_episodes(path: Path, source: _Source) -> Iterator[_Episode]:
    """Yield the episodes of a file in its order, without their statistics."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    film = f"videos/{source.camera}/"
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    if source.is_film:
        columns += [film + "chunk_index", film + "file_index", film + "from_timestamp"]
    with pq.ParquetFile(path) as file:
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if missing:
            raise ValueError(f"{path} has no column {missing[0]!r}")
        for batch in file.iter_batches(_EPISODES_PER_READ, columns=columns):
            for row in batch.to_pylist():
                yield _parse_episode(row, film if source.is_film else None)


def _parse_episode(row: dict[str, Any], film: str | None) -> _Episode:
    data = FilePlace(int(row["data/chunk_index"]), int(row["data/file_index"]))
    if film is None:
        return _Episode(int(row["episode_index"]), int(row["length"]), data, FilePlace(), 0.0)
    place = FilePlace(int(row[film + "chunk_index"]), int(row[film + "file_index"]))
    from_s = float(row[film + "from_timestamp"])
    return _Episode(int(row["episode_index"]), int(row["length"]), data, place, from_s)


def _read_origins(root: Path) -> dict[int, tuple[str, str]]:
    """Return names and places of episodes that this package wrote; of others, nothing."""
    path = root / ORIGINS_FILE
    if not path.is_file():
        return {}
    origins = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        try:
            content = json.loads(line)
            origins[int(content["episode_index"])] = (str(content["name"]), str(content["place"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}: not an episode's name and place; remove the file to number them"
            ) from error
    return origins


def _file_numbers(path: Path) -> tuple[int, str, int, str]:
    """Sort file-1000 behind file-999."""
    return len(path.parent.name), path.parent.name, len(path.name), path.name
