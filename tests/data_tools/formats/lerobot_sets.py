"""LeRobot sets for tests: short drives with smooth pictures that a film keeps, each unlike the others."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.pose import integrate
from data_tools.recording import ImageStream
from data_tools.trajectory import FrameText, TextKind, Trajectory

FPS = 35 / 9
SIZE = (36, 52)
MAX_ERROR = 6.0
"""Mean absolute difference that compression of these pictures stays below; those of others are above 30."""


def pictures(num_frames: int, *, seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Slow waves, and a red that says which frame it is."""
    y, x = np.mgrid[: size[0], : size[1]]
    frames = np.arange(num_frames)[:, None, None]
    red = np.broadcast_to((frames * 83 + seed * 41) % 256, (num_frames, *size))
    green = 128 + 100 * np.sin(x / 9 + frames * 2.1 + seed)
    blue = 128 + 100 * np.cos(y / 7 + frames * 1.3)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def drive(num_frames: int, *, seed: int, **changes: object) -> Trajectory:
    """A random drive at FPS with one instruction."""
    rng = np.random.default_rng(seed)
    fields: dict[str, object] = {
        "name": f"drive{seed}",
        "place": f"map{seed}",
        "frames": pictures(num_frames, seed=seed),
        "poses": integrate(rng.normal(size=(num_frames, 3)) * [0.2, 0.05, 0.3]) + np.array([3.0, -2.0, 0.0]),
        "times_s": 100.0 + np.arange(num_frames) / FPS,
        "texts": (
            FrameText(frame=1, end_frame=3, kind=TextKind.instruction, text=f"go {seed} m"),
            FrameText(frame=2, end_frame=4, kind=TextKind.instruction, text="turn"),
            FrameText(frame=0, end_frame=4, kind=TextKind.instruction, text="secret", held_out=True),
        ),
    }
    return Trajectory(**{**fields, **changes})  # type: ignore[arg-type]


def drives() -> list[Trajectory]:
    """Three drives of different lengths."""
    return [drive(7, seed=0), drive(5, seed=1), drive(11, seed=2)]


def all_images(stream: ImageStream) -> np.ndarray:
    """All images of a stream; fails if one is bad."""
    images = list(stream.select(range(len(stream))))
    assert all(isinstance(image, np.ndarray) for image in images), images
    return np.stack([image for image in images if isinstance(image, np.ndarray)])


def error_of(images: np.ndarray, truth: np.ndarray) -> float:
    """The largest mean absolute difference of a frame."""
    assert images.shape == truth.shape
    return float(np.abs(images.astype(float) - truth).mean(axis=(1, 2, 3)).max())


def edit_info(root: Path, **changes: Any) -> None:
    """Change fields of meta/info.json."""
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
