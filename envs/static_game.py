"""A static game: a patch of a Doom game in which nothing but the player moves or changes.

The camera can only be a function of the pose if the level is the same at every visit. So in the patch

* no line does anything: no lift, teleporter, crusher or exit; every door stands open;
* no sector flickers, scrolls or hurts; items cannot be picked up;
* the player is invulnerable, and using the item `Brake` stops him (the engine's only exact way to zero the velocity).

Walls, floors, textures and things stay as their authors made them.
Source: the formats of https://doomwiki.org/wiki/WAD, /wiki/Linedef, /wiki/Linedef_type.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.levels import LEVELS

__all__ = ["write_static_game"]

_LINE = np.dtype(
    [("vertices", "<u2", 2), ("flags", "<u2"), ("special", "<u2"), ("tag", "<u2"), ("sides", "<u2", 2)]
)
_SIDE = np.dtype([("textures", "V28"), ("sector", "<u2")])
_SECTOR = np.dtype(
    [
        ("floor", "<i2"),
        ("ceiling", "<i2"),
        ("textures", "V16"),
        ("light", "<i2"),
        ("special", "<i2"),
        ("tag", "<u2"),
    ]
)
_NO_SIDE = 0xFFFF
_NUM_MAP_LUMPS = 10

_MANUAL_DOORS = (1, 26, 27, 28, 31, 32, 33, 34, 117, 118)
"""Line types that open the sector behind them."""
_TAGGED_DOORS = (
    2,
    4,
    29,
    46,
    61,
    63,
    86,
    90,
    99,
    103,
    105,
    106,
    108,
    109,
    111,
    112,
    114,
    115,
    133,
    134,
    135,
    136,
    137,
)
"""Line types that open the sectors with their tag."""
_LINTEL = 4
"""What an open door leaves hanging [map units], as in the original game."""

_PLAYER = b"""
actor Brake : CustomInventory
{
  +INVENTORY.UNDROPPABLE
  States
  {
  Use:
    TNT1 A 0 A_Stop
    Fail
  }
}
actor NavigationPlayer : DoomPlayer
{
  -PICKUP
  -TELESTOMP
  +NOTRIGGER
  +NODAMAGE
  +INVULNERABLE
  Player.StartItem "Brake"
}
"""
_GAME = b'gameinfo { playerclasses = "NavigationPlayer" }\n'


@dataclass(frozen=True)
class _Lump:
    name: str
    data: bytes


def write_static_game(game: Path, patch: Path) -> None:
    """Write the patch that makes all levels of a game static.

    Args:
        game: WAD file of the game (read only).
        patch: WAD file to write; the engine loads it after the game.
    """
    lumps = _read_wad(game)
    patched = [_Lump("DECORATE", _PLAYER), _Lump("ZMAPINFO", _GAME)]
    for index, lump in enumerate(lumps):
        if lump.name.lower() in LEVELS:
            patched.append(lump)
            patched.extend(_make_static(lumps[index + 1 : index + 1 + _NUM_MAP_LUMPS]))
    _write_wad(patch, patched)


def _make_static(level: list[_Lump]) -> list[_Lump]:
    """Return a level's lumps with its doors open and nothing that moves."""
    data = {lump.name: lump.data for lump in level}
    lines = np.frombuffer(data["LINEDEFS"], _LINE).copy()
    sides = np.frombuffer(data["SIDEDEFS"], _SIDE)
    sectors = np.frombuffer(data["SECTORS"], _SECTOR).copy()
    _open_doors(lines, sides, sectors)
    lines["special"] = 0
    sectors["special"] = 0
    data |= {"LINEDEFS": lines.tobytes(), "SECTORS": sectors.tobytes()}
    return [_Lump(lump.name, data[lump.name]) for lump in level]


def _open_doors(lines: np.ndarray, sides: np.ndarray, sectors: np.ndarray) -> None:
    """Raise the ceilings of closed doors, in place, to where the game would raise them."""
    two_sided = lines[(lines["sides"] != _NO_SIDE).all(axis=-1)]
    front, back = sides["sector"][two_sided["sides"]].T
    manual = np.isin(two_sided["special"], _MANUAL_DOORS)
    tags = lines["tag"][np.isin(lines["special"], _TAGGED_DOORS)]
    doors = np.union1d(back[manual], np.flatnonzero(np.isin(sectors["tag"], tags[tags != 0])))
    closed_ceiling = sectors["ceiling"].copy()
    for door in doors:
        neighbours = np.concatenate([back[front == door], front[back == door]])
        neighbours = neighbours[~np.isin(neighbours, doors)]
        if len(neighbours):
            lintel = closed_ceiling[neighbours].min() - _LINTEL
            sectors["ceiling"][door] = max(closed_ceiling[door], lintel)


def _read_wad(path: Path) -> list[_Lump]:
    content = path.read_bytes()
    num_lumps, directory = struct.unpack_from("<ii", content, 4)
    lumps = []
    for index in range(num_lumps):
        start, size, name = struct.unpack_from("<ii8s", content, directory + 16 * index)
        lumps.append(_Lump(name.rstrip(b"\0").decode("ascii"), content[start : start + size]))
    return lumps


def _write_wad(path: Path, lumps: list[_Lump]) -> None:
    starts = np.cumsum([12] + [len(lump.data) for lump in lumps])
    directory = b"".join(
        struct.pack("<ii8s", start, len(lump.data), lump.name.encode("ascii"))
        for start, lump in zip(starts, lumps, strict=False)
    )
    header = struct.pack("<4sii", b"PWAD", len(lumps), starts[-1])
    path.write_bytes(header + b"".join(lump.data for lump in lumps) + directory)
