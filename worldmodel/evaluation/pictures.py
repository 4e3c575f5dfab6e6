"""Pictures: files of images in batches of one size, and generated ones into files."""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from rich.progress import track
from torch import Tensor

from data_tools.frames import read_frame
from data_tools.whole_file import whole_file
from worldmodel.evaluation.protocols import Draws

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


def find_pictures(folder: Path) -> list[Path]:
    """Return all JPEG and PNG files below a folder, sorted; FileNotFoundError if there are none."""
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise FileNotFoundError(f"{folder} holds no JPEG or PNG; name a folder of pictures")
    return found


def square(picture: UInt8[np.ndarray, "height width 3"], *, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Return the middle square of a picture at another size."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


def read_squares(
    paths: Sequence[Path], *, size: int, at_once: int = 64
) -> Iterator[UInt8[Tensor, "batch size size 3"]]:
    """Yield the middle squares of pictures in batches."""
    bounds = [*range(0, len(paths), at_once), len(paths)]
    for first, end in pairwise(bounds):
        squares = [square(read_frame(path), size=size) for path in paths[first:end]]
        yield torch.from_numpy(np.stack(squares))


def write_picture(picture: UInt8[Tensor, "height width 3"], path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with whole_file(path) as temporary:
        Image.fromarray(picture.cpu().numpy()).save(temporary, format="PNG")


def draw_into(model: Draws, wanted: Sequence[tuple[str, Path]], folder: Path, *, at_once: int) -> int:
    """Draw a picture for each text into its file; files that are there stay. Return how many were drawn.

    A picture is drawn by the name of its file below `folder`, and beside the same others whatever is there:
    a drawing that was stopped and goes on equals one that was not.
    """
    num_missing = sum(not path.is_file() for _, path in wanted)
    if num_missing < len(wanted):
        print(f"{len(wanted) - num_missing} of {len(wanted)} pictures are there already", file=sys.stderr)
    for first in track(range(0, len(wanted), at_once), description="drawing"):
        part = wanted[first : first + at_once]
        if all(path.is_file() for _, path in part):
            continue
        names = [path.relative_to(folder).as_posix() for _, path in part]
        drawn = model.draw([text for text, _ in part], names=names)
        if len(drawn) != len(part):
            raise ValueError(f"needed {len(part)} pictures, the model drew {len(drawn)}")
        for picture, (_, path) in zip(drawn, part, strict=True):
            if not path.is_file():
                write_picture(picture, path)
    return num_missing
