"""Video streams: the frames of a video file in order, decoded by PyAV or by decord.

Times are the file's own presentation stamps [s], counted from its first frame, never frame number over rate.
Frames are decoded one after the other; a frame that is far ahead is reached from the key frame before it.

PyAV is exact: it knows which packet a frame comes from, so frames stay at their times behind damage. decord
counts frames instead. It misplaces them in files with an edit list, turns frames of rotated videos into noise
and invents times for AVI without stamps; such files are recognised when they are opened, and read by PyAV.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int64

from data_tools.frames import MAX_PIXELS
from data_tools.recording import BadImage, ImageStream, SourceImage

if TYPE_CHECKING:
    import av
    import av.container

MAX_VIDEO_FRAMES = 20_000_000
"""Longest video that is read: a week at 30 frames a second."""
_MIN_SKIP = 16
"""From how many frames on a jump to a key frame is cheaper than decoding what lies between."""
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_INSTALL = "pip install 'worldnav[video]'"


class Backend(Enum):
    """The library that decodes."""

    decord = "decord"
    pyav = "pyav"


@runtime_checkable
class VideoStream(ImageStream, Protocol):
    """An `ImageStream` with the times of its images."""

    @property
    def times_s(self) -> Float64[np.ndarray, " frame"]:
        """Times of the frames since the first [s]."""
        ...


def open_video(path: Path, *, backend: Backend | None = None) -> VideoStream:
    """Open a video file; its times are read now, its frames when asked for.

    `backend` None takes decord where it is installed and reads the file right, else PyAV. ValueError says why
    a file is no video or cannot be read, ImportError what to install.
    """
    match backend:
        case Backend.pyav:
            return PyavVideo.open(path)
        case Backend.decord:
            return DecordVideo.open(path)
        case None:
            if not _is_installed("decord"):
                return PyavVideo.open(path)
    try:
        return DecordVideo.open(path)
    except ValueError:
        if not _is_installed("av"):
            raise
        return PyavVideo.open(path)


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """When the frames of a video are shown, and in which order they are decoded."""

    stamps: Int64[np.ndarray, " frame"] = field(repr=False)
    """Presentation times in ticks of the file, increasing."""
    decoding: Int64[np.ndarray, " frame"] = field(repr=False)
    """The same in decoding order."""
    is_key: Bool[np.ndarray, " frame"] = field(repr=False)
    """In decoding order: whether decoding can begin there."""
    tick_s: float
    are_stamps_told: bool
    """False where frames come without stamps and can only be counted: AVI with frames out of order."""

    def key_frames(self) -> Int64[np.ndarray, " key"]:
        """Return the frames at which decoding can begin, increasing."""
        return np.searchsorted(self.stamps, np.sort(self.decoding[self.is_key])).astype(np.int64)

    def spoilt_by(self, stamp: int) -> set[int]:
        """Return the frames that need the one at `stamp`: those up to the next key frame, as decoded."""
        first = int(np.argmax(self.decoding == stamp))
        keys_behind = np.flatnonzero(self.is_key[first + 1 :])
        end = first + 1 + int(keys_behind[0]) if len(keys_behind) else len(self.decoding)
        return set(np.searchsorted(self.stamps, self.decoding[first:end]).tolist())


@dataclass(frozen=True, eq=False)
class PyavVideo:
    """A video that PyAV decodes."""

    path: Path
    index: PacketIndex = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> "PyavVideo":
        """Read when its frames are shown; ValueError if it is no video or has more than MAX_PIXELS."""
        with _open_container(path) as container:
            return cls(path, _index_packets(path, container))

    @property
    def times_s(self) -> Float64[np.ndarray, " frame"]:
        """Times of the frames since the first [s]."""
        return (self.index.stamps - self.index.stamps[0]) * self.index.tick_s

    def __len__(self) -> int:
        return len(self.index.stamps)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the frames at increasing indices, one each.

        What does not decode is a `BadImage`, and so is what is predicted from it, up to the next key frame.
        """
        walk = _Walk(self.path, self.index)
        try:
            for index in indices:
                yield walk.frame_at(index)
        finally:
            walk.close()


class _Walk:
    """One pass over a file; it knows which frame comes next."""

    def __init__(self, path: Path, index: PacketIndex) -> None:
        self._path, self._index = path, index
        self._key_frames = index.key_frames() if index.are_stamps_told else index.stamps[:0]
        self._spoilt: set[int] = set()
        self._begin()

    def close(self) -> None:
        self._container.close()

    def frame_at(self, wanted: int) -> SourceImage:
        """Return a frame that lies behind those that were returned before."""
        has_sought = self._seek_near(wanted)
        found = self._next_from(wanted)
        if has_sought and self._num_passed <= 1 and (found is None or found[0] > wanted):
            # The file's own index led behind the frame: from here on all are decoded.
            self._key_frames = self._key_frames[:0]
            self.close()
            self._begin()
            found = self._next_from(wanted)
        name = f"{self._path}, frame {wanted}"
        if found is None or found[0] != wanted:
            return BadImage(f"{name} does not decode")
        if wanted in self._spoilt or found[1].is_corrupt:
            return BadImage(f"{name} is damaged, or predicted from a frame that is")
        return _to_rgb(found[1], name)

    def _begin(self) -> None:
        self._container = _open_container(self._path)
        self._last = -1
        self._num_decoded, self._num_passed = 0, 0
        self._waiting: tuple[int, av.VideoFrame] | None = None
        self._frames = self._decode()

    def _seek_near(self, wanted: int) -> bool:
        before = int(np.searchsorted(self._key_frames, wanted, side="right")) - 1
        if before < 0 or self._key_frames[before] <= self._last + _MIN_SKIP:
            return False
        stamp = int(self._index.stamps[self._key_frames[before]])
        self._container.seek(stamp, stream=self._container.streams.video[0])
        self._waiting = None
        self._num_passed = 0
        self._frames = self._decode()
        return True

    def _next_from(self, wanted: int) -> "tuple[int, av.VideoFrame] | None":
        """Return the first frame at or behind `wanted`, and keep it if it lies behind."""
        while self._waiting is None or self._waiting[0] < wanted:
            self._waiting = next(self._frames, None)
            if self._waiting is None:
                return None
            self._last = self._waiting[0]
            self._num_passed += 1
        return self._waiting

    def _decode(self) -> "Iterator[tuple[int, av.VideoFrame]]":
        broken = _need_av().FFmpegError
        for packet in _packets(self._container):
            try:
                frames = packet.decode()
            except broken:
                self._spoilt |= self._spoilt_from(packet)
                continue
            for frame in frames:
                index = self._place(frame)
                if index is not None:
                    yield index, frame

    def _spoilt_from(self, packet: "av.Packet") -> set[int]:
        if not self._index.are_stamps_told:
            return set(
                range(self._num_decoded, len(self._index.stamps))
            )  # which one is missing cannot be told
        return set() if packet.pts is None else self._index.spoilt_by(packet.pts)

    def _place(self, frame: "av.VideoFrame") -> int | None:
        self._num_decoded += 1
        stamps = self._index.stamps
        if not self._index.are_stamps_told:
            return self._num_decoded - 1 if self._num_decoded <= len(stamps) else None
        if frame.pts is None:
            return None
        index = int(np.searchsorted(stamps, frame.pts))
        if index == self._last:  # two frames with one stamp
            index += 1
        return index if index < len(stamps) and stamps[index] == frame.pts else None


@dataclass(frozen=True, eq=False)
class DecordVideo:
    """A video that decord decodes; its times are rounded to float32, so to 0.1 ms after half an hour."""

    path: Path
    times_s: Float64[np.ndarray, " frame"] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> "DecordVideo":
        """Read when its frames are shown; ValueError if it is no video, or one that decord misreads."""
        reader = _decord_reader(path)
        times_s = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        if not np.isfinite(times_s).all() or times_s[0] < 0 or not (np.diff(times_s) > 0).all():
            raise ValueError(
                f"{path} has an edit list, or times that do not increase: decord misreads it, PyAV does not; "
                f"{_INSTALL}"
            )
        # What does not decode is met again in `select`; what decord misreads is refused before.
        frame = _decode_decord(reader, 0)
        complaint = _complaint(frame) if isinstance(frame, np.ndarray) else None
        if complaint is not None:
            raise ValueError(f"{path} {complaint}")
        return cls(path, times_s - times_s[0])

    def __len__(self) -> int:
        return len(self.times_s)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the frames at increasing indices, one each.

        decord loses whole groups of frames around one that is damaged: PyAV reads on from there.
        """
        reader = _decord_reader(self.path)
        for done, index in enumerate(indices):
            image = _read_decord(reader, index, f"{self.path}, frame {index}")
            if isinstance(image, BadImage):
                yield from self._read_on(indices[done:], image.reason)
                return
            yield image

    def _read_on(self, indices: Sequence[int], reason: str) -> Iterator[SourceImage]:
        if _is_installed("av"):
            exact = PyavVideo.open(self.path)
            if len(exact) == len(self):
                yield from exact.select(indices)
                return
        for index in indices:
            yield BadImage(f"{self.path}, frame {index} is at or behind damage, where decord stops: {reason}")


def _container_name(path: Path) -> str:
    """Return the path as both libraries take it; ValueError unless it is MP4, MOV, Matroska, WebM or AVI.

    FFmpeg goes by content: it would take a text called a.mp4 for a list of other files, and open these.
    """
    with path.open("rb") as file:
        head = file.read(12)
    is_matroska, is_avi = head.startswith(b"\x1aE\xdf\xa3"), head[:4] == b"RIFF" and head[8:] == b"AVI "
    if not (is_matroska or is_avi or head[4:8] in _MP4_BOXES):
        raise ValueError(f"{path} is no video in MP4, MOV, Matroska, WebM or AVI; it begins with {head!r}")
    return str(path.absolute())  # "concat:a.mp4" would be a protocol


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _need_av() -> Any:
    try:
        import av  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ImportError(f"video files need PyAV or decord: {_INSTALL}") from error
    return av


def _open_container(path: Path) -> "av.container.InputContainer":
    av = _need_av()
    try:
        container = av.open(_container_name(path))
    except av.FFmpegError as error:
        raise ValueError(f"{path} is no video that can be read: {error}") from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"{path} holds no video; it has {len(container.streams)} other streams")
    context = container.streams.video[0].codec_context
    if context.width * context.height > MAX_PIXELS:
        container.close()
        raise ValueError(
            f"{path} has {context.width} x {context.height} pixels, more than {MAX_PIXELS}; "
            "scale it down first"
        )
    return container


def _index_packets(path: Path, container: "av.container.InputContainer") -> PacketIndex:
    stream = container.streams.video[0]
    stamps, is_key = [], []
    for packet in _packets(container):
        if packet.size == 0 or packet.is_discard:  # the end; what an edit list cuts off
            continue
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or len(stamps) >= MAX_VIDEO_FRAMES:
            raise ValueError(f"{path} has packets without times, or more than {MAX_VIDEO_FRAMES}")
        stamps.append(stamp)
        is_key.append(packet.is_keyframe)
    if not stamps or stream.time_base is None:
        raise ValueError(f"{path} holds no frames")
    decoding = np.array(stamps, dtype=np.int64)
    return PacketIndex(
        stamps=np.sort(decoding),
        decoding=decoding,
        is_key=np.array(is_key, dtype=np.bool_),
        tick_s=float(stream.time_base),
        are_stamps_told=not ("avi" in container.format.name and stream.codec_context.has_b_frames),
    )


def _packets(container: "av.container.InputContainer") -> "Iterator[av.Packet]":
    """Yield packets to the end, or to where the file is cut off."""
    try:
        yield from container.demux(video=0)
    except _need_av().FFmpegError:
        return


def _to_rgb(frame: "av.VideoFrame", name: str) -> SourceImage:
    if frame.width * frame.height > MAX_PIXELS:
        return BadImage(f"{name} has {frame.width} x {frame.height} pixels, more than {MAX_PIXELS}")
    # The file says by how much its pictures are turned: telephones film on their side.
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _decord_reader(path: Path) -> Any:
    try:
        import decord  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ImportError(f"decord is not installed: {_INSTALL}") from error
    decord.logging.set_level(decord.logging.QUIET)  # damage is returned, not printed
    try:
        return decord.VideoReader(_container_name(path), num_threads=1)
    except (decord.DECORDError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{path} is no video that decord reads: {_in_short(error)}") from error


def _decode_decord(reader: Any, index: int) -> np.ndarray | str:
    """Return a frame, or why there is none."""
    import decord  # noqa: PLC0415 (an extra)

    try:
        return reader[index].asnumpy()
    except (decord.DECORDError, RuntimeError, StopIteration) as error:
        return _in_short(error)


def _read_decord(reader: Any, index: int, name: str) -> SourceImage:
    frame = _decode_decord(reader, index)
    if isinstance(frame, str):
        return BadImage(f"{name} does not decode: {frame}")
    complaint = _complaint(frame)
    return frame if complaint is None else BadImage(f"{name} {complaint}")


def _complaint(frame: np.ndarray) -> str | None:
    if frame.ndim != 3 or frame.shape[2] != 3:
        return f"is turned on its side: decord misreads it, PyAV does not; {_INSTALL}"
    if frame.shape[0] * frame.shape[1] > MAX_PIXELS:
        return f"has {frame.shape[1]} x {frame.shape[0]} pixels, more than {MAX_PIXELS}; scale it down first"
    return None


def _in_short(error: Exception) -> str:
    """Return what decord complains of, without the place in its source and the trace behind it."""
    return (str(error).strip().splitlines() or ["no frame"])[0].rpartition("Check failed: ")[2]
