"""Walls: the lines of a level that stop the player, for maps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from envs.clearance import HEAD_ROOM_M, STEP_UP_M, Sector
from envs.level_geometry import read_geometry


def wall_lines(level: str) -> Float64[np.ndarray, "line 4"]:
    """Return walls, and edges of steps too high or openings too low for the player: x1, y1, x2, y2 [m]."""
    geometry = read_geometry(level)
    walls = [geometry.barriers, *(sector.lines[sector.is_blocking] for sector in geometry.sectors)]
    beside: dict[tuple[float, ...], list[Sector]] = {}
    for sector in geometry.sectors:
        for line in sector.lines[~sector.is_blocking].tolist():
            beside.setdefault(tuple(line), []).append(sector)
    ledges = [line for line, sectors in beside.items() if _is_ledge(sectors)]
    lines = np.concatenate([*walls, np.array(ledges, dtype=np.float64).reshape(-1, 4)])
    return np.unique(lines, axis=0)  # a wall between two sectors stands in both


def _is_ledge(sectors: Sequence[Sector]) -> bool:
    floors = [sector.floor_m for sector in sectors]
    room_m = min(sector.ceiling_m for sector in sectors) - max(floors)
    return max(floors) - min(floors) > STEP_UP_M or room_m < HEAD_ROOM_M
