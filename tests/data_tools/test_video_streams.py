"""Video streams: both libraries give the frames and times that were written, and what is damaged is named."""

import re
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from data_tools import video_streams
from data_tools.recording import BadImage, ImageStream
from data_tools.video_streams import Backend, DecordVideo, PyavVideo, VideoStream, open_video
from tests.data_tools.videos import (
    HEIGHT,
    WIDTH,
    destroy_packet,
    numbered_frame,
    run_ffmpeg,
    shown_number,
    write_video,
)

EVEN_MS = range(0, 60 * 40, 40)
UNEVEN_MS = (500 + np.cumsum(np.random.default_rng(0).integers(10, 90, 60))).tolist()
"""Variable frame rate, and a first frame that is not shown at 0."""
BACKENDS = list(Backend)


def numbers(stream: VideoStream, indices: range | list[int]) -> list[int | None]:
    """The numbers in frames, None for a bad one."""
    images = list(stream.select(indices))
    return [None if isinstance(image, BadImage) else shown_number(image) for image in images]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.mov", "mpeg4"),
        ("a.mp4", "mpeg4"),
    ],
)
def test_both_libraries_give_the_frames_and_times_that_were_written(tmp_path, name, codec):
    write_video(tmp_path / name, UNEVEN_MS, codec=codec)
    written_s = (np.array(UNEVEN_MS) - UNEVEN_MS[0]) / 1000
    exact, quick = (
        open_video(tmp_path / name, backend=backend) for backend in (Backend.pyav, Backend.decord)
    )
    np.testing.assert_allclose(exact.times_s, written_s, atol=1e-9)
    np.testing.assert_allclose(quick.times_s, written_s, atol=1e-6)  # float32
    for stream in (exact, quick):
        assert isinstance(stream, ImageStream) and isinstance(stream, VideoStream)
        assert numbers(stream, range(60)) == list(range(60))
    for one, other in zip(exact.select(range(60)), quick.select(range(60)), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_that_are_far_ahead_are_the_right_ones(tmp_path, backend):
    write_video(tmp_path / "a.mp4", UNEVEN_MS)
    stream = open_video(tmp_path / "a.mp4", backend=backend)
    for wanted in ([59], [0, 33, 34, 58], [19, 20, 21, 50], list(range(0, 60, 7)), []):
        assert numbers(stream, wanted) == wanted
    assert numbers(stream, [3]) == [3], "a second pass begins anew"


def test_what_lies_between_is_not_decoded(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    stream = PyavVideo.open(tmp_path / "a.mp4")
    packets, passed = video_streams._packets, []

    def counted(container) -> Iterator:
        for packet in packets(container):
            passed.append(packet.pts)
            yield packet

    monkeypatch.setattr(video_streams, "_packets", counted)
    assert numbers(stream, [0, 55]) == [0, 55]
    assert len(passed) < 25


def test_a_seek_that_leads_behind_the_frame_is_made_good(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    stream = PyavVideo.open(tmp_path / "a.mp4")
    seek = video_streams._Walk._seek_near
    monkeypatch.setattr(
        video_streams._Walk, "_seek_near", lambda self, wanted: seek(self, min(wanted + 20, 59))
    )
    assert numbers(stream, [30, 31, 58]) == [30, 31, 58]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", [0, 20, 25, 59])
def test_damage_ends_at_the_next_key_frame(tmp_path, backend, number):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    spoilt = destroy_packet(tmp_path / "a.mp4", 40 * number)
    stream = open_video(tmp_path / "a.mp4", backend=backend)
    found = numbers(stream, range(60))
    assert number in spoilt and len(spoilt) <= 10
    bad = {index for index, shown in enumerate(found) if shown is None}
    # The decoder still holds the frame before a key frame, and loses it with it.
    assert spoilt <= bad <= spoilt | ({19} if number == 20 else set())
    assert all(shown in (None, index) for index, shown in enumerate(found))
    (bad,) = stream.select([number])
    assert isinstance(bad, BadImage) and re.search(
        rf"a\.mp4, frame {number} (does not decode|is damaged)", bad.reason
    )


def test_decord_alone_stops_at_damage_and_says_so(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    destroy_packet(tmp_path / "a.mp4", 40 * 45)
    monkeypatch.setitem(sys.modules, "av", None)
    images = list(open_video(tmp_path / "a.mp4").select(range(60)))
    assert all(
        shown_number(image) == index for index, image in enumerate(images) if not isinstance(image, BadImage)
    )
    last = images[-1]
    assert isinstance(last, BadImage) and "frame 59 is at or behind damage, where decord stops" in last.reason


@pytest.mark.parametrize("turn_deg", [90, 180, -90])
def test_films_that_were_taken_on_their_side_stand_upright(tmp_path, turn_deg):
    write_video(tmp_path / "a.mp4", EVEN_MS[:12], b_frames=0)
    path = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", str(turn_deg), "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(path))
    raw = run_ffmpeg("-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    shape = (HEIGHT, WIDTH) if turn_deg == 180 else (WIDTH, HEIGHT)
    upright = np.frombuffer(raw, dtype=np.uint8).reshape(12, *shape, 3)
    found = np.stack([np.asarray(image) for image in open_video(path).select(range(12))])
    assert np.abs(found.astype(int) - upright).max() <= 3, "another conversion to RGB rounds differently"
    if turn_deg != 180:
        with pytest.raises(ValueError, match="turned on its side: decord misreads it"):
            DecordVideo.open(path)


def test_what_an_edit_list_cuts_off_is_not_there(tmp_path):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    path = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "0.5", "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(path))
    stream = open_video(path)
    shown = numbers(stream, range(len(stream)))
    assert shown == list(range(13, 60))
    np.testing.assert_allclose(stream.times_s, 0.04 * np.arange(47), atol=1e-9)
    with pytest.raises(ValueError, match="edit list, or times that do not increase"):
        DecordVideo.open(path)


def test_avi_has_no_stamps_and_is_counted(tmp_path):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    path = tmp_path / "a.avi"
    run_ffmpeg("-i", str(tmp_path / "a.mp4"), "-r", "25", "-c:v", "libx264", "-bf", "2", str(path))
    stream = open_video(path)
    assert isinstance(stream, PyavVideo) and not stream.index.are_stamps_told
    assert numbers(stream, [0, 1, 30, 59]) == [0, 1, 30, 59]
    np.testing.assert_allclose(stream.times_s, 0.04 * np.arange(60), atol=1e-9)
    write_video(tmp_path / "b.avi", EVEN_MS, codec="mpeg4")
    assert numbers(open_video(tmp_path / "b.avi"), [0, 59]) == [0, 59]


def test_a_file_that_is_cut_off_is_read_to_where_it_ends(tmp_path):
    write_video(tmp_path / "a.mkv", EVEN_MS)
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) * 2 // 3])
    for backend in BACKENDS:
        stream = open_video(tmp_path / "a.mkv", backend=backend)
        assert 20 < len(stream) < 50
        assert numbers(stream, range(len(stream) - 3)) == list(range(len(stream) - 3))


@pytest.mark.parametrize("backend", [*BACKENDS, None])
def test_refuses_what_is_no_video(tmp_path, backend):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(tmp_path / "sound.mp4"))
    write_video(tmp_path / "whole.mp4", EVEN_MS)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:2000])
    for name in ("text.mp4", "empty.mp4", "sound.mp4", "cut.mp4"):
        with pytest.raises(ValueError, match=rf"{name} (is no video|holds no)"):
            open_video(tmp_path / name, backend=backend)


@pytest.mark.parametrize("backend", [*BACKENDS, None])
def test_refuses_lists_of_other_files_that_ffmpeg_would_open(tmp_path, backend):
    write_video(tmp_path / "secret.mp4", EVEN_MS)
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video, "what the check is for"
    with pytest.raises(ValueError, match=r"a\.mp4 is no video in MP4, .* begins with b'ffconcat ver'"):
        open_video(tmp_path / "a.mp4", backend=backend)


@pytest.mark.parametrize("backend", [*BACKENDS, None])
def test_refuses_more_pixels_than_any_camera_has(tmp_path, monkeypatch, backend):
    write_video(tmp_path / "a.mp4", EVEN_MS)
    monkeypatch.setattr(video_streams, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ValueError, match=r"a\.mp4 has 64 x 48 pixels, more than 3071"):
        open_video(tmp_path / "a.mp4", backend=backend)


def test_says_what_to_install(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", EVEN_MS[:3])
    monkeypatch.setitem(sys.modules, "decord", None)
    assert isinstance(open_video(tmp_path / "a.mp4"), PyavVideo)
    monkeypatch.setitem(sys.modules, "av", None)
    for backend in (*BACKENDS, None):
        with pytest.raises(ImportError, match=r"pip install 'worldnav\[video\]'"):
            open_video(tmp_path / "a.mp4", backend=backend)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path):
    write_video(tmp_path / "a.mp4", range(0, 250 * 40, 40))
    stream = PyavVideo.open(tmp_path / "a.mp4")
    tracemalloc.start()
    shown = [shown_number(image) for image in stream.select(range(250))]
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shown == list(range(250))
    assert peak_bytes < 40 * numbered_frame(0).nbytes
