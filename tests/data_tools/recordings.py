"""Recordings: small random drives for tests, whose frames may not be read."""

import numpy as np

from data_tools.pose import integrate
from data_tools.trajectory import FrameText, TextKind, Trajectory

STEP_S = 9 / 35
HELD_OUT_WORDS = "kindly proceed"


class UnreadFrames:
    """Frames that fail the test which reads one: documents are made without pictures."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index: int) -> np.ndarray:
        raise AssertionError(f"frame {index} was read")


def texts(num_frames: int) -> tuple[FrameText, ...]:
    """Texts of all kinds, half of the wordings held out."""
    middle, last = num_frames // 2, num_frames - 1
    found = []
    for held_out, words in ((False, "go on"), (True, HELD_OUT_WORDS)):
        found += [
            FrameText(frame=1, kind=TextKind.caption, text=f"a room; {words} 1.5 m", held_out=held_out),
            FrameText(frame=2, kind=TextKind.question, text=f"{words}?", answer="yes", held_out=held_out),
            FrameText(
                frame=middle,
                end_frame=last,
                kind=TextKind.instruction,
                text=f"{words} ahead",
                held_out=held_out,
            ),
            FrameText(
                frame=middle, end_frame=middle, kind=TextKind.instruction, text=f"{words}!", held_out=held_out
            ),
        ]
    return tuple(found)


def drive(num_frames: int, *, seed: int, with_poses: bool = True, with_texts: bool = True) -> Trajectory:
    """A random drive from an arbitrary pose."""
    rng = np.random.default_rng(seed)
    displacements = rng.normal(size=(num_frames, 3)) * [0.2, 0.05, 0.3]
    return Trajectory(
        name=f"drive{seed}",
        place="room",
        frames=UnreadFrames(num_frames),
        poses=integrate(displacements) if with_poses else None,
        times_s=np.arange(num_frames) * STEP_S,
        texts=texts(num_frames) if with_texts else (),
    )


def drives() -> list[Trajectory]:
    """Three drives, and one without poses and texts between them."""
    return [
        drive(53, seed=1),
        drive(23, seed=2, with_poses=False, with_texts=False),
        drive(31, seed=3),
        drive(7, seed=4),
    ]
