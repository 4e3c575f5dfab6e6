"""Stretches: parts of trajectories, cut out as trajectories of their own."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from data_tools.frames import FrameFiles, Frames
from data_tools.trajectory import FrameText, Trajectory


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `stop - 1` of a trajectory."""

    source: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the trajectory that it is cut out as."""
        return f"{self.source}_{self.start}_{self.stop}"


@dataclass(frozen=True)
class _FrameRange:
    """Some neighbouring frames of others, read when asked for."""

    frames: Frames
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "height width 3"]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self.frames[self.start + index % len(self)]


def cut(trajectory: Trajectory, stretch: Stretch) -> Trajectory:
    """Return a stretch as a trajectory, with the texts that are about it alone; times stay as they are."""
    start, stop = stretch.start, stretch.stop
    if stretch.source != trajectory.name or not 0 <= start < stop <= trajectory.num_frames:
        raise ValueError(
            f"cannot cut frames {start} to {stop - 1} of {stretch.source!r} out of {trajectory.name!r}, "
            f"which has {trajectory.num_frames} frames"
        )
    frames = trajectory.frames
    inside = [text for text in trajectory.texts if start <= text.frame and _last_frame(text) < stop]
    return Trajectory(
        name=stretch.name,
        place=trajectory.place,
        # Files stay files: they are copied byte for byte.
        frames=FrameFiles(frames.paths[start:stop])
        if isinstance(frames, FrameFiles)
        else _FrameRange(frames, start, stop),
        poses=None if trajectory.poses is None else trajectory.poses[start:stop],
        times_s=trajectory.times_s[start:stop],
        texts=tuple(_moved(text, start) for text in inside),
    )


def runs(source: str, is_inside: list[bool]) -> list[Stretch]:
    """Return the longest stretches whose frames are all inside."""
    padded = np.concatenate([[False], is_inside, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [Stretch(source, start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def _last_frame(text: FrameText) -> int:
    return text.frame if text.end_frame is None else text.end_frame


def _moved(text: FrameText, start: int) -> FrameText:
    end_frame = None if text.end_frame is None else text.end_frame - start
    return replace(text, frame=text.frame - start, end_frame=end_frame)
