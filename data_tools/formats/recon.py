"""RECON: one HDF5 file a drive of a Jackal, with JPEG images and planar poses at 4 Hz.

    images/rgb_left    [frame] bytes of a JPEG
    jackal/position    [frame, 3] (m), of which the first two are taken
    jackal/yaw         [frame] or [frame, 1] (rad)

Source: Shah et al., "Rapid Exploration for Open-World Navigation with Latent Goal Models" (arXiv 2104.05859),
and the keys that the public converters of the set read. A file may not make us read another one, nor more
than memory holds: links out of it, outside storage, virtual data sets and absurd sizes are refused.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from data_tools.frames import MAX_PIXELS
from data_tools.recording import BadImage, EncodedImage, PoseTrack, Recording, SourceImage
from data_tools.trajectory import Skipped

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5")
MAX_FRAMES = 1_000_000
"""Longest drive that is read: three days at 4 Hz."""
MAX_IMAGE_BYTES = 3 * MAX_PIXELS
"""Largest image as it is stored, encoded or not."""
MAX_CHUNK_BYTES = 4 * MAX_IMAGE_BYTES
"""Largest piece that HDF5 must unpack at once to give one image."""
_MAX_SOFT_LINKS = 16
_NOT_READABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError)
"""What h5py raises for files that are cut off or broken."""


@dataclass(frozen=True, kw_only=True)
class ReconKeys:
    """Where a file keeps what is read, and the time between its frames."""

    images: str = "images/rgb_left"
    """JPEG or PNG bytes, or uint8 [frame, height, width, 3]."""
    positions: str = "jackal/position"
    yaws: str = "jackal/yaw"
    times: str | None = None
    """Times of the frames [s]; None: they come every `period_s`."""
    period_s: float = 0.25
    """Time between frames [s]; RECON holds no times."""


RECON = ReconKeys()


def read_recon(
    path: Path, *, keys: ReconKeys = RECON, place: str | None = None
) -> Iterator[Recording | Skipped]:
    """Open one HDF5 file, or all below a folder in the order of their paths.

    Args:
        path: A `.hdf5` or `.h5` file, or a folder.
        keys: What lies where in the files.
        place: Where it was driven; None: the name of the folder.

    Yields:
        A recording for each file, its poses read and its images to be read one by one; or why there is none.
    """
    _need_h5py()
    root = path if path.is_dir() else path.parent
    files = sorted(found for found in root.rglob("*") if found.suffix in SUFFIXES and found.is_file())
    files = files if path.is_dir() else [path]
    if not files or not path.exists():
        raise FileNotFoundError(
            f"needed an HDF5 file ({', '.join(SUFFIXES)}) or a folder of them, got {path}"
        )
    for file in files:
        name = "_".join(file.relative_to(root).with_suffix("").parts)
        try:
            yield _open_recording(file, name, place or root.absolute().name, keys)
        except _NOT_READABLE as error:
            yield Skipped(file, str(error))


@dataclass(frozen=True)
class Hdf5Images:
    """The images of one HDF5 file; the file is open while they are read."""

    path: Path
    key: str
    num_images: int = field(repr=False)

    def __len__(self) -> int:
        return self.num_images

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each."""
        with _need_h5py().File(self.path, "r") as file:
            dataset = _find_dataset(file, self.key)
            for index in indices:
                yield _read_image(dataset, index, f"{self.path}, {self.key}[{index}]")


def _need_h5py() -> Any:
    try:
        import h5py  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install 'worldnav[hdf5]'") from error
    return h5py


def _open_recording(path: Path, name: str, place: str, keys: ReconKeys) -> Recording:
    with _need_h5py().File(path, "r") as file:
        images = _find_dataset(file, keys.images)
        _check_images(images, path)
        positions = _read_numbers(_find_dataset(file, keys.positions), path)
        yaws_rad = _read_numbers(_find_dataset(file, keys.yaws), path)
        num_images = images.shape[0]
        times_s = (
            np.arange(num_images) * keys.period_s
            if keys.times is None
            else _read_numbers(_find_dataset(file, keys.times), path)[:, 0]
        )
    if positions.shape[1] < 2 or yaws_rad.shape[1] != 1:
        raise ValueError(
            f"{path} needs positions [frame, 2 or 3] and yaws [frame]; it holds {list(positions.shape)} and "
            f"{list(yaws_rad.shape)}"
        )
    lengths = (num_images, len(positions), len(yaws_rad), len(times_s))
    if len(set(lengths)) > 1 or num_images == 0:
        raise ValueError(
            f"{path}: lengths disagree, or it is empty: {lengths[0]} images, {lengths[1]} positions, "
            f"{lengths[2]} yaws, {lengths[3]} times"
        )
    return Recording(
        name=name,
        place=place,
        images=Hdf5Images(path, keys.images, num_images),
        image_times_s=times_s,
        track=PoseTrack(times_s, np.column_stack([positions[:, :2], yaws_rad])),
    )


def _find_dataset(file: "h5py.File", key: str) -> "h5py.Dataset":
    """Return the data set that a key leads to, all of it inside this file."""
    h5py = _need_h5py()
    found: Any = file
    remaining = _parts(key)
    num_soft_links = 0
    while remaining:
        part = remaining.pop(0)
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise ValueError(f"{file.filename} has no {key!r}; other names are set with `ReconKeys`")
        if isinstance(link, h5py.SoftLink):
            # Followed by hand, since HDF5 would also follow an external link on its way.
            num_soft_links += 1
            if num_soft_links > _MAX_SOFT_LINKS:
                raise ValueError(f"{file.filename}: {key!r} is a chain of more than {_MAX_SOFT_LINKS} links")
            found = file if link.path.startswith("/") else found
            remaining = _parts(link.path) + remaining
        elif isinstance(link, h5py.HardLink):
            found = found[part]
        else:
            raise ValueError(f"{file.filename}: {key!r} leads out of the file, which is refused")
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{file.filename}: {key!r} is no data set; other names are set with `ReconKeys`")
    if found.is_virtual or found.external:
        raise ValueError(f"{file.filename}: {key!r} keeps its data in other files, which is refused")
    _check_size(found, file.filename)
    return found


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _check_size(dataset: "h5py.Dataset", path: str) -> None:
    if dataset.shape is None or dataset.ndim == 0:
        raise ValueError(f"{path}: {dataset.name} holds no rows")
    row_bytes = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    chunk_bytes = math.prod(dataset.chunks or (1,)) * dataset.dtype.itemsize
    if dataset.shape[0] > MAX_FRAMES or row_bytes > MAX_IMAGE_BYTES or chunk_bytes > MAX_CHUNK_BYTES:
        raise ValueError(
            f"{path}: {dataset.name} has {dataset.shape[0]} rows of {row_bytes} bytes in pieces of "
            f"{chunk_bytes}; at most {MAX_FRAMES}, {MAX_IMAGE_BYTES} and {MAX_CHUNK_BYTES} are read"
        )


def _check_images(dataset: "h5py.Dataset", path: Path) -> None:
    h5py = _need_h5py()
    if dataset.dtype == np.uint8 and dataset.ndim == 4 and dataset.shape[-1] == 3:
        return
    # Strings of variable length end at the first zero byte, so no image survives in one.
    holds_bytes = dataset.dtype.kind in "SV" or h5py.check_vlen_dtype(dataset.dtype) == np.uint8
    if dataset.ndim != 1 or not holds_bytes or dataset.dtype.names is not None:
        raise ValueError(
            f"{path} needs images as bytes [frame] or uint8 [frame, height, width, 3]; {dataset.name} is "
            f"{dataset.dtype} {list(dataset.shape)}"
        )


def _read_numbers(dataset: "h5py.Dataset", path: Path) -> Float64[np.ndarray, "_ column"]:
    if dataset.dtype.kind not in "fiu" or dataset.ndim > 2 or math.prod(dataset.shape[1:]) > 16:
        raise ValueError(
            f"{path} needs rows of a few numbers; {dataset.name} is {dataset.dtype} {list(dataset.shape)}"
        )
    return dataset[()].astype(np.float64).reshape(dataset.shape[0], -1)


def _read_image(dataset: "h5py.Dataset", index: int, name: str) -> SourceImage:
    try:
        value = dataset[index]
    except _NOT_READABLE as error:
        return BadImage(f"{name} cannot be read: {error}")
    if isinstance(value, np.ndarray) and value.ndim == 3:
        return value
    data = value if isinstance(value, bytes) else value.tobytes()
    # Bytes of fixed length are filled up with zeros, which no JPEG or PNG ends in.
    data = data.rstrip(b"\0")
    if not 0 < len(data) <= MAX_IMAGE_BYTES:
        return BadImage(f"{name} has {len(data)} bytes; an image has 1 to {MAX_IMAGE_BYTES}")
    return EncodedImage(data, name)
