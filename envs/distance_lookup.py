"""DistanceLookup: a distance field's values for a hundredth of the time, where that is easy."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from envs.clearance import HEAD_ROOM_M, STEP_UP_M
from envs.geodesic import DistanceField, WalkableMap

__all__ = ["DistanceLookup"]

_NEAR_M = 1.1
"""Nearer than this the field is asked: success is decided at 1 m, and must not depend on this shortcut."""


class DistanceLookup:
    """Walking distance to one goal.

    Between four nodes of the map with nothing in the way, it is the shortest way over one of the four, up to
    3% longer than the field's over more of them; elsewhere, and near the goal, it is what the field says.

    Args:
        field: The distance field.
    """

    def __init__(self, field: DistanceField) -> None:
        self.field = field
        walkable = field.walkable
        origin_m = walkable.clearance.origin_m
        self._x_m, self._y_m = float(origin_m[0]), float(origin_m[1])
        self._spacing_m = walkable.spacing_m
        self._is_open = _open_squares(walkable)
        self._distances_m = np.full(
            walkable.clearance.is_free[:: walkable.stride, :: walkable.stride].shape, np.inf
        )
        rows_columns = np.rint((walkable.nodes_m - origin_m) / walkable.spacing_m).astype(int)
        self._distances_m[rows_columns[:, 1], rows_columns[:, 0]] = field.node_distance_m[:-1]

    def distance_m(self, x_m: float, y_m: float) -> float:
        """Return the walking distance to the goal [m], inf if there is no way."""
        spacing_m = self._spacing_m
        column, right = divmod((x_m - self._x_m) / spacing_m, 1)
        row, up = divmod((y_m - self._y_m) / spacing_m, 1)
        i, j = int(row), int(column)
        num_rows, num_columns = self._is_open.shape
        if not (0 <= i < num_rows and 0 <= j < num_columns and self._is_open[i, j]):
            return self.field.distance_m(np.array([x_m, y_m]))
        (low, low_right), (high, high_right) = self._distances_m[i : i + 2, j : j + 2].tolist()
        distance_m = min(
            low + spacing_m * math.hypot(right, up),
            low_right + spacing_m * math.hypot(1 - right, up),
            high + spacing_m * math.hypot(right, 1 - up),
            high_right + spacing_m * math.hypot(1 - right, 1 - up),
        )
        return distance_m if distance_m > _NEAR_M else self.field.distance_m(np.array([x_m, y_m]))


@lru_cache(maxsize=2)
def _open_squares(walkable: WalkableMap) -> Bool[np.ndarray, "row column"]:
    """Return for each square of four nodes whether one can walk all over it, in every direction."""
    clearance, stride = walkable.clearance, walkable.stride
    num_rows, num_columns = (size // stride * stride - stride for size in clearance.is_free.shape)
    windows = [
        (slice(row, row + num_rows, stride), slice(column, column + num_columns, stride))
        for row in range(stride + 1)
        for column in range(stride + 1)
    ]
    is_free = np.logical_and.reduce([clearance.is_free[window] for window in windows])
    highest_m = np.maximum.reduce([clearance.floor_m[window] for window in windows])
    lowest_m = np.minimum.reduce([clearance.low_floor_m[window] for window in windows])
    ceiling_m = np.minimum.reduce([clearance.ceiling_m[window] for window in windows])
    return is_free & (highest_m - lowest_m <= STEP_UP_M) & (ceiling_m - highest_m >= HEAD_ROOM_M)
