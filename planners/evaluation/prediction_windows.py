"""Window: a frame of a recording after which a model is asked what follows, and the true motion from there.

Motion is told in metres and radians, in the robot frame of the pose that it starts at, straight from the two
poses: numbers that were normalised by an interval that is not symmetric cannot be added, and differences in
the axes of the first frame are no motion of a robot that has turned (both in the public code of NWM).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from jaxtyping import Int64

from data_tools.action_text import format_actions
from data_tools.pose import displacement_between
from data_tools.randomness import numpy_generator_for
from data_tools.trajectory import Trajectory

TOLERANCE = 0.6
"""How far a frame may be from the asked time, in periods of its recording: half of one, and some jitter."""


class Kind(Enum):
    """What is asked at a window."""

    time = "time"
    """The frame at each horizon, in one jump."""

    rollout = "rollout"
    """The same frames, step by step along the true motion."""

    faithfulness = "faithfulness"
    """Whether imagined frames show the motion that was commanded."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A question: the recording, and the last frame that the model sees."""

    kind: Kind
    trajectory: Trajectory = field(repr=False)
    frame: int

    @property
    def name(self) -> str:
        """What its random streams and its rows are named after."""
        return f"{self.kind.name}/{self.trajectory.name}/{self.frame}"


def frames_ahead(trajectory: Trajectory, ahead_s: float) -> Int64[np.ndarray, " frame"]:
    """Return for each frame the one nearest to `ahead_s` later [s]; -1 where the recording has none there."""
    times_s = trajectory.times_s
    if len(times_s) < 2:
        return np.full(len(times_s), -1, dtype=np.int64)
    wanted_s = times_s + ahead_s
    after = np.searchsorted(times_s, wanted_s).clip(1, len(times_s) - 1)
    is_earlier = wanted_s - times_s[after - 1] <= times_s[after] - wanted_s
    nearest = after - is_earlier
    off_s = np.abs(times_s[nearest] - wanted_s)
    is_there = (off_s <= TOLERANCE * np.median(np.diff(times_s))) & (nearest > np.arange(len(times_s)))
    return np.where(is_there, nearest, -1).astype(np.int64)


def frame_at(window: Window, ahead_s: float) -> int | None:
    """Return the frame that is `ahead_s` later than a window's [s]; None if there is none."""
    found = int(frames_ahead(window.trajectory, ahead_s)[window.frame])
    return None if found < 0 else found


def step_frames(window: Window, *, horizon_s: float, rate_hz: float) -> list[int]:
    """Return the frames of a rollout up to a horizon, the window's own left out.

    They are those nearest to every `1 / rate_hz` seconds; a recording slower than that gives each frame once.
    """
    asked = (frame_at(window, step / rate_hz) for step in range(1, round(horizon_s * rate_hz) + 1))
    return sorted({frame for frame in asked if frame is not None})


def motion_texts(trajectory: Trajectory, frames: Sequence[int]) -> list[str]:
    """Return the motion from each of these frames to the next as action text.

    Of two frames that is one jump. ValueError if a motion cannot be written.
    """
    assert trajectory.poses is not None
    starts, ends = np.array(frames[:-1], dtype=np.int64), np.array(frames[1:], dtype=np.int64)
    actions = np.empty((len(starts), 4), dtype=np.float64)
    actions[:, :3] = displacement_between(trajectory.poses[starts], trajectory.poses[ends])
    actions[:, 3] = trajectory.times_s[ends] - trajectory.times_s[starts]
    return format_actions(actions)


def cut_windows(
    trajectories: Sequence[Trajectory],
    *,
    kind: Kind,
    num_windows: int,
    num_context: int,
    horizons_s: Sequence[float],
    seed: int,
) -> list[Window]:
    """Draw windows evenly over trajectories, no frame twice; more windows leave the first as they are.

    Within a trajectory frames are drawn at random, among those with room for the longest horizon if there
    are any, else for the next; nothing else is filtered.

    Args:
        trajectories: Recordings with poses; those without are passed over.
        kind: What is asked.
        num_windows: How many; fewer where the recordings have no more.
        num_context: Frames that the model sees, the window's own included.
        horizons_s: Of what is asked [s].
        seed: What the draw depends on, besides the names of the trajectories.

    Returns:
        Windows in the order drawn: one a trajectory, then the second of each, and so on.

    Raises:
        ValueError: If two trajectories share a name, or none has a window.
    """
    names = [trajectory.name for trajectory in trajectories]
    if len(set(names)) < len(names):
        shared = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"needed trajectories of different names, got {shared!r} twice; rename its folder")
    order = numpy_generator_for(seed, f"windows/{kind.name}").permutation(sorted(names)).tolist()
    by_name = dict(zip(names, trajectories, strict=True))
    drawn = [_drawn_frames(by_name[name], kind, num_context, horizons_s, seed) for name in order]
    found = [
        Window(kind=kind, trajectory=by_name[name], frame=frames[turn])
        for turn in range(max(map(len, drawn), default=0))
        for name, frames in zip(order, drawn, strict=True)
        if turn < len(frames)
    ]
    if not found:
        raise ValueError(
            f"none of {len(trajectories)} recordings has poses, {num_context} frames of context and a frame "
            f"{min(horizons_s)} s later; name longer ones, or lower the horizons"
        )
    return found[:num_windows]


def _drawn_frames(
    trajectory: Trajectory, kind: Kind, num_context: int, horizons_s: Sequence[float], seed: int
) -> list[int]:
    rng = numpy_generator_for(seed, f"windows/{kind.name}/{trajectory.name}")
    for eligible in _eligible_frames(trajectory, num_context, horizons_s):
        if len(eligible):
            return rng.permutation(eligible).tolist()
    return []


def _eligible_frames(
    trajectory: Trajectory, num_context: int, horizons_s: Sequence[float]
) -> Iterator[Int64[np.ndarray, " _"]]:
    """Yield the frames with room for the longest horizon, then those for the next, and so on."""
    for horizon_s in sorted(horizons_s, reverse=True) if trajectory.poses is not None else ():
        frames = np.flatnonzero(frames_ahead(trajectory, horizon_s) >= 0).astype(np.int64)
        yield frames[frames >= num_context - 1]
