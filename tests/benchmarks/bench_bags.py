"""Frames a second of reading the images of a bag, as JSON.

`python -m tests.benchmarks.bench_bags [frames=200] [width=640] [height=480] [repeats=5]`: a bag of each
kind with JPEGs of smooth noise, and ten poses a frame. Timed in turn, CPU time, the least of all rounds: the
bytes of all JPEGs decoded from memory, all images of the stream decoded, the stream alone, and the pass that
opens the bag. `fraction_of_decoding` is what is left of the speed of decoding when the bytes come out of a
bag; target 0.8.
"""

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from data_tools.formats.bags import BagTopics, read_bags
from data_tools.recording import EncodedImage, Recording
from tests.benchmarks.compose import read_arguments
from tests.data_tools.formats.ros_bags import (
    CAMERA,
    LZ4,
    ODOMETRY,
    SECOND_NS,
    START_NS,
    Kind,
    Sent,
    compressed,
    odometry,
    write_bag,
)

POSES_PER_FRAME = 10
KINDS = {
    "ros1": (Kind.ros1, None),
    "ros1_lz4": (Kind.ros1, LZ4),
    "sqlite3": (Kind.sqlite3, None),
    "mcap": (Kind.mcap, None),
}


def main() -> None:
    """Print frames a second for each kind of bag."""
    settings = read_arguments(sys.argv[1:], frames="200", width="640", height="480", repeats="5")
    pictures = _pictures(int(settings["frames"]), (int(settings["height"]), int(settings["width"])))
    report: dict[str, object] = {**settings, "bytes_per_frame": len(pictures[0])}
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, compression) in KINDS.items():
            path = write_bag(Path(folder) / name, _sent(pictures), kind, compression=compression)
            report[name] = _measure(path, pictures, repeats=int(settings["repeats"]))
    print(json.dumps(report, indent=1))


def _pictures(number: int, size: tuple[int, int]) -> list[bytes]:
    """Return JPEGs of smooth noise, about as large as those of cameras."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (number, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    encoded = []
    for pixels in coarse:
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((size[1], size[0])).save(buffer, format="JPEG", quality=90)
        encoded.append(buffer.getvalue())
    return encoded


def _sent(pictures: list[bytes]) -> list[Sent]:
    sent = []
    for frame, picture in enumerate(pictures):
        start_ns = START_NS + frame * SECOND_NS // 10
        sent.append(Sent(CAMERA, compressed(picture, start_ns), start_ns))
        for step in range(POSES_PER_FRAME):
            time_ns = start_ns + step * SECOND_NS // (10 * POSES_PER_FRAME)
            sent.append(Sent(ODOMETRY, odometry(0.01 * frame, 0.0, 0.0, time_ns), time_ns))
    return sent


def _measure(path: Path, pictures: list[bytes], *, repeats: int) -> dict[str, float]:
    recording = _open(path)
    indices = range(len(pictures))
    works = {
        "decode": lambda: [EncodedImage(picture, "memory").decode() is None for picture in pictures],
        "select_and_decode": lambda: [_decoded(image) for image in recording.images.select(indices)],
        "select": lambda: sum(1 for _ in recording.images.select(indices)),
        "open": lambda: _open(path),
    }
    # In turn, so that other work on the machine meets all, and the least, since it only adds (memory and
    # caches are shared); the first round warms up.
    rounds = [{name: _core_s(work) for name, work in works.items()} for _ in range(repeats + 1)][1:]
    least = {name: min(each[name] for each in rounds) for name in works}
    return {
        **{f"{name}_frames_per_s": round(len(pictures) / core_s, 1) for name, core_s in least.items()},
        "fraction_of_decoding": round(least["decode"] / least["select_and_decode"], 3),
    }


def _open(path: Path) -> Recording:
    (recording,) = read_bags(path, topics=BagTopics(images=[CAMERA], poses=[ODOMETRY]))
    assert isinstance(recording, Recording)
    return recording


def _decoded(image: object) -> bool:
    assert isinstance(image, EncodedImage)
    return image.decode() is None


def _core_s(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


if __name__ == "__main__":
    main()
