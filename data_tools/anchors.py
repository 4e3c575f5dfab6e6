"""Anchors: the frames at which a document may stand, over all trajectories that can make one."""

from collections.abc import Sequence

import numpy as np

from data_tools.documents import FrameKey, Image
from data_tools.trajectory import Trajectory


class Anchors:
    """All frames that have `room` frames after them, equally likely, of trajectories with poses.

    A trajectory of at least two frames that is too short for that gives its first frame only.
    """

    def __init__(self, trajectories: Sequence[Trajectory], *, room: int) -> None:
        counts = [
            0
            if trajectory.num_frames < 2 or trajectory.poses is None
            else max(trajectory.num_frames - room, 1)
            for trajectory in trajectories
        ]
        if sum(counts) == 0:
            raise ValueError(
                f"none of {len(trajectories)} trajectories has two frames and poses; name other data"
            )
        self._ends = np.cumsum(counts, dtype=np.int64)

    @property
    def num_anchors(self) -> int:
        """Number of frames to choose from."""
        return int(self._ends[-1])

    def draw(self, *, rng: np.random.Generator) -> FrameKey:
        """Choose one."""
        return self[int(rng.integers(self.num_anchors))]

    def __getitem__(self, number: int) -> FrameKey:
        trajectory = int(np.searchsorted(self._ends, number, side="right"))
        before = int(self._ends[trajectory - 1]) if trajectory else 0
        return FrameKey(trajectory, number - before)


def context_images(anchor: FrameKey, num_frames: int) -> tuple[Image, ...]:
    """Return the frames that lead up to the anchor, itself the last; fewer where its trajectory begins."""
    first = max(anchor.frame - num_frames + 1, 0)
    return tuple(
        Image(FrameKey(anchor.trajectory, frame), is_target=False) for frame in range(first, anchor.frame + 1)
    )
