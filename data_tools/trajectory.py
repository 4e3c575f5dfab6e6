"""Trajectory: the frames, poses and times of one recording, and its folder on disk.

The folder is the one of Navigation World Models, with two files of ours beside it:

    <root>/<name>/0.jpg 1.jpg ...   frames
                  traj_data.pkl     position [frame, 2] (m), yaw [frame] (rad), float64; plain video has none
                  info.json         place, times (s); absent in folders that others wrote
                  texts.jsonl       captions, questions and instructions, one a line; absent if there are none
"""

import enum
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_tools.frames import FrameFiles, Frames, read_frame, write_frames
from data_tools.pose_file import POSE_FILE, read_poses, write_poses

FORMAT_VERSION = 1
_PARTIAL = ".partial"
_INFO_TYPES: dict[str, tuple[type, ...]] = {
    "format_version": (int,),
    "place": (str,),
    "has_poses": (bool,),
    "times_s": (list,),
    "num_texts": (int,),
}
_TEXT_TYPES: dict[str, tuple[type, ...]] = {
    "frame": (int,),
    "end_frame": (int, NoneType),
    "kind": (str,),
    "text": (str,),
    "answer": (str, NoneType),
    "held_out": (bool,),
}
_BAD_JSON = (ValueError, TypeError, KeyError, RecursionError, OverflowError)
"""What reading a file that is no JSON, or not the JSON that is needed, can raise."""


class TextKind(enum.Enum):
    """What a text says about its frame."""

    caption = "caption"
    question = "question"
    instruction = "instruction"


@dataclass(frozen=True, kw_only=True)
class FrameText:
    """A text about a frame, or about the motion from `frame` to `end_frame` (instructions)."""

    frame: int
    end_frame: int | None = None
    kind: TextKind
    text: str
    answer: str | None = None
    held_out: bool = False
    """Whether the wording is kept from training, to test language that the model has never seen."""

    def __post_init__(self) -> None:
        if (self.kind is TextKind.question) != (self.answer is not None):
            raise ValueError(
                f"a question has an answer, and nothing else has; {self.text!r} is a {self.kind.name}"
            )
        if (self.kind is TextKind.instruction) != (self.end_frame is not None):
            raise ValueError(
                f"an instruction has an end_frame, and nothing else has; {self.text!r} is a {self.kind.name}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """One recording; checked when constructed, its frames read when asked for.

    `place` is the level or scene. Poses are None for video without actions; times [s] increase strictly.
    """

    name: str
    place: str
    frames: Frames = field(repr=False)
    poses: Float64[np.ndarray, "frame 3"] | None = field(repr=False)
    times_s: Float64[np.ndarray, " frame"] = field(repr=False)
    texts: tuple[FrameText, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.frames) == 0:
            raise ValueError(f"trajectory {self.name!r} has no frames")
        _check_numbers(self.name, "times_s", self.times_s, (len(self.frames),))
        if not (np.diff(self.times_s) > 0).all():
            first = int(np.argmin(np.diff(self.times_s) > 0))
            raise ValueError(
                f"trajectory {self.name!r}: times must increase; they do not after frame {first}"
            )
        if self.poses is not None:
            _check_numbers(self.name, "poses", self.poses, (len(self.frames), 3))
        for text in self.texts:
            end = text.frame if text.end_frame is None else text.end_frame
            if not 0 <= text.frame <= end < len(self.frames):
                raise ValueError(
                    f"trajectory {self.name!r} has {len(self.frames)} frames; the text {text.text!r} is "
                    f"about frames {text.frame} to {end}"
                )

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def step_lengths_m(self) -> Float64[np.ndarray, " step"]:
        """Distance between neighbouring positions [m], one fewer than frames; ValueError without poses."""
        if self.poses is None:
            raise ValueError(f"trajectory {self.name!r} has no poses: it is plain video")
        return np.linalg.norm(np.diff(self.poses[:, :2], axis=0), axis=-1)

    @property
    def spacing_m(self) -> float:
        """Mean step length [m], the unit of NWM's scores; ValueError for fewer than two frames."""
        if self.num_frames < 2:
            raise ValueError(f"trajectory {self.name!r} has one frame; spacing needs two")
        return float(self.step_lengths_m.mean())


@dataclass(frozen=True)
class Skipped:
    """A folder that was not read, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class ReadReport:
    """What a folder of trajectories held: those that are whole, by name, and those that are not."""

    trajectories: tuple[Trajectory, ...]
    skipped: tuple[Skipped, ...]

    @property
    def num_skipped(self) -> int:
        """Number of folders that were not read."""
        return len(self.skipped)


def write_trajectory(trajectory: Trajectory, root: Path) -> Path:
    """Write a trajectory to `<root>/<name>` and return that folder.

    The folder appears whole or not at all: it is written beside its place under a hidden name, and renamed.
    Frames that come from JPEG files are copied byte for byte, others encoded at quality 95; poses and times
    are exact. FileExistsError if the name is taken.
    """
    folder = root / trajectory.name
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it first, or give the trajectory another name")
    root.mkdir(parents=True, exist_ok=True)
    partial = root / f".{trajectory.name}.{uuid.uuid4().hex}{_PARTIAL}"
    partial.mkdir()
    try:
        _write_files(trajectory, partial)
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def read_trajectory(folder: Path, *, period_s: float | None = None, check_frames: bool = False) -> Trajectory:
    """Open a trajectory folder, ours or one in the layout of NWM.

    Poses and times are read and checked now, frames are only counted, and read when asked for; `check_frames`
    reads each of them now. `period_s` is the time between frames [s] of folders without info.json; None
    refuses these. ValueError or FileNotFoundError says what is missing, does not agree or cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; a trajectory is a folder with 0.jpg, 1.jpg, ...")
    info = _read_info(folder)
    poses = _read_poses(folder, info)
    if info is not None:
        times_s = np.array(info.times_s, dtype=np.float64)
    elif period_s is not None:
        assert poses is not None
        times_s = np.arange(len(poses)) * period_s
    else:
        raise ValueError(
            f"{folder} has no info.json with times; if others wrote it, say the time between its frames with "
            "period_s, as `data_tools.formats.nwm.read_nwm` does"
        )
    if poses is not None and len(poses) != len(times_s):
        raise ValueError(f"{folder}: lengths disagree: {len(times_s)} times, {len(poses)} poses")
    frames = _find_frames(folder, num_frames=len(times_s))
    texts = _read_texts(folder)
    if info is not None and len(texts) != info.num_texts:
        raise ValueError(f"{folder}: info.json counts {info.num_texts} texts, texts.jsonl has {len(texts)}")
    if check_frames:
        for path in frames.paths:
            read_frame(path)
    return Trajectory(
        name=folder.absolute().name,
        place=folder.resolve().parent.name if info is None else info.place,
        frames=frames,
        poses=poses,
        times_s=times_s,
        texts=texts,
    )


def read_trajectories(root: Path, *, period_s: float | None = None, check_frames: bool = False) -> ReadReport:
    """Open every trajectory folder in `root`, sorted by name; the rest is listed as skipped, with reasons."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; it should hold one folder a trajectory")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    unfinished = tuple(
        Skipped(folder, "unfinished: still being written, or its recorder was stopped")
        for folder in folders
        if folder.name.startswith(".") and folder.name.endswith(_PARTIAL)
    )
    visible = [folder for folder in folders if not folder.name.startswith(".")]
    report = read_folders(visible, period_s=period_s, check_frames=check_frames)
    return ReadReport(report.trajectories, unfinished + report.skipped)


def read_folders(
    folders: Iterable[Path], *, period_s: float | None = None, check_frames: bool = False
) -> ReadReport:
    """Open trajectory folders, in their order, as `read_trajectory` does; list those that it refuses."""
    trajectories, skipped = [], []
    for folder in folders:
        try:
            trajectories.append(read_trajectory(folder, period_s=period_s, check_frames=check_frames))
        except (ValueError, OSError) as error:
            skipped.append(Skipped(folder, str(error)))
    return ReadReport(tuple(trajectories), tuple(skipped))


@dataclass(frozen=True)
class _Info:
    place: str
    has_poses: bool
    times_s: list[float]
    num_texts: int


def _write_files(trajectory: Trajectory, folder: Path) -> None:
    write_frames(trajectory.frames, folder)
    if trajectory.poses is not None:
        write_poses(trajectory.poses, folder)
    if trajectory.texts:
        lines = [json.dumps({**asdict(text), "kind": text.kind.name}) for text in trajectory.texts]
        (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # JSON holds the shortest decimal that reads back as the same double, so times stay exact.
    info = {
        "format_version": FORMAT_VERSION,
        "place": trajectory.place,
        "has_poses": trajectory.poses is not None,
        "times_s": trajectory.times_s.tolist(),
        "num_texts": len(trajectory.texts),
    }
    (folder / "info.json").write_text(json.dumps(info, allow_nan=False), encoding="utf-8")


def _read_info(folder: Path) -> _Info | None:
    """Read our description of a folder; None for folders in the layout of NWM that others wrote."""
    path = folder / "info.json"
    if not path.exists():
        if (folder / "texts.jsonl").exists():
            raise ValueError(
                f"{path} is missing and texts.jsonl is there: a recording that lost its place and times; "
                "get it whole again, or remove it"
            )
        return None
    try:
        content = _check_types(json.loads(path.read_bytes()), _INFO_TYPES)
        if content["format_version"] == FORMAT_VERSION:
            return _Info(
                place=content["place"],
                has_poses=content["has_poses"],
                times_s=[float(time_s) for time_s in content["times_s"]],
                num_texts=content["num_texts"],
            )
    except _BAD_JSON as error:
        raise ValueError(
            f"{path} is not a description of a trajectory: {type(error).__name__}: {error}"
        ) from error
    raise ValueError(
        f"{path} is not of format version {FORMAT_VERSION}; it says {content['format_version']!r}"
    )


def _read_poses(folder: Path, info: _Info | None) -> Float64[np.ndarray, "frame 3"] | None:
    if info is None or info.has_poses:
        return read_poses(folder)
    if (folder / POSE_FILE).exists():
        raise ValueError(
            f"{folder}: info.json says that it has no poses, and {POSE_FILE} is there; remove one"
        )
    return None


def _read_texts(folder: Path) -> tuple[FrameText, ...]:
    path = folder / "texts.jsonl"
    if not path.exists():
        return ()
    texts = []
    for number, line in enumerate(path.read_bytes().rstrip(b"\n").split(b"\n"), start=1):
        try:
            fields = _check_types(json.loads(line), _TEXT_TYPES)
            texts.append(FrameText(**{**fields, "kind": TextKind[fields["kind"]]}))
        except _BAD_JSON as error:
            raise ValueError(
                f"{path}, line {number}: not a text about a frame: {type(error).__name__}: {error}"
            ) from error
    return tuple(texts)


def _check_types(content: Any, types: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return a JSON object; TypeError unless its fields are of exactly these types (true is no number)."""
    if not isinstance(content, dict):
        raise TypeError(f"it is no object with fields but {type(content).__name__}")
    for name, value in content.items():
        if name in types and type(value) not in types[name]:
            needed = " or ".join(kind.__name__ for kind in types[name])
            raise TypeError(f"{name} must be {needed}, it is {repr(value)[:50]}")
    return content


def _find_frames(folder: Path, *, num_frames: int) -> FrameFiles:
    """Return `0.jpg` to `<num_frames - 1>.jpg`, all of them there and not empty, and none beyond."""
    present = {entry.name for entry in os.scandir(folder) if entry.is_file() and entry.stat().st_size > 0}
    missing = [index for index in range(num_frames) if f"{index}.jpg" not in present]
    if missing or num_frames == 0:
        raise FileNotFoundError(
            f"{folder} needs frames 0.jpg to {num_frames - 1}.jpg; {len(missing)} are missing or empty, "
            f"the first is {missing[0] if missing else 0}.jpg"
        )
    extra = sum(name.endswith(".jpg") and name[:-4].isdecimal() for name in present) - num_frames
    if extra > 0:
        raise ValueError(
            f"{folder}: lengths disagree: {num_frames + extra} frames, {num_frames} poses or times"
        )
    return FrameFiles(tuple(folder / f"{index}.jpg" for index in range(num_frames)))


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or len(name.encode()) > 200 or any(mark in name for mark in "/\\\0"):
        raise ValueError(
            f"a trajectory's name is the name of its folder: one visible path component, not {name!r}"
        )


def _check_numbers(name: str, what: str, numbers: np.ndarray, shape: tuple[int, ...]) -> None:
    if numbers.shape != shape or numbers.dtype != np.float64:
        raise ValueError(
            f"trajectory {name!r}: {what} must be float64 {list(shape)} to agree with its frames; "
            f"lengths disagree or the type does: {numbers.dtype} {list(numbers.shape)}"
        )
    if not np.isfinite(numbers).all():
        first = int(np.argwhere(~np.isfinite(numbers))[0, 0])
        raise ValueError(f"trajectory {name!r}: {what} must be finite; frame {first} is {numbers[first]}")
