"""Frames: images of one recording, read from their files only when asked for."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

MAX_PIXELS = 25_000_000
"""Largest image that is decoded: above any navigation camera, far below what fills a memory."""
JPEG_QUALITY = 95


@runtime_checkable
class Frames(Protocol):
    """Images in order: an array [frame, height, width, 3], a list of images, or files read on access."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "height width 3"]: ...


@dataclass(frozen=True)
class FrameFiles:
    """Images in files, one a frame; each access reads its file, nothing is kept."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "height width 3"]:
        return read_frame(self.paths[index])

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        return (read_frame(path) for path in self.paths)


def read_frame(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read one JPEG or PNG as RGB; ValueError if it is unreadable or has more than MAX_PIXELS."""
    try:
        with path.open("rb") as file:
            return decode_frame(file, name=str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is gone, or was never there") from error
    except OSError as error:
        raise ValueError(f"{path} is not a readable JPEG or PNG: {error}") from error


def decode_frame(file: io.BytesIO | io.BufferedReader, *, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Read one JPEG or PNG from an open file as RGB, as `read_frame` does; errors call it `name`."""
    try:
        with Image.open(file, formats=["JPEG", "PNG"]) as image:
            if image.width * image.height <= MAX_PIXELS:
                return np.array(image.convert("RGB"))
            size = f"{image.width} x {image.height}"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name} has more than {MAX_PIXELS} pixels; scale it down first") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for broken files
        raise ValueError(f"{name} is not a readable JPEG or PNG: {error}") from error
    raise ValueError(f"{name} has {size} pixels, more than {MAX_PIXELS}; scale it down first")


def write_frames(frames: Frames, folder: Path) -> None:
    """Write `0.jpg`, `1.jpg`, ... into a folder.

    JPEG files are copied byte for byte, so that a recording may be re-written any number of times without
    loss; arrays are encoded at quality 95 with full colour resolution (4:4:4).
    """
    for index in range(len(frames)):
        target = folder / f"{index}.jpg"
        if isinstance(frames, FrameFiles) and frames.paths[index].suffix == ".jpg":
            shutil.copyfile(frames.paths[index], target)
        else:
            write_jpeg(frames[index], target)


def write_jpeg(frame: np.ndarray, path: Path) -> None:
    """Write uint8 [height, width, 3] at quality 95, full colour resolution; ValueError for other arrays."""
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(
            f"{path.name}: a frame is uint8 [height, width, 3]; this is {frame.dtype} {list(frame.shape)}"
        )
    Image.fromarray(frame).save(path, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
