"""WAD: the files of Doom games: named lumps of bytes, ten of them a level.

Source: https://doomwiki.org/wiki/WAD, /wiki/Linedef, /wiki/Sidedef, /wiki/Sector, /wiki/Thing.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from envs.levels import LEVELS

__all__ = ["LINE", "NO_SIDE", "SECTOR", "SIDE", "THING", "VERTEX", "Lump", "read_levels", "write_wad"]

THING = np.dtype([("place", "<i2", 2), ("angle", "<i2"), ("type", "<i2"), ("flags", "<u2")])
LINE = np.dtype(
    [("vertices", "<u2", 2), ("flags", "<u2"), ("special", "<u2"), ("tag", "<u2"), ("sides", "<u2", 2)]
)
SIDE = np.dtype([("textures", "V28"), ("sector", "<u2")])
VERTEX = np.dtype("<i2")
SECTOR = np.dtype(
    [
        ("floor", "<i2"),
        ("ceiling", "<i2"),
        ("textures", "V16"),
        ("light", "<i2"),
        ("special", "<i2"),
        ("tag", "<u2"),
    ]
)
NO_SIDE = 0xFFFF
"""The back side of a line that has none."""

_NUM_LEVEL_LUMPS = 10


@dataclass(frozen=True)
class Lump:
    """A named piece of a WAD."""

    name: str
    data: bytes


def read_levels(path: Path) -> dict[str, tuple[Lump, ...]]:
    """Return the ten lumps of every level in a game, by the level's name in lower case."""
    with path.open("rb") as file:
        num_lumps, directory = struct.unpack("<4xii", file.read(12))
        file.seek(directory)
        entries = list(struct.iter_unpack("<ii8s", file.read(16 * num_lumps)))
        names = [name.rstrip(b"\0").decode("ascii") for _, _, name in entries]
        levels = {}
        for index, name in enumerate(names):
            if name.lower() in LEVELS:
                rows = range(index + 1, index + 1 + _NUM_LEVEL_LUMPS)
                levels[name.lower()] = tuple(
                    Lump(names[row], _read_at(file, *entries[row][:2])) for row in rows
                )
    return levels


def write_wad(path: Path, lumps: list[Lump]) -> None:
    """Write a patch WAD, which an engine loads after the game."""
    starts = np.cumsum([12] + [len(lump.data) for lump in lumps])
    directory = b"".join(
        struct.pack("<ii8s", start, len(lump.data), lump.name.encode("ascii"))
        for start, lump in zip(starts[:-1], lumps, strict=True)
    )
    header = struct.pack("<4sii", b"PWAD", len(lumps), starts[-1])
    path.write_bytes(header + b"".join(lump.data for lump in lumps) + directory)


def _read_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
