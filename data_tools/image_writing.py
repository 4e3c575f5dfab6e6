"""Image writing: the chosen images of a recording to JPEG files, one pass, on several threads.

Pillow decodes, scales and encodes outside the interpreter's lock, so threads help; at most a few images are
in memory at any time.
"""

import collections
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image

from data_tools.frames import write_jpeg
from data_tools.quality import NUM_COLUMNS, column_profile
from data_tools.recording import BadImage, EncodedImage, ImageStream, SourceImage

_JPEG_START = b"\xff\xd8\xff"
_MAX_REASONS = 20


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How images are written."""

    size: list[int] | None = None
    """Width and height [pixels]; images are cut to this shape about their middle, then scaled. None keeps
    them as they are, and JPEG images byte for byte."""
    threads: int = 2

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"images.size must be a width and a height in pixels, got {self.size}")
        if self.threads < 1:
            raise ValueError(f"images.threads must be at least 1, got {self.threads}")


@dataclass(frozen=True, eq=False)
class WrittenImages:
    """What became of the images: which could not be read, why, and the profiles of those that could."""

    is_bad: Bool[np.ndarray, " image"]
    reasons: tuple[str, ...]
    profiles: Float32[np.ndarray, "image column"] = field(repr=False)


def write_images(
    images: ImageStream,
    indices: Int64[np.ndarray, " image"],
    folder: Path,
    config: ImageConfig,
    *,
    on_image: Callable[[], object] | None = None,
) -> WrittenImages:
    """Write images as `0.jpg`, `1.jpg`, ... in the order of `indices`; a bad image leaves its number out.

    Every image is decoded, so that a file that is there is one that can be read.
    """
    is_bad = np.zeros(len(indices), dtype=bool)
    profiles = np.zeros((len(indices), NUM_COLUMNS), dtype=np.float32)
    reasons: list[str] = []
    with ThreadPoolExecutor(config.threads) as pool:
        for number, result in enumerate(_results(pool, images, indices, folder, config)):
            if isinstance(result, str):
                is_bad[number] = True
                reasons.append(result)
            else:
                profiles[number] = result
            if on_image is not None:
                on_image()
    if len(reasons) > _MAX_REASONS:
        reasons = [*reasons[:_MAX_REASONS], f"and {len(reasons) - _MAX_REASONS} more images"]
    return WrittenImages(is_bad, tuple(reasons), profiles)


def _results(
    pool: ThreadPoolExecutor,
    images: ImageStream,
    indices: Int64[np.ndarray, " image"],
    folder: Path,
    config: ImageConfig,
) -> Iterator[np.ndarray | str]:
    """Yield the profile of each image, or why there is none, in order; few images wait at any time."""
    waiting: collections.deque[Future[np.ndarray | str]] = collections.deque()
    for number, image in enumerate(images.select(indices.tolist())):
        waiting.append(pool.submit(_write, image, folder / f"{number}.jpg", config.size))
        if len(waiting) > 2 * config.threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _write(image: SourceImage, path: Path, size: list[int] | None) -> np.ndarray | str:
    """Write one image; return its profile, or why it is bad."""
    match image:
        case BadImage():
            return image.reason
        case EncodedImage():
            try:
                decoded = image.decode()
            except ValueError as error:
                return str(error)
            if size is None and image.data.startswith(_JPEG_START):
                path.write_bytes(image.data)
            else:
                write_jpeg(fitted(decoded, size), path)
            return column_profile(decoded)
        case _:
            write_jpeg(fitted(image, size), path)
            return column_profile(image)


def fitted(image: UInt8[np.ndarray, "_ _ 3"], size: list[int] | None) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return an image cut to the shape of `size` (width, height) about its middle, and scaled to it."""
    if size is None or image.shape[1::-1] == tuple(size):
        return image
    height, width = image.shape[:2]
    scale = min(width / size[0], height / size[1])
    cut_width, cut_height = size[0] * scale, size[1] * scale
    left, top = (width - cut_width) / 2, (height - cut_height) / 2
    box = (left, top, left + cut_width, top + cut_height)
    scaled = Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(scaled)


def contact_sheet(pictures: list[UInt8[np.ndarray, "_ _ 3"]], *, columns: int, width: int) -> bytes:
    """Return pictures beside one another, row by row, each `width` wide, as one JPEG."""
    height = round(width * pictures[0].shape[0] / pictures[0].shape[1])
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        small = Image.fromarray(fitted(picture, [width, height]))
        sheet.paste(small, (column * width, row * height))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
