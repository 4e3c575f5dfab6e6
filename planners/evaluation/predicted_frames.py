"""Predicted frames: folders of what any project imagined, against the true frames of recordings.

    <root>/manifest.jsonl               one object a line: {"window": "a", "trajectory": "name", "frame": 12}
    <root>/<window>/<number>.png        the frame that many steps, or seconds, after `frame`

`window` names a folder beside the manifest. Numbers may have decimals where they are seconds.
"""

import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_tools.frames import read_frame
from data_tools.trajectory import Trajectory
from planners.evaluation.planned_paths import whole_number
from planners.evaluation.records import Provenance
from planners.evaluation.score_rows import Truth

MANIFEST = "manifest.jsonl"
SUFFIXES = (".png", ".jpg")
COPIED = "copied"
"""Method that predicts the frame it started from: what standing still is to plans."""
BEST_PSNR_DB = 100.0
"""Of equal frames, whose ratio is infinite, and with it every mean."""
TIME_TOLERANCE = 0.25
"""Share of the usual time between frames by which a true frame may be off the asked time."""
MAX_MANIFEST_BYTES = 100_000_000


class FrameNames(enum.Enum):
    """What the numbers in file names count."""

    steps = "steps"
    seconds = "seconds"


class TruthSize(enum.Enum):
    """How a true frame comes to the size of the predicted one."""

    same = "same"
    """It must have that size."""
    resized = "resized"
    """Bicubic, its edges cut to the predicted one's proportions first."""
    nwm = "nwm"
    """As Navigation World Models prepares frames: edges cut to 4:3, then resized to the predicted size."""


@runtime_checkable
class FrameMetrics(Protocol):
    """What compares a predicted frame with the true one."""

    def measure(
        self, predicted: UInt8[np.ndarray, "height width 3"], true: UInt8[np.ndarray, "height width 3"]
    ) -> Mapping[str, float]:
        """Return metrics by name, the same names each time."""
        ...


class Psnr:
    """Peak signal-to-noise ratio over all pixels and channels [dB], higher is better."""

    def measure(
        self, predicted: UInt8[np.ndarray, "height width 3"], true: UInt8[np.ndarray, "height width 3"]
    ) -> Mapping[str, float]:
        """Return `psnr_db`."""
        error = float(((predicted.astype(np.float64) - true.astype(np.float64)) ** 2).mean())
        ratio = math.inf if error == 0 else 10 * math.log10(255.0**2 / error)
        return {"psnr_db": min(ratio, BEST_PSNR_DB)}


@dataclass(frozen=True, kw_only=True)
class FrameMetric:
    """One number of one frame."""

    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """One predicted frame, or the copied one beside it."""

    provenance: Provenance
    window: str
    split: str
    trajectory: str
    frame: int
    """Index of the frame that was predicted from."""
    method: str
    ahead_s: float
    num_steps: int
    metrics: tuple[FrameMetric, ...]


@dataclass(frozen=True)
class Wanted:
    """A line of the manifest."""

    window: str
    trajectory: str
    frame: int


@dataclass(frozen=True)
class FrameScores:
    """What a folder of predicted frames held."""

    rows: tuple[FrameRow, ...] = field(repr=False)
    faults: tuple[str, ...]
    """A sentence for everything that was not scored."""


def score_frames(
    root: Path,
    truth: Truth,
    provenance: Provenance,
    *,
    metrics: FrameMetrics,
    method: str,
    names: FrameNames = FrameNames.steps,
    truth_size: TruthSize = TruthSize.resized,
) -> FrameScores:
    """Score every frame of a folder that its manifest names, and go on past those that cannot be.

    Args:
        root: Folder with the manifest.
        truth: The recordings.
        provenance: What the rows share.
        metrics: What is measured.
        method: What predicted the frames.
        names: What the numbers in file names count.
        truth_size: How true frames come to the predicted size.

    Returns:
        Rows by window and number, each with the copied frame's behind it, and faults.
    """
    wanted, faults = read_manifest(root)
    rows: list[FrameRow] = []
    for each in wanted:
        trajectory = truth.trajectories.get(each.trajectory)
        if trajectory is None:
            reason = truth.unreadable.get(each.trajectory, "the truth has none of that name")
            faults.append(f"window {each.window}: trajectory {each.trajectory!r}: {reason}")
            continue
        files, bad = _frame_files(root / each.window)
        faults += bad
        blank = FrameRow(
            provenance=provenance,
            window=each.window,
            split=truth.data_set,
            trajectory=each.trajectory,
            frame=each.frame,
            method=method,
            ahead_s=0.0,
            num_steps=0,
            metrics=(),
        )
        for number, path in files:
            try:
                index = _true_index(trajectory, each.frame, number, names)
                rows += _rows_of(path, blank, trajectory, index, metrics, truth_size)
            except (ValueError, OSError) as error:
                faults.append(f"window {each.window}, {path.name}: {error}")
    return FrameScores(tuple(rows), tuple(faults))


def read_manifest(root: Path) -> tuple[list[Wanted], list[str]]:
    """Read which window is where in which recording; the second value names the lines that say nothing."""
    path = root / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it says of which trajectory and frame each window is")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"{path} has more than {MAX_MANIFEST_BYTES} bytes")
    wanted: dict[str, Wanted] = {}
    faults = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        found = _manifest_line(line)
        if found is None or found.window in wanted:
            faults.append(
                f"{MANIFEST}, line {number}: needed a window (the name of a folder beside it, each once), a "
                f"trajectory and a frame; got {line[:80].decode(errors='replace')!r}"
            )
        else:
            wanted[found.window] = found
    return list(wanted.values()), faults


def _manifest_line(line: bytes) -> Wanted | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    window, trajectory = content.get("window"), content.get("trajectory")
    frame = whole_number(content.get("frame"))
    if not isinstance(window, str) or not isinstance(trajectory, str) or frame is None:
        return None
    # One visible component: a window cannot lead out of the folder.
    if not window or window.startswith(".") or any(mark in window for mark in "/\\\0"):
        return None
    return Wanted(window, trajectory, frame)


def _frame_files(folder: Path) -> tuple[list[tuple[float, Path]], list[str]]:
    """Return the frames of a window by number, links left out: they could lead anywhere."""
    if not folder.is_dir() or folder.is_symlink():
        return [], [f"window {folder.name}: it has no folder of frames"]
    files, faults = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix not in SUFFIXES or path.is_symlink():
            continue
        try:
            number = float(path.stem)
        except ValueError:
            number = math.nan
        if math.isfinite(number) and number > 0:
            files.append((number, path))
        else:
            faults.append(f"window {folder.name}, {path.name}: its name is no number above 0")
    if not files:
        faults.append(f"window {folder.name}: it has no frames")
    return sorted(files), faults


def _true_index(trajectory: Trajectory, frame: int, number: float, names: FrameNames) -> int:
    last = trajectory.num_frames - 1
    if frame > last:
        raise ValueError(f"it starts at frame {frame}; the trajectory's last is {last}")
    if names is FrameNames.steps:
        if not number.is_integer():
            raise ValueError(
                f"{number:g} is no whole number of steps; are names seconds (frame_names=seconds)?"
            )
        if frame + number > last:
            raise ValueError(f"{number:g} steps after frame {frame} is outside; the last frame is {last}")
        return frame + int(number)
    times_s = trajectory.times_s
    index = int(np.abs(times_s - (times_s[frame] + number)).argmin())
    off_s = abs(float(times_s[index] - times_s[frame]) - number)
    allowed_s = TIME_TOLERANCE * float(np.median(np.diff(times_s))) if last else 0.0
    if index == frame or off_s > allowed_s:
        raise ValueError(
            f"no true frame is {number:g} s after frame {frame}; the nearest is {off_s:.3g} s off"
        )
    return index


def _rows_of(
    path: Path,
    blank: FrameRow,
    trajectory: Trajectory,
    index: int,
    metrics: FrameMetrics,
    truth_size: TruthSize,
) -> list[FrameRow]:
    predicted = read_frame(path)
    height, width = predicted.shape[:2]
    true, start = (
        _at_size(trajectory.frames[each], width=width, height=height, how=truth_size)
        for each in (index, blank.frame)
    )
    return [
        dataclasses.replace(
            blank,
            method=method,
            ahead_s=float(trajectory.times_s[index] - trajectory.times_s[blank.frame]),
            num_steps=index - blank.frame,
            metrics=_measured(metrics, frame, true),
        )
        for method, frame in ((blank.method, predicted), (COPIED, start))
    ]


def _measured(metrics: FrameMetrics, predicted: np.ndarray, true: np.ndarray) -> tuple[FrameMetric, ...]:
    found = metrics.measure(predicted, true)
    bad = [name for name, value in found.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"{', '.join(bad)} is not finite")
    return tuple(FrameMetric(name=name, value=value) for name, value in found.items())


def _at_size(
    frame: UInt8[np.ndarray, "height width 3"], *, width: int, height: int, how: TruthSize
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    own_height, own_width = frame.shape[:2]
    if how is TruthSize.same:
        if (own_height, own_width) != (height, width):
            raise ValueError(
                f"the predicted frame is {width} x {height}, the true one {own_width} x {own_height}; "
                "truth_size=resized or nwm brings them together"
            )
        return frame
    proportion = 4 / 3 if how is TruthSize.nwm else width / height
    kept_width = min(own_width, round(own_height * proportion))
    kept_height = min(own_height, round(own_width / proportion))
    left, top = (own_width - kept_width) // 2, (own_height - kept_height) // 2
    image = Image.fromarray(frame).crop((left, top, left + kept_width, top + kept_height))
    if image.size == (width, height):
        return np.array(image)
    return np.array(image.resize((width, height), Image.Resampling.BICUBIC))
