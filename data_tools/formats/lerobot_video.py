"""Films that many episodes share: one episode's images out of an mp4, and episodes into mp4s."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from data_tools.formats.lerobot_layout import TOLERANCE_S, VIDEO_FILE_MB, FilePlace
from data_tools.frames import MAX_PIXELS
from data_tools.recording import BadImage, SourceImage

MAX_FILE_S = 1000.0
"""Longest film of several episodes [s].

LeRobot compares times in float32: from 1024 s on, neighbouring numbers are more than its tolerance apart. An
episode that is longer has a film of its own, where both times are rounded alike.
"""
_ENCODER = "libx264"
# Two frames a key frame, as LeRobot has it: training reads single frames in any order. No frames that are
# shown in another order than stored, so that times begin at 0. 18 is called visually lossless.
_ENCODER_OPTIONS = {"crf": "18", "g": "2", "bf": "0", "preset": "veryfast"}


def import_av() -> ModuleType:
    """Return PyAV, or say how it is installed."""
    try:
        import av  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("films of LeRobot data sets need PyAV: pip install 'worldnav[video]'") from error
    return av


@dataclass(frozen=True)
class FilmSpan:
    """Images of one episode, an `ImageStream`: those that a film shows at given times [s].

    Images are decoded in one pass from the key frame before the first. A time at which the film has none
    within LeRobot's tolerance, or a damaged one, gives a `BadImage`.
    """

    path: Path
    times_s: Float64[np.ndarray, " _"] = field(repr=False)

    def __len__(self) -> int:
        return len(self.times_s)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each."""
        times_s = [float(self.times_s[index]) for index in indices]
        reason = "the film ends before"
        images = _images(self.path, times_s) if times_s else iter(())
        num_given = 0
        try:
            for image in images:
                num_given += 1
                yield image
        except (OSError, ValueError) as error:  # `_decode` makes PyAV's own the latter
            reason = f"it cannot be read: {error}"
        for time_s in times_s[num_given:]:
            yield BadImage(f"{self.path}, image at {time_s:.4f} s: {reason}")


def _images(path: Path, times_s: Sequence[float]) -> Iterator[SourceImage]:
    """Yield what a film shows at increasing times, as far as it can be decoded."""
    position = 0
    for shown_s, frame in _decode(path, from_s=times_s[0]):
        while position < len(times_s) and times_s[position] < shown_s - TOLERANCE_S:
            yield BadImage(f"{path}, image at {times_s[position]:.4f} s: none within {TOLERANCE_S} s")
            position += 1
        while position < len(times_s) and abs(times_s[position] - shown_s) <= TOLERANCE_S:
            yield _to_image(frame, path)
            position += 1
        if position == len(times_s):
            return


def _decode(path: Path, *, from_s: float) -> Iterator[tuple[float, Any]]:
    """Yield times [s] and frames of a film, from the key frame at or before a time on."""
    av = import_av()
    try:
        # The container is named: probing would let a text that is called .mp4 send the reader to other files.
        with av.open(str(path.absolute()), format="mp4") as container:
            if not container.streams.video:
                raise ValueError("it holds no video")
            stream = container.streams.video[0]
            # Else FFmpeg paints over what is damaged, and says nothing.
            stream.codec_context.options = {"err_detect": "explode"}
            # Half a frame early, so that rounding cannot seek beyond the first.
            container.seek(max(0, int(from_s / stream.time_base) - 1), stream=stream)
            for packet in container.demux(stream):
                yield from _frames_of(packet, stream.time_base, av)
    except (av.FFmpegError, OverflowError) as error:  # the latter for times that no film has
        raise ValueError(str(error)) from error


def _frames_of(packet: Any, time_base: Fraction, av: ModuleType) -> Iterator[tuple[float, Any]]:
    try:
        frames = packet.decode()
    except av.FFmpegError:  # its images will be missing; the film goes on behind it
        return
    for frame in frames:
        if frame.pts is not None and not frame.is_corrupt:
            yield float(frame.pts * time_base), frame


def _to_image(frame: Any, path: Path) -> SourceImage:
    if frame.width * frame.height > MAX_PIXELS:
        return BadImage(f"{path} has {frame.width} x {frame.height} pixels, more than {MAX_PIXELS}")
    return frame.to_ndarray(format="rgb24")


@dataclass(frozen=True)
class Take:
    """Where a film holds an episode: which file, and from when to when in it [s]."""

    place: FilePlace
    from_s: float
    to_s: float


class FilmWriter:
    """Writes episodes one behind the other into the films of one camera, at a fixed rate.

    Args:
        root: The data set.
        camera: The feature whose films they are.
        fps: Images a second.
        size: Height and width of every image; both even, since colour has half the resolution (yuv420p).

    Raises:
        ImportError: Without PyAV.
        ValueError: For odd sizes.
    """

    def __init__(self, root: Path, camera: str, *, fps: Fraction, size: tuple[int, int]) -> None:
        if size[0] % 2 or size[1] % 2:
            raise ValueError(
                f"films need images of even height and width, got {size[0]} x {size[1]}; crop or scale them "
                "first"
            )
        self._av = import_av()
        self._root, self._camera, self._fps, self._size = root, camera, fps, size
        self._place = FilePlace()
        self._container: Any = None
        self._stream: Any = None
        self._num_shown = 0
        self._num_bytes = 0

    def begin_episode(self, num_frames: int) -> Take:
        """Go to another file if this one would become too long, and return where the episode will be."""
        if self._container is not None and self._is_full(num_frames):
            self.close()
            self._place = self._place.next()
        if self._container is None:
            self._open()
        from_s = float(self._num_shown / self._fps)
        return Take(self._place, from_s, float((self._num_shown + num_frames) / self._fps))

    def add(self, image: UInt8[np.ndarray, "height width 3"], *, is_first: bool) -> None:
        """Encode the next image of the episode; its first is a key frame."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._num_shown, 1 / self._fps
        if is_first:
            frame.pict_type = self._av.video.frame.PictureType.I
        self._mux(self._stream.encode(frame))
        self._num_shown += 1

    def _is_full(self, num_frames: int) -> bool:
        is_long = (self._num_shown + num_frames) / self._fps > MAX_FILE_S
        return is_long or self._num_bytes >= VIDEO_FILE_MB * 2**20

    def _open(self) -> None:
        path = self._place.video_path(self._root, self._camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream = self._container.add_stream(_ENCODER, rate=self._fps, options=dict(_ENCODER_OPTIONS))
        self._stream.pix_fmt = "yuv420p"
        self._stream.height, self._stream.width = self._size
        self._num_shown, self._num_bytes = 0, 0

    def close(self) -> None:
        """End the file that is open."""
        if self._container is None:
            return
        with self._container:
            self._mux(self._stream.encode(None))
        self._container = None

    def _mux(self, packets: Sequence[Any]) -> None:
        self._num_bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)
