"""A static game: a patch of a Doom game in which nothing but the player moves or changes.

The camera can only be a function of the pose if the level is the same at every visit. So in the patch

* no line does anything: no lift, teleporter, crusher or exit; every door stands open;
* no sector flickers, scrolls or hurts; items cannot be picked up;
* no sector is darker than `MIN_LIGHT`: a quarter of the views of the original levels are nearly black;
* the player is invulnerable, and carries an item, `Brake`, whose use zeroes his velocity.

Walls, floors, textures and things stay as their authors made them.
Source: https://doomwiki.org/wiki/Linedef_type; https://zdoom.org/wiki/DECORATE.
"""

from pathlib import Path

import numpy as np

from envs.wad import LINE, NO_SIDE, SECTOR, SIDE, Lump, read_levels, write_wad

__all__ = ["MIN_LIGHT", "make_static", "write_static_game"]

MIN_LIGHT = 208
"""Least light level of a sector, of 0 to 255. Of views of map02 and e2m2 the mean grey level [0, 255] is 31
as their authors lit them and 52 with this; 255 adds little."""

_MANUAL_DOORS = (1, 26, 27, 28, 31, 32, 33, 34, 117, 118)
"""Line types that open the sector behind them."""
_TAGGED_DOORS = (
    *(2, 4, 29, 46, 61, 63, 86, 90, 99, 103, 105, 106, 108, 109),
    *(111, 112, 114, 115, 133, 134, 135, 136, 137),
)
"""Line types that open the sectors with their tag."""
_LINTEL = 4
"""What an open door leaves hanging [map units], as in the original game."""

_PLAYER = b"""
actor Brake : CustomInventory
{
  +INVENTORY.INVBAR
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


def write_static_game(game: Path, patch: Path) -> None:
    """Write the patch that makes all levels of a game static.

    Args:
        game: WAD file of the game (read only).
        patch: WAD file to write; the engine loads it after the game.
    """
    lumps = [Lump("DECORATE", _PLAYER), Lump("ZMAPINFO", _GAME)]
    for name, level in read_levels(game).items():
        lumps.append(Lump(name.upper(), b""))
        lumps.extend(make_static(level))
    write_wad(patch, lumps)


def make_static(level: tuple[Lump, ...]) -> tuple[Lump, ...]:
    """Return a level's lumps with its doors open, its sectors lit, and nothing that moves."""
    data = {lump.name: lump.data for lump in level}
    lines = np.frombuffer(data["LINEDEFS"], LINE).copy()
    sides = np.frombuffer(data["SIDEDEFS"], SIDE)
    sectors = np.frombuffer(data["SECTORS"], SECTOR).copy()
    sectors["ceiling"] = _open_ceilings(lines, sides, sectors)
    lines["special"] = 0
    sectors["special"] = 0
    sectors["light"] = np.maximum(sectors["light"], MIN_LIGHT)
    data |= {"LINEDEFS": lines.tobytes(), "SECTORS": sectors.tobytes()}
    return tuple(Lump(lump.name, data[lump.name]) for lump in level)


def _open_ceilings(lines: np.ndarray, sides: np.ndarray, sectors: np.ndarray) -> np.ndarray:
    """Return the ceiling of every sector with the doors raised to where the game would raise them."""
    two_sided = lines[(lines["sides"] != NO_SIDE).all(axis=-1)]
    front, back = sides["sector"][two_sided["sides"]].T
    manual = back[np.isin(two_sided["special"], _MANUAL_DOORS)]
    tags = lines["tag"][np.isin(lines["special"], _TAGGED_DOORS)]
    doors = np.union1d(manual, np.flatnonzero(np.isin(sectors["tag"], tags[tags != 0])))
    ceilings = sectors["ceiling"].copy()
    for door in doors:
        neighbours = np.concatenate([back[front == door], front[back == door]])
        neighbours = neighbours[~np.isin(neighbours, doors)]
        if len(neighbours):
            ceilings[door] = max(ceilings[door], sectors["ceiling"][neighbours].min() - _LINTEL)
    return ceilings
