"""Recordings: streams of images that go on behind bad ones, and lengths that agree."""

import io

import numpy as np
import pytest
from PIL import Image

from data_tools.frames import FrameFiles
from data_tools.recording import BadImage, EncodedImage, FrameStream, PoseTrack, Recording


def test_a_stream_goes_on_behind_a_bad_image(tmp_path):
    paths = tuple(tmp_path / f"{index}.jpg" for index in range(3))
    for index in (0, 2):
        Image.new("RGB", (4, 3), (40 * index, 0, 0)).save(paths[index])
    paths[1].write_bytes(b"no image")
    first, bad, last = FrameStream(FrameFiles(paths)).select([0, 1, 2])
    assert isinstance(first, np.ndarray) and isinstance(last, np.ndarray) and last[0, 0, 0] > 60
    assert isinstance(bad, BadImage) and "1.jpg" in bad.reason


def test_an_encoded_image_decodes_or_says_what_it_is_called():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (10, 200, 30)).save(buffer, format="PNG")
    assert EncodedImage(buffer.getvalue(), "a").decode()[1, 2].tolist() == [10, 200, 30]
    with pytest.raises(ValueError, match="message 7 of /camera is not a readable"):
        EncodedImage(b"\xff\xd8broken", "message 7 of /camera").decode()


def test_lengths_agree():
    frames = FrameStream(np.zeros((2, 3, 4, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="2 images and 3 times"):
        Recording(name="a", place="b", images=frames, image_times_s=np.arange(3.0), track=None)
    with pytest.raises(ValueError, match="a time for each pose"):
        PoseTrack(np.arange(2.0), np.zeros((3, 3)))
