"""Videos: true files for tests, whose frames show their own number in large grey blocks."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from av.video.stream import VideoStream

HEIGHT, WIDTH = 48, 64
_MILLISECOND = Fraction(1, 1000)


def numbered_frame(number: int) -> np.ndarray:
    """Eight blocks in two rows, light where the number has a one, lowest bit first."""
    bits = [(number >> bit) & 1 for bit in range(8)]
    blocks = np.where(bits, 230, 20).astype(np.uint8).reshape(2, 4)
    return np.repeat(np.kron(blocks, np.ones((24, 16), dtype=np.uint8))[:, :, None], 3, axis=2)


def shown_number(frame: object) -> int:
    """Read the number in a frame."""
    assert isinstance(frame, np.ndarray) and frame.shape == (HEIGHT, WIDTH, 3), frame
    centres = frame[12::24, 8::16, 1] > 125
    return int(np.packbits(centres.reshape(-1), bitorder="little")[0])


def write_video(
    path: Path, stamps_ms: Sequence[int], *, codec: str = "libx264", key_every: int = 10, b_frames: int = 2
) -> None:
    """Write frames 0, 1, 2, ... shown at these times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = _MILLISECOND
        stream.gop_size = key_every
        if codec == "libx264":
            stream.options = {"bf": str(b_frames), "sc_threshold": "0", "threads": "1"}
        for number, stamp in enumerate(stamps_ms):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = stamp, _MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def destroy_packet(path: Path, stamp_ms: int) -> set[int]:
    """Fill the packet of an evenly shown frame with zeros; return the frames that are decoded from it on.

    The frames must be 40 ms apart from 0; the set ends before the next key frame.
    """
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        stamps_ms = [round(1000 * (packet.pts or 0) * packet.time_base) for packet in packets]
        first = stamps_ms.index(stamp_ms)
        keys = [place for place, packet in enumerate(packets) if packet.is_keyframe and place > first]
        position, size = packets[first].pos, packets[first].size
    assert position is not None
    content = bytearray(path.read_bytes())
    content[position : position + size] = bytes(size)
    path.write_bytes(content)
    return {stamp // 40 for stamp in stamps_ms[first : keys[0] if keys else None]}


def run_ffmpeg(*arguments: str) -> bytes:
    """Run ffmpeg and return what it writes to its output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout
