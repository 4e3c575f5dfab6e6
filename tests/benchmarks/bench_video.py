"""Speed of video streams against the library alone: `python -m tests.benchmarks.bench_video VIDEO [rounds]`.

Prints JSON. `ratio` is frames per second through `ImageStream.select` over those of the same library's
plainest loop, for every frame of the file; the target is 0.8. Both decode with one thread and make RGB, in
turn, in the same run; medians over rounds, since other work on the machine disturbs single ones.
`every_8th_s` is the time to read one frame in eight, as four a second of thirty; `open_s` is what it takes to
learn the times.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import decord

from data_tools.recording import BadImage
from data_tools.video_streams import Backend, open_video


def main() -> None:
    """Print frames per second of both, and their ratio, for each library."""
    path, num_rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    report = {backend.name: _measure(path, backend, num_rounds) for backend in Backend}
    print(json.dumps({"video": path.name, "rounds": num_rounds, **report}, indent=1))


def _measure(path: Path, backend: Backend, num_rounds: int) -> dict[str, float]:
    start_s = time.perf_counter()
    stream = open_video(path, backend=backend)
    open_s = time.perf_counter() - start_s
    plain_s, stream_s, every_8th_s = [], [], []
    for _ in range(num_rounds):
        plain_s.append(_time(_plain(path, backend)))
        stream_s.append(_time(stream.select(range(len(stream)))))
        every_8th_s.append(_time(stream.select(range(0, len(stream), 8))))
    return {
        "frames": len(stream),
        "open_s": round(open_s, 3),
        "plain_frames_per_s": round(len(stream) / statistics.median(plain_s), 1),
        "stream_frames_per_s": round(len(stream) / statistics.median(stream_s), 1),
        "every_8th_s": round(statistics.median(every_8th_s), 3),
        "ratio": round(
            statistics.median([one / other for one, other in zip(plain_s, stream_s, strict=True)]), 3
        ),
    }


def _plain(path: Path, backend: Backend) -> Iterator[object]:
    match backend:
        case Backend.decord:
            reader = decord.VideoReader(str(path), num_threads=1)
            for _ in range(len(reader)):
                yield reader.next().asnumpy()
        case Backend.pyav:
            with av.open(str(path)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")


def _time(frames: Iterable[object]) -> float:
    start_s = time.perf_counter()
    assert not any(isinstance(frame, BadImage) for frame in frames)
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
