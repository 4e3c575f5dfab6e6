"""Clearance: the box against walls, floors and ceilings."""

import numpy as np
import pytest

from envs.clearance import Sector, measure_clearance

NOTHING = np.zeros((0, 4))
NO_THINGS = np.zeros((0, 3))


def sector(polygon: list[tuple[float, float]], *, floor_m: float, is_blocking: bool = True) -> Sector:
    ends = np.array(polygon, dtype=float)
    lines = np.concatenate([ends, np.roll(ends, -1, axis=0)], axis=1)
    return Sector(floor_m=floor_m, ceiling_m=5.0, lines=lines, is_blocking=np.full(len(lines), is_blocking))


def touches(line: np.ndarray, centre: np.ndarray, reach_m: float) -> bool:
    """Reference: clip the segment to the box (Liang and Barsky)."""
    low, high = 0.0, 1.0
    for axis in range(2):
        start, span = line[axis] - centre[axis], line[axis + 2] - line[axis]
        if span == 0:
            if abs(start) > reach_m:
                return False
            continue
        first, second = sorted(((-reach_m - start) / span, (reach_m - start) / span))
        low, high = max(low, first), min(high, second)
    return low <= high


def test_box_touches_lines_as_by_clipping():
    rng = np.random.default_rng(0)
    room = sector([(0, 0), (7, 0), (7, 5), (0, 5)], floor_m=0.0)
    barriers = rng.uniform(1, 4, size=(3, 4))
    clearance = measure_clearance(
        [room], resolution_m=0.125, margin_m=0.0, barriers=barriers, obstacles=NO_THINGS
    )
    lines = np.concatenate([room.lines, barriers])
    for row, column in rng.integers((1, 1), np.array(clearance.is_free.shape) - 1, size=(500, 2)):
        centre = clearance.origin_m + 0.125 * np.array([column, row])
        inside = 0 < centre[0] < 7 and 0 < centre[1] < 5
        free = inside and not any(touches(line, centre, 0.5) for line in lines)
        assert clearance.is_free[row, column] == free


def test_sector_inside_a_sector_owns_its_own_floor():
    """The hole's edges stand in both; even-odd filling gives each place to exactly one of them."""
    hole = [(2.0, 2.0), (5.0, 2.5), (3.0, 5.0)]
    outer = sector([(0, 0), (7, 0), (7, 7), (0, 7)], floor_m=0.0)
    inner = sector(hole, floor_m=0.5, is_blocking=False)
    outer = Sector(
        floor_m=0.0,
        ceiling_m=5.0,
        lines=np.concatenate([outer.lines, inner.lines]),
        is_blocking=np.array([True] * 4 + [False] * 3),
    )
    clearance = measure_clearance(
        [outer, inner], resolution_m=0.125, margin_m=0.0, barriers=NOTHING, obstacles=NO_THINGS
    )

    def floor_at(x_m: float, y_m: float) -> float:
        row, column = clearance.cells(np.array([x_m, y_m]))
        return float(clearance.floor_m[row, column])

    assert floor_at(3.3, 3.1) == 0.5
    assert floor_at(6.0, 6.0) == 0.0
    # 0.3 m west of the hole's corner the box, 0.5 m wide to each side, still stands on the higher floor.
    assert floor_at(1.7, 2.0) == 0.5
    assert floor_at(1.3, 2.0) == 0.0


def test_moves_are_refused_in_the_direction_that_climbs():
    low = sector([(0, 0), (5, 0), (5, 3), (0, 3)], floor_m=0.0)
    high = sector([(5, 0), (9, 0), (9, 3), (5, 3)], floor_m=2.0)
    low.is_blocking[1] = high.is_blocking[3] = False
    clearance = measure_clearance(
        [low, high], resolution_m=0.25, margin_m=0.0, barriers=NOTHING, obstacles=NO_THINGS
    )
    west, east = np.array([2.0, 1.5]), np.array([7.0, 1.5])
    seen = clearance.sees(np.stack([west, east, west]), np.stack([east, west, west + 1.0]))
    np.testing.assert_array_equal(seen, [False, True, True])


@pytest.mark.parametrize("far", [1e3, -1e3])
def test_far_points_are_never_free(far: float):
    room = sector([(0, 0), (7, 0), (7, 5), (0, 5)], floor_m=0.0)
    clearance = measure_clearance(
        [room], resolution_m=0.25, margin_m=0.0, barriers=NOTHING, obstacles=NO_THINGS
    )
    row, column = clearance.cells(np.array([far, 2.0]))
    assert not clearance.is_free[row, column]
