"""Places: trajectories that come near one another, found from their poses where names say nothing.

Held-out drives of a course that was trained on are no test of new places. Two trajectories share a place if
a frame of one was taken within a radius of a frame of the other, and so do those that others join.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from data_tools.draws import draw
from data_tools.splits import Split
from data_tools.trajectory import Trajectory
from data_tools.world_frame import WorldFrame, world_of

Place = tuple[Trajectory, ...]
_Cell = tuple[str, int, int]


def find_places(
    trajectories: Sequence[Trajectory], *, radius_m: float, frame: WorldFrame
) -> tuple[Place, ...]:
    """Group trajectories by place, in their order.

    Args:
        trajectories: With poses, unless `frame` is own.
        radius_m: Positions at most so far apart are one place.
        frame: Whose positions can be compared. If nobody's, the place names are all that is known, and
            trajectories of one name are one place.

    Returns:
        The places; every trajectory is in one.

    Raises:
        ValueError: If a trajectory has no poses, or the radius is not above 0.
    """
    if not radius_m > 0:
        raise ValueError(f"radius_m must be above 0; got {radius_m}")
    if frame is WorldFrame.own:
        return _grouped(trajectories, [trajectory.place for trajectory in trajectories])
    positions = [positions_of(trajectory) for trajectory in trajectories]
    worlds = [world_of(trajectory, frame) for trajectory in trajectories]
    trees = [KDTree(each) for each in positions]
    roots = list(range(len(trajectories)))
    for first, second in _neighbours(positions, worlds, cell_m=radius_m):
        one, other = _root(roots, first), _root(roots, second)
        # Most pairs of a crowded place are joined already, and need not be measured.
        if one != other and trees[first].query(positions[second])[0].min() <= radius_m:
            roots[max(one, other)] = min(one, other)
    return _grouped(trajectories, [_root(roots, index) for index in range(len(roots))])


def split_by_places(places: Sequence[Place], *, seed: int, held_out_fraction: float) -> Split:
    """Hold out whole places, so many that the fraction of frames is met as nearly as they allow.

    Places are taken in an order that hangs on the seed and on the least name in each; at least one is held
    out. New trajectories may join places, so that unlike in a split by names they may change sides.
    """
    if len(places) < 2:
        names = ", ".join(sorted(each.name for place in places for each in place)[:5])
        raise ValueError(
            f"a split by place needs two places; all {sum(map(len, places))} trajectories are of one: "
            f"{names}, ... Take a smaller radius_m, by=region, or by=trajectory if places do not matter"
        )
    if not 0.0 < held_out_fraction < 1.0:
        raise ValueError(f"the fraction held out must be between 0 and 1; got {held_out_fraction}")
    sizes = [sum(each.num_frames for each in place) for place in places]
    least = [min(f"{each.place}/{each.name}" for each in place) for place in places]
    order = sorted(range(len(places)), key=lambda index: draw(seed, "places", least[index]))
    wanted, taken = held_out_fraction * sum(sizes), 0
    chosen: set[int] = set()
    for index in order:
        if abs(taken + sizes[index] - wanted) < abs(taken - wanted):
            chosen.add(index)
            taken += sizes[index]
    if not chosen:
        chosen = {min(order, key=lambda index: sizes[index])}
    sides = [(index in chosen, each) for index, place in enumerate(places) for each in place]
    return Split(
        train=tuple(each for is_held_out, each in sides if not is_held_out),
        held_out=tuple(each for is_held_out, each in sides if is_held_out),
    )


def positions_of(trajectory: Trajectory) -> Float64[np.ndarray, "_ 2"]:
    """Return where the frames of a trajectory were taken [m]; ValueError for plain video."""
    if trajectory.poses is None:
        raise ValueError(
            f"trajectory {trajectory.name!r} has no poses, so nobody knows where it was; leave it out, or "
            "split by trajectory"
        )
    return trajectory.poses[:, :2]


def _neighbours(
    positions: Sequence[np.ndarray], worlds: Sequence[str], *, cell_m: float
) -> Iterator[tuple[int, int]]:
    """Yield pairs of trajectories that visit the same cell of a grid, or cells side by side."""
    visitors: defaultdict[_Cell, list[int]] = defaultdict(list)
    for index, (position, world) in enumerate(zip(positions, worlds, strict=True)):
        cells = np.unique(np.floor(position / cell_m).astype(np.int64), axis=0).tolist()
        near = {
            other
            for (column, row), (right, up) in product(cells, product((-1, 0, 1), repeat=2))
            for other in visitors.get((world, column + right, row + up), ())
        }
        yield from ((other, index) for other in sorted(near))
        for column, row in cells:
            visitors[world, column, row].append(index)


def _root(roots: list[int], index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = roots[index]
    return index


def _grouped(trajectories: Sequence[Trajectory], keys: Sequence[object]) -> tuple[Place, ...]:
    groups: dict[object, list[Trajectory]] = {}
    for trajectory, key in zip(trajectories, keys, strict=True):
        groups.setdefault(key, []).append(trajectory)
    return tuple(tuple(group) for group in groups.values())
