"""Solid things: the decorations of Doom's levels that stand in the player's way, by type number."""

from envs.clearance import UNITS_PER_M

_BARREL, _DECORATION, _TREE = 10 / UNITS_PER_M, 16 / UNITS_PER_M, 32 / UNITS_PER_M

_HANGING = (49, 50, 51, 52, 53, 72, 73, 74, 75, 76, 77, 78)
_LAMPS = (35, 85, 86, 2028)
_PILLARS = (30, 31, 32, 33, 36, 37, 48)
_STAKES = (25, 26, 27, 28, 29)
_TORCHES = (41, 42, 44, 45, 46, 55, 56, 57, 70)
_TREES_AND_ROCKS = (43, 47, 88, 5050)

SOLID_RADIUS_M: dict[int, float] = {
    **dict.fromkeys(_HANGING + _LAMPS + _PILLARS + _STAKES + _TORCHES + _TREES_AND_ROCKS, _DECORATION),
    54: _TREE,
    2035: _BARREL,
}
"""Type number of a thing in a WAD -> half the width of its box [m].

Source: the actor definitions of ZDoom (`doomdecorations.txt`). Hanging bodies are counted as standing on
the floor: a few could be passed beneath, none is walked into.
"""
