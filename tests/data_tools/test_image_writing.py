"""Image writing: order, shapes, and that a bad image is told apart from a good one."""

import io

import numpy as np
import pytest
from PIL import Image

from data_tools.frames import read_frame
from data_tools.image_writing import ImageConfig, contact_sheet, fitted, write_images
from data_tools.recording import BadImage, EncodedImage


def encoded(level: int, form: str = "JPEG") -> EncodedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (level, level, level)).save(buffer, format=form)
    return EncodedImage(buffer.getvalue(), f"level {level}")


class Images:
    def __init__(self, *images) -> None:
        self._images = images
        self.num_unread = len(images)

    def __len__(self) -> int:
        return len(self._images)

    def select(self, indices):
        for index in indices:
            self.num_unread -= 1
            yield self._images[index]


def test_images_are_written_in_order_whatever_form_they_come_in(tmp_path):
    array = np.full((16, 24, 3), 90, dtype=np.uint8)
    images = Images(encoded(10), BadImage("message 1 is cut off"), array, encoded(200, "PNG"))
    written = write_images(images, np.arange(4), tmp_path, ImageConfig(threads=3))
    assert written.is_bad.tolist() == [False, True, False, False]
    assert written.reasons == ("message 1 is cut off",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.jpg", "2.jpg", "3.jpg"]
    assert [read_frame(tmp_path / f"{n}.jpg")[3, 3, 0] for n in (0, 2, 3)] == [10, 90, 200]
    assert written.profiles[[0, 2, 3], 5].tolist() == [10, 90, 200]


def test_a_file_that_is_no_image_is_bad_and_named(tmp_path):
    broken = EncodedImage(b"\xff\xd8\xff nothing", "message 7")
    written = write_images(Images(broken), np.arange(1), tmp_path, ImageConfig())
    assert written.is_bad.all() and "message 7" in written.reasons[0] and not list(tmp_path.iterdir())


def test_many_bad_images_are_counted_and_not_all_listed(tmp_path):
    images = Images(*(BadImage(f"number {index}") for index in range(50)))
    reasons = write_images(images, np.arange(50), tmp_path, ImageConfig()).reasons
    assert len(reasons) == 21 and reasons[-1] == "and 30 more images"


def test_few_images_wait_at_any_time(tmp_path):
    images, left = Images(*(encoded(level) for level in range(100))), []
    write_images(
        images,
        np.arange(100),
        tmp_path,
        ImageConfig(threads=2),
        on_image=lambda: left.append(images.num_unread),
    )
    # When the first is done, at most twice the threads and one more have been read.
    assert left[0] >= 100 - 6 and left[-1] == 0


def test_an_image_is_cut_about_its_middle_and_scaled():
    image = np.zeros((40, 100, 3), dtype=np.uint8)
    image[:, 30:70] = 200  # the middle square
    assert (fitted(image, [20, 20]) > 150).all()
    assert fitted(image, [100, 40]) is image and fitted(image, None) is image


def test_a_contact_sheet_shows_pictures_row_by_row():
    pictures = [np.full((30, 60, 3), level, dtype=np.uint8) for level in (0, 120, 240)]
    sheet = np.array(Image.open(io.BytesIO(contact_sheet(pictures, columns=2, width=20))))
    assert sheet.shape == (20, 40, 3)
    assert [int(sheet[row, column, 0]) for row, column in ((5, 5), (5, 35), (15, 5))] == pytest.approx(
        [0, 120, 240], abs=3
    )


def test_settings_that_make_no_image_are_refused():
    with pytest.raises(ValueError, match="a width and a height"):
        ImageConfig(size=[8])
    with pytest.raises(ValueError, match=r"images\.threads must be at least 1"):
        ImageConfig(threads=0)
