import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.frames import MAX_PIXELS, FrameFiles, Frames, read_frame, write_frames


def smooth_frames(num_frames: int) -> np.ndarray:
    rows, columns = np.mgrid[0:48, 0:64]
    frames = [
        np.stack([rows * 3 + index, columns * 2, rows + columns], axis=-1) for index in range(num_frames)
    ]
    return np.array(frames).astype(np.uint8)


def test_encoded_frames_are_close_and_in_order(tmp_path: Path):
    frames = smooth_frames(3)
    write_frames(frames, tmp_path)
    files = FrameFiles(tuple(tmp_path / f"{index}.jpg" for index in range(3)))
    assert len(files) == 3
    for original, read in zip(frames, files, strict=True):
        assert read.dtype == np.uint8
        assert np.abs(read.astype(int) - original).mean() < 2.0
    np.testing.assert_array_equal(files[-1], files[2])


def test_colour_has_full_resolution(tmp_path: Path):
    write_frames(smooth_frames(1), tmp_path)
    with Image.open(tmp_path / "0.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_files_are_copied_byte_for_byte(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    Image.fromarray(smooth_frames(1)[0]).save(first / "0.jpg", quality=40)
    write_frames(FrameFiles((first / "0.jpg",)), second)
    assert (first / "0.jpg").read_bytes() == (second / "0.jpg").read_bytes()


def test_arrays_lists_and_files_are_frames(tmp_path: Path):
    for frames in (smooth_frames(2), list(smooth_frames(2)), FrameFiles((tmp_path / "0.jpg",))):
        assert isinstance(frames, Frames)
    files = FrameFiles((tmp_path / "0.jpg",))
    assert pickle.loads(pickle.dumps(files)) == files


def test_gray_images_are_read_as_colour(tmp_path: Path):
    Image.fromarray(smooth_frames(1)[0, :, :, 0]).save(tmp_path / "0.jpg")
    assert read_frame(tmp_path / "0.jpg").shape == (48, 64, 3)


def test_refuses_broken_files(tmp_path: Path):
    whole = io.BytesIO()
    Image.fromarray(smooth_frames(1)[0]).save(whole, format="JPEG")
    for content in (b"", b"not an image", whole.getvalue()[:300]):
        (tmp_path / "0.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=r"0\.jpg is not a readable JPEG or PNG"):
            read_frame(tmp_path / "0.jpg")


@pytest.mark.parametrize("width", [5001, 12_000, 60_000])
def test_refuses_oversize_images_from_their_header(tmp_path: Path, width: int):
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0))
    (tmp_path / "0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match=f"more than {MAX_PIXELS}"):
        read_frame(tmp_path / "0.png")


def test_refuses_a_file_that_went_away(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is gone"):
        FrameFiles((tmp_path / "0.jpg",))[0]


@pytest.mark.parametrize("frame", [np.zeros((5, 7), np.uint8), np.zeros((5, 7, 4), np.uint8)])
def test_refuses_arrays_that_are_no_frames(tmp_path: Path, frame: np.ndarray):
    with pytest.raises(ValueError, match=r"a frame is uint8 \[height, width, 3\]"):
        write_frames([frame], tmp_path)
