"""Clearance: where a player's box fits into a level, and the floor and ceiling it meets there.

The rule is Doom's own (`P_CheckPosition`): the player is an axis-aligned box, 32 x 32 map units wide. A place
is out of bounds if the box touches a blocking line; otherwise the player stands on the *highest* floor of all
sectors that the box touches, under the *lowest* ceiling. So height is a function of place, and a ledge is
left only when the whole box has left it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_Index = tuple[np.ndarray | slice, np.ndarray | slice]

UNITS_PER_M = 32.0
"""Doom map units in a metre."""
PLAYER_RADIUS_M = 16 / UNITS_PER_M
STEP_UP_M = 24 / UNITS_PER_M
HEAD_ROOM_M = 56 / UNITS_PER_M


@dataclass(frozen=True, kw_only=True)
class Sector:
    """A part of the level with one floor and one ceiling height [m].

    `lines` are its edges (x1, y1, x2, y2) [m], those with the sector on exactly one side; an edge between two
    sectors stands in both.
    """

    floor_m: float
    ceiling_m: float
    lines: Float[np.ndarray, "line 4"]
    is_blocking: Bool[np.ndarray, " line"]


@dataclass(frozen=True, kw_only=True)
class Clearance:
    """A grid of places: what the player's box meets when its centre is at the centre of a cell.

    Rows follow y, columns follow x; `origin_m` is the centre of cell (0, 0). `floor_m` and `ceiling_m` are
    the heights that a box with the margin stands on and under [m], `low_floor_m` that of a box smaller than
    the player by the margin: beside a ledge nobody knows on which of the two the player is. They mean
    nothing where `is_free` is false.
    """

    origin_m: Float[np.ndarray, " 2"]
    resolution_m: float
    floor_m: Float[np.ndarray, "row column"]
    low_floor_m: Float[np.ndarray, "row column"]
    ceiling_m: Float[np.ndarray, "row column"]
    is_free: Bool[np.ndarray, "row column"]

    def cells(self, points_m: Float[np.ndarray, "*batch 2"]) -> Int[np.ndarray, "*batch 2"]:
        """Return (row, column) of the cells that hold the points, clamped to the grid.

        The outermost cells are never free, so clamping cannot make a far point walkable.
        """
        column_row = np.rint((points_m - self.origin_m) / self.resolution_m).astype(np.int64)
        return np.clip(column_row[..., ::-1], 0, np.array(self.is_free.shape) - 1)

    def admits(
        self, starts: Int[np.ndarray, "*batch 2"], ends: Int[np.ndarray, "*batch 2"]
    ) -> Bool[np.ndarray, " *batch"]:
        """Return whether the player can move between neighbouring cells; True means yes.

        A step up of at most 0.75 m and head room of 1.75 m are needed; a drop may be of any height,
        so moves are one-way. The step is counted from the lower floor at the start to the higher at the end:
        with one floor a place, a player just below a ledge was taken for one on it (found by driving).
        """
        return self.admits_at((starts[..., 0], starts[..., 1]), (ends[..., 0], ends[..., 1]))

    def admits_at(self, starts: _Index, ends: _Index) -> Bool[np.ndarray, "..."]:
        """Return the same for cells given as (rows, columns), either index arrays or slices."""
        start_high, end_high = self.floor_m[starts], self.floor_m[ends]
        start_low, end_low = self.low_floor_m[starts], self.low_floor_m[ends]
        most = STEP_UP_M + 1e-6
        climbs = end_high - start_low <= most
        # Along a ledge or off it: neither a player on it nor one below it climbs.
        climbs |= (
            (start_high - start_low > most) & (end_high - start_high <= most) & (end_low - start_low <= most)
        )
        head_room = self.ceiling_m[ends] - np.maximum(start_high, end_high)
        fits = head_room >= HEAD_ROOM_M - 1e-6
        return np.asarray(self.is_free[starts] & self.is_free[ends] & climbs & fits)

    def sees(
        self, starts_m: Float[np.ndarray, "*batch 2"], ends_m: Float[np.ndarray, "*batch 2"]
    ) -> Bool[np.ndarray, " *batch"]:
        """Return whether the player can walk straight from each start to its end; True means yes."""
        length_m = float(np.max(np.linalg.norm(ends_m - starts_m, axis=-1), initial=0.0))
        # An even number of samples misses the corners of cells on a diagonal from centre to centre.
        num_samples = 2 * int(np.ceil(length_m / self.resolution_m)) + 2
        shares = np.linspace(0, 1, num_samples)[:, None]
        cells = self.cells(starts_m[..., None, :] + shares * (ends_m - starts_m)[..., None, :])
        return np.asarray(self.admits(cells[..., :-1, :], cells[..., 1:, :]).all(axis=-1))


def measure_clearance(
    sectors: list[Sector],
    *,
    resolution_m: float,
    margin_m: float,
    barriers: Float[np.ndarray, "barrier 4"],
    obstacles: Float[np.ndarray, "obstacle 3"],
) -> Clearance:
    """Rasterise a level.

    Args:
        sectors: The level's geometry.
        resolution_m: Distance of neighbouring cells [m].
        margin_m: How much wider than the player the box is on every side [m]; less than the player's radius.
        barriers: Further lines that must not be touched (x1, y1, x2, y2) [m], such as teleporters.
        obstacles: Solid things (x, y, radius) [m]; Doom's things are square boxes too.

    Returns:
        The clearance at every cell of the level's bounding box.
    """
    lines = np.concatenate([sector.lines for sector in sectors]).astype(np.float64)
    ends = lines.reshape(-1, 2)
    # An irrational fraction of a cell keeps cell centres off the level's whole-unit vertices and lines.
    origin_m = ends.min(axis=0) - resolution_m * (2 + 1 / np.pi)
    num_columns, num_rows = (np.ceil((ends.max(axis=0) - origin_m) / resolution_m).astype(int) + 3).tolist()
    owner = _fill(sectors, origin_m=origin_m, resolution_m=resolution_m, shape=(num_rows, num_columns))
    # The cells outside every sector get index -1: the appended last entry, a place with no room.
    floor_m = np.array([sector.floor_m for sector in sectors] + [0.0])[owner]
    ceiling_m = np.array([sector.ceiling_m for sector in sectors] + [0.0])[owner]
    low_floor_m = floor_m.copy()
    is_free = owner >= 0
    grid = _Grid(origin_m=origin_m, resolution_m=resolution_m, shape=is_free.shape)
    reach_m = PLAYER_RADIUS_M + margin_m
    for sector in sectors:
        for line, blocks in zip(sector.lines, sector.is_blocking, strict=True):
            window, touches = grid.touched(line, reach_m)
            if blocks:
                is_free[window] &= ~touches
            else:
                np.maximum(floor_m[window], sector.floor_m, out=floor_m[window], where=touches)
                np.minimum(ceiling_m[window], sector.ceiling_m, out=ceiling_m[window], where=touches)
                window, touches = grid.touched(line, PLAYER_RADIUS_M - margin_m)
                np.maximum(low_floor_m[window], sector.floor_m, out=low_floor_m[window], where=touches)
    for line in barriers:
        window, touches = grid.touched(line, reach_m)
        is_free[window] &= ~touches
    for x_m, y_m, radius_m in obstacles:
        window, touches = grid.touched(np.array([x_m, y_m, x_m, y_m]), reach_m + float(radius_m))
        is_free[window] &= ~touches
    is_free &= ceiling_m - floor_m >= HEAD_ROOM_M - 1e-6
    return Clearance(
        origin_m=origin_m,
        resolution_m=resolution_m,
        floor_m=floor_m,
        low_floor_m=low_floor_m,
        ceiling_m=ceiling_m,
        is_free=is_free,
    )


@dataclass(frozen=True, kw_only=True)
class _Grid:
    origin_m: Float[np.ndarray, " 2"]
    resolution_m: float
    shape: tuple[int, int]

    def touched(self, line: np.ndarray, reach_m: float) -> tuple[tuple[slice, slice], np.ndarray]:
        """Return a window of the grid, and where in it a box of half-width `reach_m` touches a line."""
        x1, y1, x2, y2 = line.tolist()
        columns = self._span(min(x1, x2) - reach_m, max(x1, x2) + reach_m, axis=0)
        rows = self._span(min(y1, y2) - reach_m, max(y1, y2) + reach_m, axis=1)
        x_m = self.origin_m[0] + self.resolution_m * np.arange(columns.start, columns.stop)
        y_m = self.origin_m[1] + self.resolution_m * np.arange(rows.start, rows.stop)[:, None]
        normal_x, normal_y = y1 - y2, x2 - x1
        distance = normal_x * (x_m - x1) + normal_y * (y_m - y1)
        return (rows, columns), np.abs(distance) <= reach_m * (abs(normal_x) + abs(normal_y))

    def _span(self, low_m: float, high_m: float, *, axis: int) -> slice:
        offset_m = float(self.origin_m[axis])
        limit = self.shape[1 - axis]
        first = int(np.ceil((low_m - offset_m) / self.resolution_m))
        last = int(np.floor((high_m - offset_m) / self.resolution_m))
        return slice(min(max(first, 0), limit), max(min(last + 1, limit), 0))


def _fill(
    sectors: list[Sector], *, origin_m: np.ndarray, resolution_m: float, shape: tuple[int, int]
) -> Int[np.ndarray, "row column"]:
    """Return the index of the sector that holds each cell's centre, -1 outside (even-odd scan lines)."""
    lines = np.concatenate([sector.lines for sector in sectors]).astype(np.float64)
    index = np.repeat(np.arange(len(sectors)), [len(sector.lines) for sector in sectors])
    x1, y1, x2, y2 = ((lines - np.tile(origin_m, 2)) / resolution_m).T
    first = np.ceil(np.minimum(y1, y2)).astype(int)
    num_crossed = np.ceil(np.maximum(y1, y2)).astype(int) - first  # half-open, so a shared vertex counts once
    line = np.repeat(np.arange(len(lines)), num_crossed)
    rank = np.arange(len(line)) - np.repeat(np.cumsum(num_crossed) - num_crossed, num_crossed)
    row = first[line] + rank
    crossing = x1[line] + (row - y1[line]) * (x2 - x1)[line] / (y2 - y1)[line]
    sector = index[line]
    order = np.lexsort((crossing, row, sector))
    row, crossing, sector = row[order], crossing[order], sector[order]
    owner = np.full(shape, -1)
    # A sector that is not closed has an odd number of crossings in some rows; those rows are left out.
    _, group, size = np.unique(sector * shape[0] + row, return_inverse=True, return_counts=True)
    whole = size[group] % 2 == 0
    row, crossing, sector = row[whole], crossing[whole], sector[whole]
    spans = zip(row[::2], crossing[::2], crossing[1::2], sector[::2], strict=True)
    for span_row, low, high, span_sector in spans:
        owner[span_row, int(np.ceil(low)) : int(np.floor(high)) + 1] = span_sector
    return owner
