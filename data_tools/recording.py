"""Recording: what a source holds of one drive: images and poses, each at times of their own.

A reader of `data_tools.formats` makes recordings, `data_tools.convert` turns them into trajectories. Images
are read once, in order, and never all at once, so that a recording may be longer than memory.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

from data_tools.frames import Frames, decode_frame


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of a JPEG or PNG, as the source holds them: copied without loss, decoded to be looked at."""

    data: bytes = field(repr=False)
    name: str
    """What errors call it."""

    def decode(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return the image as RGB; ValueError if it is none that can be read."""
        return decode_frame(io.BytesIO(self.data), name=self.name)


@dataclass(frozen=True)
class BadImage:
    """An image that a source holds and that cannot be read, and why."""

    reason: str


SourceImage = UInt8[np.ndarray, "height width 3"] | EncodedImage | BadImage


@runtime_checkable
class ImageStream(Protocol):
    """The images of one recording, in order of their times."""

    def __len__(self) -> int: ...

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each; memory does not grow with their number.

        What cannot be read is yielded as a `BadImage`; the stream goes on behind it where it can.
        """
        ...


@dataclass(frozen=True)
class FrameStream:
    """Images that can be had in any order, as a stream."""

    frames: Frames

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each."""
        for index in indices:
            try:
                image = self.frames[index]
            except (ValueError, OSError) as error:
                yield BadImage(str(error))
            else:
                yield image


@dataclass(frozen=True)
class EncodedFiles:
    """JPEG and PNG files as a stream, their bytes as they are."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each."""
        for index in indices:
            path = self.paths[index]
            try:
                data = path.read_bytes()
            except OSError as error:
                yield BadImage(f"{path} cannot be read: {error.strerror or error}")
            else:
                yield EncodedImage(data, str(path))


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """Planar poses (x, y, yaw) [m, m, rad] at their own times [s], as measured: NaN and jumps included."""

    times_s: Float64[np.ndarray, " _"] = field(repr=False)
    poses: Float64[np.ndarray, "_ 3"] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.poses):
            raise ValueError(
                f"needed a time for each pose, got {len(self.times_s)} times and {len(self.poses)} poses"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One drive as a source holds it.

    `name` becomes the name of trajectories, `place` says where it was driven. Times of images [s] need not be
    even, nor increase: what is wrong with them is reported at conversion. `track` is None for plain video.
    """

    name: str
    place: str
    images: ImageStream = field(repr=False)
    image_times_s: Float64[np.ndarray, " image"] = field(repr=False)
    track: PoseTrack | None
    faults: tuple[str, ...] = ()
    """What the reader had to leave out, one sentence each: a bag that is cut off, unknown messages."""

    def __post_init__(self) -> None:
        if len(self.images) != len(self.image_times_s):
            raise ValueError(
                f"recording {self.name!r}: needed a time for each image, got {len(self.images)} images and "
                f"{len(self.image_times_s)} times"
            )
