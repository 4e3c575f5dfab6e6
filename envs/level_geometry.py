"""Level geometry: what a static level is made of, read from its file without starting the engine."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from envs.clearance import UNITS_PER_M, Sector
from envs.geodesic import WalkableMap
from envs.levels import game_file
from envs.solid_things import SOLID_RADIUS_M
from envs.static_game import make_static
from envs.wad import LINE, NO_SIDE, SECTOR, SIDE, THING, VERTEX, read_levels

__all__ = ["LevelGeometry", "home_m", "read_geometry", "walkable_map"]

_BLOCKS = 1
_MEDIUM_SKILL = 2
_MULTIPLAYER_ONLY = 16
_PLAYER_START = 1


@dataclass(frozen=True, kw_only=True)
class LevelGeometry:
    """The solid parts of a level with its doors open: what WalkableMap.from_sectors takes.

    Barriers are blocking lines inside one sector (x1, y1, x2, y2) [m]; obstacles are solid decorations
    (x, y, radius) [m]. The start pose is the level's own (x, y, yaw) [m, m, rad].
    """

    sectors: list[Sector]
    barriers: Float64[np.ndarray, "barrier 4"]
    obstacles: Float64[np.ndarray, "obstacle 3"]
    start_pose: Float64[np.ndarray, " 3"]


def read_geometry(level: str) -> LevelGeometry:
    """Read a level's geometry (50 ms)."""
    lumps = make_static(read_levels(game_file(level))[level])
    data = {lump.name: lump.data for lump in lumps}
    lines = np.frombuffer(data["LINEDEFS"], LINE)
    sides = np.frombuffer(data["SIDEDEFS"], SIDE)
    vertices_m = np.frombuffer(data["VERTEXES"], VERTEX).reshape(-1, 2) / UNITS_PER_M
    ends_m = vertices_m[lines["vertices"]].reshape(-1, 4)
    has_back = lines["sides"][:, 1] != NO_SIDE
    blocks = ~has_back | (lines["flags"] & _BLOCKS > 0)
    front = sides["sector"][lines["sides"][:, 0]].astype(int)
    back = np.where(has_back, sides["sector"][np.where(has_back, lines["sides"][:, 1], 0)].astype(int), -1)
    sectors = []
    for index, sector in enumerate(np.frombuffer(data["SECTORS"], SECTOR)):
        is_edge = (front == index) ^ (back == index)
        sectors.append(
            Sector(
                floor_m=float(sector["floor"]) / UNITS_PER_M,
                ceiling_m=float(sector["ceiling"]) / UNITS_PER_M,
                lines=ends_m[is_edge],
                is_blocking=blocks[is_edge],
            )
        )
    things = np.frombuffer(data["THINGS"], THING)
    return LevelGeometry(
        sectors=sectors,
        barriers=ends_m[(front == back) & blocks],
        obstacles=_obstacles(things),
        start_pose=_start_pose(things),
    )


@lru_cache(maxsize=2)
def walkable_map(level: str) -> WalkableMap:
    """Return a level's map (0.2 to 1.5 s; the last two are kept)."""
    geometry = read_geometry(level)
    return WalkableMap.from_sectors(
        geometry.sectors, barriers=geometry.barriers, obstacles=geometry.obstacles
    )


@lru_cache
def home_m(level: str) -> Float64[np.ndarray, " 2"]:
    """Return a point of the region of a level to draw places from: see WalkableMap.home."""
    return walkable_map(level).home(read_geometry(level).start_pose[:2])


def _obstacles(things: np.ndarray) -> Float64[np.ndarray, "obstacle 3"]:
    is_present = (things["flags"] & _MEDIUM_SKILL > 0) & (things["flags"] & _MULTIPLAYER_ONLY == 0)
    solid = things[is_present & np.isin(things["type"], list(SOLID_RADIUS_M))]
    radii_m = np.array([SOLID_RADIUS_M[int(kind)] for kind in solid["type"]])
    return np.column_stack([solid["place"] / UNITS_PER_M, radii_m]).reshape(-1, 3)


def _start_pose(things: np.ndarray) -> Float64[np.ndarray, " 3"]:
    start = things[things["type"] == _PLAYER_START][-1]
    yaw_rad = math.remainder(math.radians(float(start["angle"])), 2 * math.pi)
    return np.array([*(start["place"] / UNITS_PER_M), yaw_rad])
