"""LeRobot data sets written: trajectories as episodes that `LeRobotDataset` opens, layout v3.0.

| feature | numbers |
| --- | --- |
| observation.images.front | the frame, in h264 films |
| observation.state | pose: x, y, yaw [m, m, rad] |
| action | displacement to the next frame: dx, dy, dyaw, dt [m, m, rad, s]; zeros at the last frame, dt too |
| timestamp, frame_index, episode_index, index, task_index | as LeRobot has them |

Plain video has neither state nor action. The task of a frame is the instruction that its motion belongs to,
else the one given for all; wordings that are held out are not written, since the layout cannot mark them.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.formats.lerobot_layout import (
    DATA_FILE_MB,
    DATA_PATH,
    FILES_PER_CHUNK,
    INFO_FILE,
    ORIGINS_FILE,
    STATISTICS_FILE,
    TASKS_FILE,
    TOLERANCE_S,
    VERSION,
    VIDEO_FILE_MB,
    VIDEO_PATH,
)
from data_tools.formats.lerobot_statistics import PixelCounts, describe_numbers
from data_tools.formats.lerobot_tables import EpisodeWriter, RowWriter, write_tasks
from data_tools.formats.lerobot_video import FilmWriter, Take
from data_tools.pose import displacement_between
from data_tools.trajectory import TextKind, Trajectory

CAMERA = "observation.images.front"
STATE_NAMES = ["x", "y", "yaw"]
ACTION_NAMES = ["dx", "dy", "dyaw", "dt"]
_MAX_DENOMINATOR = 10_000
_COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True)
class WrittenSet:
    """What was written."""

    root: Path
    num_episodes: int
    num_frames: int
    num_tasks: int


def write_lerobot(
    trajectories: Iterable[Trajectory],
    root: Path,
    *,
    fps: float,
    robot_type: str,
    task: str = "navigate",
) -> WrittenSet:
    """Write trajectories as a LeRobot data set; the folder appears whole or not at all.

    Poses are rounded to float32, frames compressed. Names and places of trajectories go to a file of ours.

    Args:
        trajectories: Read once, one at a time; all with poses or all without, frames of one size.
        root: The new data set.
        fps: Frames a second; each frame must be within 1e-4 s of its time at this rate.
        robot_type: What drove, for readers.
        task: Of frames that no instruction is about.

    Returns:
        What is in it.

    Raises:
        FileExistsError: If root exists.
        ValueError: For no trajectories, uneven times, mixed sizes, odd sizes, poses in some only.
    """
    if root.exists():
        raise FileExistsError(f"{root} exists; remove it first, or write to another folder")
    if not 1 / _MAX_DENOMINATOR <= fps <= _MAX_DENOMINATOR:
        raise ValueError(f"fps must be between {1 / _MAX_DENOMINATOR} and {_MAX_DENOMINATOR}, it is {fps}")
    remaining = iter(trajectories)
    first = next(remaining, None)
    if first is None:
        raise ValueError("a data set needs at least one trajectory; none came")
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.parent / f".{root.name}.{uuid.uuid4().hex}.partial"
    try:
        writer = _SetWriter(partial, first, fps=fps, robot_type=robot_type, task=task)
        with contextlib.closing(writer):
            for trajectory in chain([first], remaining):
                writer.add(trajectory)
        written = writer.write_descriptions()
        os.rename(partial, root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return WrittenSet(root, *written)


def frame_tasks(trajectory: Trajectory, *, otherwise: str) -> list[str]:
    """Return the task of each frame: the first instruction whose motion begins there or goes on there."""
    tasks = [otherwise] * trajectory.num_frames
    for text in reversed(trajectory.texts):
        if text.kind is TextKind.instruction and not text.held_out:
            assert text.end_frame is not None
            end = max(text.end_frame, text.frame + 1)
            tasks[text.frame : end] = [text.text] * (end - text.frame)
    return tasks


class _SetWriter:
    """Episodes to rows, films and descriptions; what all must share is taken from the first."""

    def __init__(self, root: Path, first: Trajectory, *, fps: float, robot_type: str, task: str) -> None:
        height, width, _ = first.frames[0].shape
        self._root, self._robot_type, self._task = root, robot_type, task
        self._rate = Fraction(fps).limit_denominator(_MAX_DENOMINATOR)
        self._size, self._has_poses = (height, width), first.poses is not None
        self._films = FilmWriter(root, CAMERA, fps=self._rate, size=self._size)
        self._rows = RowWriter(root)
        self._episodes = EpisodeWriter(root)
        self._pixels = PixelCounts()
        self._tasks: dict[str, int] = {}
        self._origins: list[str] = []
        self._num_frames = 0

    def add(self, trajectory: Trajectory) -> None:
        """Write one trajectory as the next episode."""
        self._check(trajectory)
        tasks = frame_tasks(trajectory, otherwise=self._task)
        columns = self._columns(trajectory, tasks)
        place = self._rows.add(columns)
        take, pixels = self._film(trajectory)
        statistics = {key: describe_numbers(_as_table(column)) for key, column in columns.items()}
        statistics[CAMERA] = pixels.describe()
        self._pixels.add_all(pixels)
        episode = len(self._origins)
        self._episodes.add(
            {
                "episode_index": episode,
                "tasks": list(dict.fromkeys(tasks)),
                "length": trajectory.num_frames,
                "data/chunk_index": place.chunk,
                "data/file_index": place.file,
                "dataset_from_index": self._num_frames,
                "dataset_to_index": self._num_frames + trajectory.num_frames,
                f"videos/{CAMERA}/chunk_index": take.place.chunk,
                f"videos/{CAMERA}/file_index": take.place.file,
                f"videos/{CAMERA}/from_timestamp": take.from_s,
                f"videos/{CAMERA}/to_timestamp": take.to_s,
            }
            | {
                f"stats/{key}/{name}": value
                for key, described in statistics.items()
                for name, value in described.to_json().items()
            }
        )
        self._num_frames += trajectory.num_frames
        origin = {"episode_index": episode, "name": trajectory.name, "place": trajectory.place}
        self._origins.append(json.dumps(origin, ensure_ascii=False))

    def close(self) -> None:
        """End all files of rows and films."""
        self._films.close()
        self._rows.close()
        self._episodes.close()

    def write_descriptions(self) -> tuple[int, int, int]:
        """Write what is said of the whole set, and return the numbers of episodes, frames and tasks."""
        num_episodes, num_tasks = len(self._origins), len(self._tasks)
        write_tasks(self._root / TASKS_FILE, list(self._tasks))
        (self._root / ORIGINS_FILE).write_text("\n".join(self._origins) + "\n", encoding="utf-8")
        # Column by column, so that no more than one feature of the whole set is in memory.
        statistics = {
            key: describe_numbers(_as_table(self._rows.read_back(key))).to_json()
            for key in self._features()
            if key != CAMERA
        }
        statistics[CAMERA] = self._pixels.describe().to_json()
        info = {
            "codebase_version": VERSION,
            "robot_type": self._robot_type,
            "total_episodes": num_episodes,
            "total_frames": self._num_frames,
            "total_tasks": num_tasks,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": self._fps,
            "splits": {"train": f"0:{num_episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": self._features(),
        }
        for name, content in ((STATISTICS_FILE, statistics), (INFO_FILE, info)):
            text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
            (self._root / name).write_text(text, encoding="utf-8")
        return num_episodes, self._num_frames, num_tasks

    @property
    def _fps(self) -> int | float:
        return self._rate.numerator if self._rate.denominator == 1 else float(self._rate)

    def _features(self) -> dict[str, Any]:
        height, width = self._size
        features: dict[str, Any] = {
            CAMERA: {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": "h264",
                    "video.pix_fmt": "yuv420p",
                    "video.is_depth_map": False,
                    "video.fps": self._fps,
                    "video.channels": 3,
                    "has_audio": False,
                },
            }
        }
        if self._has_poses:
            for key, names in (("observation.state", STATE_NAMES), ("action", ACTION_NAMES)):
                features[key] = {"dtype": "float32", "shape": [len(names)], "names": names}
        return features | {
            key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in _COUNTERS.items()
        }

    def _check(self, trajectory: Trajectory) -> None:
        if (trajectory.poses is not None) != self._has_poses:
            raise ValueError(
                f"trajectory {trajectory.name!r} has {'no poses' if trajectory.poses is None else 'poses'}, "
                "the first is otherwise; write those with and without poses to two data sets"
            )
        even_s = np.arange(trajectory.num_frames) / float(self._rate)
        apart_s = np.abs(trajectory.times_s - trajectory.times_s[0] - even_s)
        if not apart_s.max() < TOLERANCE_S:
            frame = int(np.argmax(apart_s >= TOLERANCE_S))
            raise ValueError(
                f"trajectory {trajectory.name!r}: at {float(self._rate):g} frames a second, frame {frame} is "
                f"{apart_s[frame]:.4f} s from its time, LeRobot allows {TOLERANCE_S}; give the rate that it "
                "has, or convert it with a fixed period first"
            )

    def _columns(self, trajectory: Trajectory, tasks: list[str]) -> dict[str, np.ndarray]:
        frames = np.arange(trajectory.num_frames)
        columns: dict[str, np.ndarray] = {}
        if trajectory.poses is not None:
            columns["observation.state"] = trajectory.poses.astype(np.float32)
            columns["action"] = _actions(trajectory.poses, period_s=float(1 / self._rate))
        return columns | {
            "timestamp": (frames / float(self._rate)).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(len(frames), len(self._origins)),
            "index": frames + self._num_frames,
            "task_index": np.array([self._tasks.setdefault(task, len(self._tasks)) for task in tasks]),
        }

    def _film(self, trajectory: Trajectory) -> tuple[Take, PixelCounts]:
        take = self._films.begin_episode(trajectory.num_frames)
        pixels = PixelCounts()
        for index in range(trajectory.num_frames):
            frame = trajectory.frames[index]
            if frame.shape != (*self._size, 3):
                raise ValueError(
                    f"trajectory {trajectory.name!r}: frame {index} is {list(frame.shape)}, the first of the "
                    f"set {[*self._size, 3]}; a set has frames of one size: scale them, or write two sets"
                )
            self._films.add(frame, is_first=index == 0)
            pixels.add(frame)
        return take, pixels


def _actions(poses: np.ndarray, *, period_s: float) -> np.ndarray:
    """Return the displacement to the next frame and its time; zeros where there is no next."""
    actions = np.zeros((len(poses), 4), dtype=np.float32)
    actions[:-1, :3] = displacement_between(poses[:-1], poses[1:])
    actions[:-1, 3] = period_s
    return actions


def _as_table(column: np.ndarray) -> np.ndarray:
    return column.reshape(len(column), -1)
