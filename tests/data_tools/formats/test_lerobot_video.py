"""Films that episodes share: each gets its own images back, and what is damaged is named."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from data_tools.formats.lerobot_layout import FilePlace
from data_tools.formats.lerobot_video import FilmSpan, FilmWriter, Take
from data_tools.recording import BadImage, ImageStream
from tests.data_tools.formats.lerobot_sets import MAX_ERROR, SIZE, all_images, error_of, pictures

CAMERA = "observation.images.front"
RATE = Fraction(35, 9)


def write_film(root: Path, *episodes: np.ndarray, rate: Fraction = RATE) -> list[Take]:
    writer = FilmWriter(root, CAMERA, fps=rate, size=SIZE)
    takes = []
    for images in episodes:
        takes.append(writer.begin_episode(len(images)))
        for index, image in enumerate(images):
            writer.add(image, is_first=index == 0)
    writer.close()
    return takes


def span(root: Path, take: Take, num_images: int, *, rate: Fraction = RATE) -> FilmSpan:
    times_s = take.from_s + np.arange(num_images) / float(rate)
    return FilmSpan(take.place.video_path(root, CAMERA), times_s)


def test_episodes_of_one_film_keep_their_own_images(tmp_path: Path):
    episodes = [pictures(7, seed=0), pictures(5, seed=1), pictures(11, seed=2)]
    takes = write_film(tmp_path, *episodes)
    assert [take.place for take in takes] == [FilePlace()] * 3
    assert [(take.from_s, take.to_s) for take in takes] == [
        (0.0, 7 * 9 / 35),
        (7 * 9 / 35, 12 * 9 / 35),
        (12 * 9 / 35, 23 * 9 / 35),
    ]
    for take, images in zip(takes, episodes, strict=True):
        stream = span(tmp_path, take, len(images))
        assert isinstance(stream, ImageStream)
        assert error_of(all_images(stream), images) < MAX_ERROR


def test_a_selection_is_a_selection_of_all(tmp_path: Path):
    first, second = pictures(6, seed=0), pictures(9, seed=1)
    stream = span(tmp_path, write_film(tmp_path, first, second)[1], 9)
    chosen = [image for image in stream.select([1, 4, 8]) if isinstance(image, np.ndarray)]
    np.testing.assert_array_equal(np.stack(chosen), all_images(stream)[[1, 4, 8]])
    assert list(stream.select([])) == []


def test_times_without_an_image_are_named_and_the_rest_is_given(tmp_path: Path):
    images = pictures(5, seed=0)
    (take,) = write_film(tmp_path, images)
    path = take.place.video_path(tmp_path, CAMERA)
    times_s = np.array([0.0, 0.5, 3.0, 5.0]) / float(RATE)
    good, between, late, beyond = FilmSpan(path, times_s).select(range(4))
    assert isinstance(good, np.ndarray) and isinstance(late, np.ndarray)
    assert error_of(np.stack([good, late]), images[[0, 3]]) < MAX_ERROR
    assert between == BadImage(f"{path}, image at 0.1286 s: none within 0.0001 s")
    assert beyond == BadImage(f"{path}, image at 1.2857 s: the film ends before")


@pytest.mark.parametrize("content", [b"", b"no film", b"#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"])
def test_what_is_no_film_is_not_looked_into(tmp_path: Path, content: bytes):
    """A playlist that is called .mp4 must not lead to another file."""
    (take,) = write_film(tmp_path, pictures(3, seed=0))
    path = take.place.video_path(tmp_path, CAMERA)
    path.rename(path.with_name("other.mp4"))
    path.write_bytes(content)
    found = list(FilmSpan(path, np.array([0.0, 0.1])).select([0, 1]))
    assert len(found) == 2
    assert all(isinstance(bad, BadImage) and "cannot be read: [Errno" in bad.reason for bad in found)


def test_a_film_goes_on_behind_damage(tmp_path: Path):
    images = pictures(12, seed=0)
    (take,) = write_film(tmp_path, images)
    path = take.place.video_path(tmp_path, CAMERA)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    middle = begin + (len(content) - begin) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    found = list(span(tmp_path, take, 12).select(range(12)))
    assert len(found) == 12
    assert any(isinstance(image, BadImage) for image in found)
    first, last = found[0], found[-1]
    assert isinstance(first, np.ndarray) and isinstance(last, np.ndarray)
    assert error_of(np.stack([first, last]), images[[0, 11]]) < MAX_ERROR


def test_films_stay_short_enough_for_times_in_float32(tmp_path: Path):
    rate = Fraction(1, 100)
    episodes = [pictures(4, seed=0), pictures(6, seed=1), pictures(12, seed=2), pictures(2, seed=3)]
    takes = write_film(tmp_path, *episodes, rate=rate)
    assert [(take.place.file, take.from_s) for take in takes] == [(0, 0.0), (0, 400.0), (1, 0.0), (2, 0.0)]
    for take, images in zip(takes, episodes, strict=True):
        assert error_of(all_images(span(tmp_path, take, len(images), rate=rate)), images) < MAX_ERROR


def test_a_full_film_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data_tools.formats.lerobot_video.VIDEO_FILE_MB", 0)
    takes = write_film(tmp_path, pictures(2, seed=0), pictures(3, seed=1))
    assert [take.place.file for take in takes] == [0, 1]


def test_refuses_sizes_that_colour_cannot_halve(tmp_path: Path):
    with pytest.raises(ValueError, match="even height and width, got 35 x 52; crop or scale"):
        FilmWriter(tmp_path, CAMERA, fps=RATE, size=(35, 52))


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'worldnav\[video\]'"):
        FilmWriter(tmp_path, CAMERA, fps=RATE, size=SIZE)
