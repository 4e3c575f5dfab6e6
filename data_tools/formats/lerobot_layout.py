"""The layout of LeRobot data sets, version 3.0: which files there are, and what meta/info.json says of them.

    <root>/meta/info.json                               rate, features, counts
           meta/stats.json                              statistics of each feature
           meta/tasks.parquet                           task texts and their numbers
           meta/episodes/chunk-000/file-000.parquet     a row an episode: where its rows and its images lie
           meta/worldnav.jsonl                          ours: name and place of each episode; others have none
           data/chunk-000/file-000.parquet              a row a frame, many episodes a file
           videos/<camera>/chunk-000/file-000.mp4       many episodes a file, one behind the other

Source: huggingface/lerobot 0.4.4 and 0.6.1, `lerobot/datasets/utils.py`; both write layout v3.0.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "v3.0"
INFO_FILE = "meta/info.json"
STATISTICS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
ORIGINS_FILE = "meta/worldnav.jsonl"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
"""What LeRobot writes before it begins another file [MiB]."""
TOLERANCE_S = 1e-4
"""How far a frame's time may be from that of its image [s]: LeRobot's default, beyond which it refuses."""

_MAX_INFO_BYTES = 16 * 2**20


@dataclass(frozen=True)
class FilePlace:
    """Which of the numbered files: chunk-000/file-000 and so on."""

    chunk: int = 0
    file: int = 0

    def next(self) -> "FilePlace":
        """Return the place behind this one."""
        if self.file + 1 < FILES_PER_CHUNK:
            return FilePlace(self.chunk, self.file + 1)
        return FilePlace(self.chunk + 1, 0)

    def data_path(self, root: Path) -> Path:
        """Return the file of rows at this place."""
        return root / DATA_PATH.format(chunk_index=self.chunk, file_index=self.file)

    def episodes_path(self, root: Path) -> Path:
        """Return the file of episodes at this place."""
        return root / EPISODES_PATH.format(chunk_index=self.chunk, file_index=self.file)

    def video_path(self, root: Path, camera: str) -> Path:
        """Return the film of a camera at this place."""
        return root / VIDEO_PATH.format(video_key=camera, chunk_index=self.chunk, file_index=self.file)


@dataclass(frozen=True)
class Feature:
    """One column of a data set: numbers, images in the rows (`image`) or in films (`video`)."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None
    """Of its numbers; None where info.json gives none, or not one for each."""
    is_depth: bool = False
    """Whether its images are depth maps, whose numbers are no colours."""

    @property
    def is_image(self) -> bool:
        """Whether it holds images of any kind."""
        return self.dtype in {"image", "video"}

    @property
    def is_camera(self) -> bool:
        """Whether it holds images in colour."""
        return self.is_image and not self.is_depth


@dataclass(frozen=True)
class Info:
    """What meta/info.json says and a reader needs."""

    fps: float
    features: dict[str, Feature]


def read_info(root: Path) -> Info:
    """Read meta/info.json; FileNotFoundError without it, ValueError for other versions and broken ones."""
    path = root / INFO_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; a LeRobot data set is a folder with meta, data and videos"
        )
    if path.stat().st_size > _MAX_INFO_BYTES:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes; a description has at most {_MAX_INFO_BYTES}"
        )
    try:
        content = json.loads(path.read_bytes())
        version = str(content["codebase_version"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} does not describe a data set: {type(error).__name__}: {error}") from error
    if not version.startswith("v3."):
        raise ValueError(
            f"{path}: needed layout {VERSION}, got {version}; older sets become it by LeRobot's own "
            "convert_dataset_v21_to_v30"
        )
    try:
        return _parse(content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} does not describe a data set: {type(error).__name__}: {error}") from error


def _parse(content: dict[str, Any]) -> Info:
    fps = float(content["fps"])
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, it is {fps}")
    # A format string of a stranger can ask for fields of objects and for billions of blanks.
    for name, needed in (("data_path", DATA_PATH), ("video_path", VIDEO_PATH)):
        if content.get(name) not in {None, needed}:
            raise ValueError(f"{name} must be {needed!r}, it is {repr(content[name])[:100]}")
    features = {key: _parse_feature(key, value) for key, value in content["features"].items()}
    return Info(fps, features)


def _parse_feature(key: str, content: dict[str, Any]) -> Feature:
    if any(mark in key for mark in "/\\\0") or key in {"", ".", ".."}:
        raise ValueError(f"the name of a feature is part of paths and cannot be {key!r}")
    shape = tuple(int(size) for size in content["shape"])
    names = content.get("names")
    if isinstance(names, dict):  # {"motors": [...]}: the names lie one deeper
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    if not isinstance(names, list) or len(names) != shape[0]:
        names = None
    about = content.get("info") or {}
    return Feature(
        dtype=str(content["dtype"]),
        shape=shape,
        names=None if names is None else tuple(map(str, names)),
        is_depth=bool(about.get("is_depth_map") or about.get("video.is_depth_map")),
    )
