"""Geodesic: walkable space of a level, and shortest paths in it.

What is walkable: every place where the player's box (0.5 m half-width and a margin) touches no blocking line
and has 1.75 m of head room. Between neighbouring places one may step up at most 0.75 m and drop any height,
so the graph is directed. Heights are those of the sectors given: a closed door (ceiling on its floor) and a
raised lift are obstacles, nothing is assumed to open or move, and no line to teleport.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from envs.clearance import Clearance, Sector, measure_clearance

__all__ = ["DistanceField", "Sector", "WalkableMap"]

_HALF_OF_MOVES = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1))
_MOVES = (*_HALF_OF_MOVES, *((-rows, -columns) for rows, columns in _HALF_OF_MOVES))
"""The 16 moves (rows, columns): straight, diagonal, knight's. Lengths on them are at most 2.8% too long."""
_MAX_LEG = 64
"""Nodes of a path that are tried for one straight leg; without it, smoothing is quadratic in the length."""
_NO_LINES = np.zeros((0, 4))
_NO_OBSTACLES = np.zeros((0, 3))


class WalkableMap:
    """The directed graph of places that a player can stand on.

    Args:
        clearance: Where the player fits, at twice the resolution of the graph's nodes or better.
        stride: Cells of `clearance` from one node to the next.
    """

    def __init__(self, clearance: Clearance, *, stride: int) -> None:
        self.clearance = clearance
        self.stride = stride
        self.spacing_m = stride * clearance.resolution_m
        cells = np.argwhere(clearance.is_free[::stride, ::stride])
        # -1 marks the places that are no node.
        self._node_at = np.full(clearance.is_free[::stride, ::stride].shape, -1)
        self._node_at[tuple(cells.T)] = np.arange(len(cells))
        self.nodes_m: Float64[np.ndarray, "node 2"] = clearance.origin_m + self.spacing_m * cells[:, ::-1]
        self.graph = self._edges(cells)
        self.component: Int[np.ndarray, " node"] = connected_components(self.graph, connection="strong")[1]
        sizes = np.bincount(self.component) if len(cells) else np.zeros(1, dtype=int)
        self.largest_component = int(sizes.argmax())
        self._last: DistanceField | None = None

    @staticmethod
    def from_sectors(
        sectors: Sequence[Sector],
        *,
        resolution_m: float = 0.25,
        margin_m: float = 1 / 16,
        barriers: Float[np.ndarray, "barrier 4"] = _NO_LINES,
        obstacles: Float[np.ndarray, "obstacle 3"] = _NO_OBSTACLES,
    ) -> "WalkableMap":
        """Build the map from a level's geometry.

        Args:
            sectors: Floor and ceiling heights and edges.
            resolution_m: Distance of neighbouring nodes [m]; moves between them are checked at half of it.
            margin_m: Room kept between the player's box and walls [m].
            barriers: Further lines that must not be touched (x1, y1, x2, y2) [m]: teleporters, exits.
            obstacles: Solid things (x, y, radius) [m]: barrels, pillars, trees.

        Returns:
            The map; it raises ValueError if `sectors` is empty.
        """
        if not sectors:
            raise ValueError("needed at least one sector, got none; enable the engine's sector information")
        clearance = measure_clearance(
            list(sectors),
            resolution_m=resolution_m / 2,
            margin_m=margin_m,
            barriers=barriers,
            obstacles=obstacles,
        )
        return WalkableMap(clearance, stride=2)

    def is_walkable(self, points_m: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, " *batch"]:
        """Return whether a player (with the map's margin) can stand at each point."""
        cells = self.clearance.cells(points_m)
        return np.asarray(self.clearance.is_free[cells[..., 0], cells[..., 1]])

    def sample(
        self, *, rng: np.random.Generator, near_m: Float[np.ndarray, " 2"] | None = None
    ) -> Float64[np.ndarray, " 2"]:
        """Draw a walkable point, uniformly from the largest component or from that of the point `near_m` [m].

        Inside a component every place can be reached from every other.
        """
        component = self.largest_component if near_m is None else self.component_of(near_m)
        members = np.flatnonzero(self.component == component)
        if not len(members):
            raise ValueError("the level has no walkable place; check its sectors and the player's radius")
        return self.nodes_m[members[rng.integers(len(members))]]

    def component_of(self, point_m: Float[np.ndarray, " 2"]) -> int:
        """Return the component of the node nearest to a point, from which one can walk to it."""
        nodes, distances_m = self.near(point_m)
        if not len(nodes):
            raise ValueError(f"nothing walkable near ({point_m[0]:.2f}, {point_m[1]:.2f}) m")
        return int(self.component[nodes[distances_m.argmin()]])

    def home(
        self, start_m: Float[np.ndarray, " 2"], *, min_area_m2: float = 300.0
    ) -> Float64[np.ndarray, " 2"]:
        """Return a point of the component to live in: the level start's, or the largest if that is too small.

        The largest is not always the best: some levels lie beside a plain that is only scenery. But some
        starts are cells that one leaves by a teleporter or a lift.
        """
        component = self.component_of(start_m)
        if np.count_nonzero(self.component == component) * self.spacing_m**2 < min_area_m2:
            component = self.largest_component
        return self.nodes_m[np.flatnonzero(self.component == component)[0]]

    def near(
        self, point_m: Float[np.ndarray, " 2"], *, arriving: bool = False
    ) -> tuple[Int[np.ndarray, " node"], Float64[np.ndarray, " node"]]:
        """Return the nodes around a point that are a straight walk away, and how far they are [m].

        With `arriving`, the nodes from which one can walk to the point. A point without such nodes, as where
        the player leans on a wall inside the margin, gets the nearest node within 1 m.
        """
        for reach, must_see in ((2, True), (4, False)):
            nodes = self._around(point_m, reach)
            offsets_m = self.nodes_m[nodes] - point_m
            distances_m = np.linalg.norm(offsets_m, axis=-1)
            if must_see:
                points_m = np.broadcast_to(point_m, self.nodes_m[nodes].shape)
                ends = (self.nodes_m[nodes], points_m) if arriving else (points_m, self.nodes_m[nodes])
                seen = self.clearance.sees(*ends)
                nodes, distances_m = nodes[seen], distances_m[seen]
            if len(nodes):
                return (nodes, distances_m) if must_see else _only_nearest(nodes, distances_m)
        return nodes, distances_m

    def distance_field(self, goal_m: Float[np.ndarray, " 2"]) -> "DistanceField":
        """Return the walking distance from everywhere to a goal [m]; that of the last goal is kept."""
        goal_m = goal_m.astype(np.float64)
        if self._last is not None and np.array_equal(self._last.goal_m, goal_m):
            return self._last
        if not self.is_walkable(goal_m):
            raise ValueError(
                f"the goal ({goal_m[0]:.2f}, {goal_m[1]:.2f}) m is not walkable; "
                "draw goals with WalkableMap.sample"
            )
        nodes, lengths_m = self.near(goal_m, arriving=True)
        # The goal is one more node of the reversed graph, joined to the nodes around it.
        reverse = self._reverse
        graph = csr_array(
            (
                np.concatenate([reverse.data, lengths_m]),
                np.concatenate([reverse.indices, nodes.astype(reverse.indices.dtype)]),
                np.append(reverse.indptr, reverse.indptr[-1] + len(nodes)),
            ),
            shape=(len(self.nodes_m) + 1,) * 2,
        )
        distance_m, following = dijkstra(graph, indices=len(self.nodes_m), return_predecessors=True)
        self._last = DistanceField(
            walkable=self, goal_m=goal_m, node_distance_m=distance_m, following=following
        )
        return self._last

    def _around(self, point_m: np.ndarray, reach: int) -> np.ndarray:
        column, row = np.rint((point_m - self.clearance.origin_m) / self.spacing_m).astype(int).tolist()
        # A negative end of a slice would count from the far side of the grid.
        rows = slice(max(row - reach, 0), max(row + reach + 1, 0))
        columns = slice(max(column - reach, 0), max(column + reach + 1, 0))
        window = self._node_at[rows, columns]
        return window[window >= 0]

    def _edges(self, cells: np.ndarray) -> csr_array:
        """Return the directed graph, and keep its reverse for the distance fields."""
        sources, targets, lengths_m = [], [], []
        neighbours = np.pad(self._node_at, 2, constant_values=-1)
        steps = _single_steps(self.clearance, pad=2 * self.stride)
        for move in _MOVES:
            target_at = neighbours[cells[:, 0] + 2 + move[0], cells[:, 1] + 2 + move[1]]
            joined = (target_at >= 0) & self._walks(steps, move)[tuple(cells.T)]
            sources.append(np.flatnonzero(joined))
            targets.append(target_at[joined])
            lengths_m.append(np.full(int(joined.sum()), self.spacing_m * np.hypot(*move)))
        source, target, length_m = map(np.concatenate, (sources, targets, lengths_m))
        shape = (len(cells), len(cells))
        self._reverse = csr_array((length_m, (target, source)), shape=shape)
        return csr_array((length_m, (source, target)), shape=shape)

    def _walks(self, steps: dict[tuple[int, int], np.ndarray], move: tuple[int, int]) -> np.ndarray:
        """Return for all places of the node grid whether every cell on the line of a move can be passed."""
        line = np.rint(np.linspace(0, 1, 98)[:, None] * move * self.stride).astype(int)
        way = line[np.append(True, np.diff(line, axis=0).any(axis=-1))]
        pad, (num_rows, num_columns) = 2 * self.stride, self.clearance.is_free.shape
        walks = np.ones(self._node_at.shape, dtype=bool)
        for here, there in pairwise(way.tolist()):
            rows = slice(pad + here[0], pad + here[0] + num_rows, self.stride)
            columns = slice(pad + here[1], pad + here[1] + num_columns, self.stride)
            walks &= steps[there[0] - here[0], there[1] - here[1]][rows, columns]
        return walks


def _single_steps(clearance: Clearance, *, pad: int) -> dict[tuple[int, int], np.ndarray]:
    """Return from which cells each of the eight neighbours can be stepped to, with a border of False."""
    num_rows, num_columns = clearance.is_free.shape
    steps = {}
    for row, column in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        here = (_overlap(-row, num_rows), _overlap(-column, num_columns))
        there = (_overlap(row, num_rows), _overlap(column, num_columns))
        admits = np.zeros((num_rows + 2 * pad, num_columns + 2 * pad), dtype=bool)
        admits[pad:-pad, pad:-pad][here] = clearance.admits_at(here, there)
        steps[row, column] = admits
    return steps


def _overlap(offset: int, size: int) -> slice:
    return slice(max(offset, 0), size + min(offset, 0))


@dataclass(frozen=True, kw_only=True)
class DistanceField:
    """Walking distance to one goal, from everywhere.

    `following` holds for each node the next one on its shortest path; the last index is the goal itself.
    """

    walkable: WalkableMap
    goal_m: Float64[np.ndarray, " 2"]
    node_distance_m: Float64[np.ndarray, " place"]
    following: Int[np.ndarray, " place"]

    def distance_m(self, point_m: Float[np.ndarray, " 2"]) -> float:
        """Return the walking distance to the goal [m], inf if there is no way.

        Measured along the graph: exact in the sight of the goal nearby, otherwise at most 2.8% too long.
        """
        if self._is_direct(point_m):
            return float(np.linalg.norm(self.goal_m - point_m))
        nodes, lengths_m = self.walkable.near(point_m)
        return float(np.min(self.node_distance_m[nodes] + lengths_m, initial=np.inf))

    def path(self, point_m: Float[np.ndarray, " 2"]) -> Float64[np.ndarray, "point 2"]:
        """Return the corners of a shortest path from a point to the goal, both included [m].

        It is a ValueError if the goal cannot be reached from the point.
        """
        corners = [point_m.astype(np.float64)]
        chain_m = self._chain(point_m, max_length_m=np.inf)
        while len(chain_m):
            taken = self._farthest_seen(corners[-1], chain_m)
            corners.append(chain_m[taken])
            chain_m = chain_m[taken + 1 :]
        return np.stack(corners)

    def waypoint(self, point_m: Float[np.ndarray, " 2"], *, lookahead_m: float) -> Float64[np.ndarray, " 2"]:
        """Return the farthest point of the next `lookahead_m` of the path that can be walked to straight."""
        chain_m = self._chain(point_m, max_length_m=lookahead_m)
        return chain_m[self._farthest_seen(point_m, chain_m)]

    def _chain(self, point_m: np.ndarray, *, max_length_m: float) -> np.ndarray:
        """Return the nodes of the shortest path after a point, the goal last unless cut off before."""
        if self._is_direct(point_m):
            return self.goal_m[None]
        nodes, lengths_m = self.walkable.near(point_m)
        totals_m = self.node_distance_m[nodes] + lengths_m
        if not np.isfinite(totals_m).any():
            raise ValueError(
                f"no way from ({point_m[0]:.2f}, {point_m[1]:.2f}) to the goal ({self.goal_m[0]:.2f}, "
                f"{self.goal_m[1]:.2f}) m; draw both from one component with WalkableMap.sample(near_m=...)"
            )
        place, last = int(nodes[totals_m.argmin()]), len(self.walkable.nodes_m)
        stop_m = self.node_distance_m[place] - max_length_m
        chain = [place]
        while place != last and self.node_distance_m[place] > stop_m:
            place = int(self.following[place])
            chain.append(place)
        first_m = self.walkable.nodes_m[chain[0]]
        if len(chain) > 1 and np.linalg.norm(first_m - point_m) < self.walkable.spacing_m / 8:
            # Standing on a node but for a hair, one might not see past it.
            chain = chain[1:]
        places_m = self.walkable.nodes_m[chain[:-1]]
        end_m = self.goal_m if chain[-1] == last else self.walkable.nodes_m[chain[-1]]
        return np.concatenate([places_m, end_m[None]])

    def _farthest_seen(self, point_m: np.ndarray, chain_m: np.ndarray) -> int:
        """Return the index of the last point of the chain before the first that hides behind something."""
        chain_m = chain_m[:_MAX_LEG]
        seen = self.walkable.clearance.sees(np.broadcast_to(point_m, chain_m.shape).astype(float), chain_m)
        hidden = np.flatnonzero(~seen)
        return len(chain_m) - 1 if not len(hidden) else max(int(hidden[0]) - 1, 0)

    def _is_direct(self, point_m: np.ndarray) -> bool:
        near = float(np.linalg.norm(self.goal_m - point_m)) <= 2 * self.walkable.spacing_m
        return near and bool(self.walkable.clearance.sees(point_m.astype(float), self.goal_m))


def _only_nearest(nodes: np.ndarray, distances_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nearest = int(distances_m.argmin())
    return nodes[nearest : nearest + 1], distances_m[nearest : nearest + 1]
