"""RECON's HDF5 files: images and poses as they were written, and what a hostile file may not do."""

import io
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from data_tools.formats import recon
from data_tools.formats.recon import Hdf5Images, ReconKeys, read_recon
from data_tools.recording import BadImage, EncodedImage, ImageStream, Recording
from data_tools.trajectory import Skipped


def jpeg(shade: int, size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, format="JPEG")
    return buffer.getvalue()


def write_drive(path: Path, num_frames: int = 3, *, images: np.ndarray | None = None) -> np.ndarray:
    """Write a file in RECON's layout and return its poses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.random.default_rng(num_frames).normal(size=(num_frames, 3))
    with h5py.File(path, "w") as file:
        if images is None:
            images = np.array([jpeg(20 * index) for index in range(num_frames)], dtype="S")
        file["images/rgb_left"] = images
        file["jackal/position"] = np.column_stack([poses[:, :2], np.full(num_frames, 9.0)])
        file["jackal/yaw"] = poses[:, 2:]
    return poses


def only(path: Path, keys: ReconKeys = recon.RECON) -> Recording | Skipped:
    (found,) = read_recon(path, keys=keys)
    return found


def reason(path: Path, keys: ReconKeys = recon.RECON) -> str:
    found = only(path, keys)
    assert isinstance(found, Skipped) and found.folder == path
    return found.reason


def test_a_drive_is_what_was_written(tmp_path):
    poses = write_drive(tmp_path / "recon_release" / "a.hdf5")
    found = only(tmp_path / "recon_release" / "a.hdf5")
    assert isinstance(found, Recording) and isinstance(found.images, ImageStream) and found.track is not None
    assert (found.name, found.place, found.faults) == ("a", "recon_release", ())
    np.testing.assert_array_equal(found.image_times_s, [0.0, 0.25, 0.5])
    np.testing.assert_array_equal(found.track.times_s, found.image_times_s)
    np.testing.assert_array_equal(found.track.poses, poses)
    first, last = found.images.select([0, 2])
    assert isinstance(first, EncodedImage) and first.data == jpeg(0)
    assert isinstance(last, EncodedImage) and last.data == jpeg(40) and last.decode()[5, 7, 0] == 40


def test_a_folder_is_read_in_order_and_goes_on_behind_what_is_broken(tmp_path):
    for name in ("b.hdf5", "sub/c.h5", "a.h5"):
        write_drive(tmp_path / name)
    whole = (tmp_path / "b.hdf5").read_bytes()
    (tmp_path / "b.hdf5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("no drive")
    first, broken, last = read_recon(tmp_path, place="campus")
    assert isinstance(first, Recording) and (first.name, first.place) == ("a", "campus")
    assert (
        isinstance(broken, Skipped) and broken.folder == tmp_path / "b.hdf5" and "truncated" in broken.reason
    )
    assert isinstance(last, Recording) and last.name == "sub_c"


@pytest.mark.parametrize("kind", ["opaque", "bytes"])
def test_bytes_of_every_kind_come_out_as_they_went_in(tmp_path, kind):
    write_drive(tmp_path / "a.h5", 2)
    written = [jpeg(10), jpeg(200, (9, 5))]
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["images/rgb_left"]
        dtype = np.dtype("V2000") if kind == "opaque" else h5py.vlen_dtype(np.uint8)
        dataset = file.create_dataset("images/rgb_left", (2,), dtype=dtype)
        for index, data in enumerate(written):
            filled = np.void(data.ljust(2000, b"\0"))
            dataset[index] = filled if kind == "opaque" else np.frombuffer(data, dtype=np.uint8)
    found = only(tmp_path / "a.h5")
    assert isinstance(found, Recording)
    assert [image.data for image in found.images.select([0, 1]) if isinstance(image, EncodedImage)] == written


def test_other_keys_and_times_and_raw_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["camera"], file["xy"], file["heading"] = images, np.eye(2), np.array([0, 1])
        file["stamps"] = np.array([10.0, 10.5])
    keys = ReconKeys(images="camera", positions="xy", yaws="heading", times="stamps")
    found = only(tmp_path / "a.h5", keys)
    assert isinstance(found, Recording) and found.track is not None
    np.testing.assert_array_equal(found.image_times_s, [10.0, 10.5])
    np.testing.assert_array_equal(found.track.poses, [[1, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(
        np.stack([np.asarray(image) for image in found.images.select([0, 1])]), images
    )


def test_an_empty_image_is_bad_and_the_next_is_read(tmp_path):
    write_drive(tmp_path / "a.h5", images=np.array([jpeg(0), b"", jpeg(40)], dtype="S"))
    found = only(tmp_path / "a.h5")
    assert isinstance(found, Recording)
    _, bad, last = found.images.select([0, 1, 2])
    assert isinstance(bad, BadImage) and "rgb_left[1] has 0 bytes" in bad.reason
    assert isinstance(last, EncodedImage)


def test_links_inside_the_file_are_followed(tmp_path):
    write_drive(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["images/left"] = h5py.SoftLink("rgb_left")
        file["cameras"] = h5py.SoftLink("/images")
    assert isinstance(only(tmp_path / "a.h5", ReconKeys(images="cameras/left")), Recording)


def test_refuses_links_that_leave_the_file(tmp_path):
    write_drive(tmp_path / "secret.h5")
    write_drive(tmp_path / "drive" / "a.h5")
    with h5py.File(tmp_path / "drive" / "a.h5", "a") as file:
        file["direct"] = h5py.ExternalLink("../secret.h5", "/images/rgb_left")
        file["group"] = h5py.ExternalLink("../secret.h5", "/images")
        file["indirect"] = h5py.SoftLink("/group/rgb_left")
        file["loop"] = h5py.SoftLink("/loop")
        assert isinstance(file["indirect"], h5py.Dataset)  # HDF5 itself would read the other file
    for key in ("direct", "group/rgb_left", "indirect"):
        assert "leads out of the file" in reason(tmp_path / "drive" / "a.h5", ReconKeys(images=key))
        with pytest.raises(ValueError, match="leads out of the file"):
            next(Hdf5Images(tmp_path / "drive" / "a.h5", key, 3).select([0]))
    assert "a chain of more than 16 links" in reason(tmp_path / "drive" / "a.h5", ReconKeys(images="loop"))


def test_refuses_data_in_other_files(tmp_path):
    write_drive(tmp_path / "a.h5")
    (tmp_path / "secret").write_bytes(b"password" * 4)
    layout = h5py.VirtualLayout((3,), dtype=np.float64)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "yaw", shape=(3,))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.create_dataset("outside", (4,), dtype="S8", external=[(str(tmp_path / "secret"), 0, 32)])
        file.create_virtual_dataset("virtual", layout)
    assert "keeps its data in other files" in reason(tmp_path / "a.h5", ReconKeys(images="outside"))
    assert "keeps its data in other files" in reason(tmp_path / "a.h5", ReconKeys(yaws="virtual"))


def test_refuses_sizes_that_no_drive_has_without_reading_them(tmp_path):
    write_drive(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.create_dataset("long", (10**12,), dtype="S9", chunks=(10,))
        file.create_dataset("wide", (3,), dtype="S100000000")
        file.create_dataset("lumps", (3, 10_000), dtype="f4", chunks=(3, 10_000))
        file.create_dataset("chunks", (3, 5000, 5000, 3), dtype="u1", chunks=(3, 5000, 5000, 3))
        file.create_dataset("bomb", (400_000,), dtype="S1000", chunks=(400_000,), compression="gzip")
    tracemalloc.start()
    for key, size in (
        ("long", "1000000000000 rows of 9"),
        ("wide", "rows of 100000000"),
        ("bomb", "400000000"),
    ):
        assert size in reason(tmp_path / "a.h5", ReconKeys(images=key))
    assert isinstance(only(tmp_path / "a.h5", ReconKeys(images="chunks")), Recording)
    assert "a few numbers" in reason(tmp_path / "a.h5", ReconKeys(yaws="lumps"))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            ReconKeys(images="images/rgb_right"),
            "has no 'images/rgb_right'; other names are set with `ReconKeys`",
        ),
        (ReconKeys(images="images"), "'images' is no data set"),
        (ReconKeys(images="jackal/yaw"), "needs images as bytes"),
        (ReconKeys(images="strings"), "needs images as bytes"),
        (ReconKeys(images="images/rgb_left/pixels"), "has no 'images/rgb_left/pixels'"),
        (ReconKeys(yaws="jackal/position"), r"yaws [frame]; it holds [3, 3] and [3, 3]"),
        (ReconKeys(yaws="short"), "lengths disagree, or it is empty: 3 images, 3 positions, 2 yaws, 3 times"),
        (ReconKeys(positions="words"), "needs rows of a few numbers"),
    ],
)
def test_refuses_other_layouts_and_says_which(tmp_path, keys, complaint):
    write_drive(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["short"], file["words"] = np.zeros(2), np.array([b"a", b"b", b"c"])
        file.create_dataset("strings", (3,), dtype=h5py.string_dtype())
    assert complaint in reason(tmp_path / "a.h5", keys)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    images = np.array([bytes([1]) * 100_000 for _ in range(300)], dtype="S")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images/rgb_left", data=images, chunks=(1,))
    stream = Hdf5Images(tmp_path / "a.h5", "images/rgb_left", 300)
    next(stream.select([0]))
    tracemalloc.start()
    assert sum(isinstance(image, EncodedImage) for image in stream.select(range(300))) == 300
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_says_what_to_install_and_what_is_no_folder(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="needed an HDF5 file"):
        next(read_recon(tmp_path))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'worldnav\[hdf5\]'"):
        next(read_recon(tmp_path))
