"""Walkable space and shortest paths, on levels built by hand and one read from disk."""

import numpy as np
import pytest
from scipy.sparse.csgraph import dijkstra

from envs.clearance import HEAD_ROOM_M, PLAYER_RADIUS_M, STEP_UP_M
from envs.geodesic import Sector, WalkableMap

SQUARE = np.array([[0, 0, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]], dtype=float)


def box(
    low: tuple[float, float],
    high: tuple[float, float],
    *,
    floor_m: float = 0.0,
    ceiling_m: float = 3.0,
    open_sides: tuple[int, ...] = (),
) -> Sector:
    """A rectangular sector; sides are 0 south, 1 east, 2 north, 3 west."""
    corner, size = np.tile(low, 2), np.tile(np.subtract(high, low), 2)
    is_blocking = np.array([side not in open_sides for side in range(4)])
    return Sector(floor_m=floor_m, ceiling_m=ceiling_m, lines=corner + SQUARE * size, is_blocking=is_blocking)


def two_floors(rise_m: float, *, head_m: float = 3.0) -> WalkableMap:
    """Two rooms of 5 m x 3 m side by side, the eastern one higher by `rise_m`."""
    west = box((0, 0), (5, 3), open_sides=(1,), ceiling_m=rise_m + 3.0)
    east = box((5, 0), (10, 3), open_sides=(3,), floor_m=rise_m, ceiling_m=rise_m + head_m)
    return WalkableMap.from_sectors([west, east])


def at(x_m: float, y_m: float) -> np.ndarray:
    return np.array([x_m, y_m], dtype=np.float64)


def length_m(path_m: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(path_m, axis=0), axis=-1).sum())


def test_walkable_space_is_the_room_less_the_players_radius():
    walkable = WalkableMap.from_sectors([box((0, 0), (7, 5))], margin_m=0.0)
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 8, size=(2, 500, 2))
    depth = np.minimum(points, np.array([7.0, 5.0]) - points).min(axis=-1) - PLAYER_RADIUS_M
    told = walkable.is_walkable(points)
    clear = np.abs(depth) > 0.0625 + 1e-9  # half a cell: what rasterising leaves open
    np.testing.assert_array_equal(told[clear], depth[clear] > 0)
    num_places = np.count_nonzero(walkable.component == walkable.largest_component)
    assert abs(num_places * walkable.spacing_m**2 - 6 * 4) < 3


def test_slanted_wall_keeps_the_axis_aligned_box_away():
    """In Doom the player is a box along the axes: at a diagonal wall its corner touches, not a circle."""
    triangle = np.array([[0, 0, 10, 0], [10, 0, 0, 10], [0, 10, 0, 0]], dtype=float)
    room = Sector(floor_m=0.0, ceiling_m=3.0, lines=triangle, is_blocking=np.ones(3, dtype=bool))
    walkable = WalkableMap.from_sectors([room], margin_m=0.0)
    # The corner (x + r, y + r) meets the wall where x + y = 10 - 2 r = 9.
    assert walkable.is_walkable(at(4.4, 4.4))
    assert not walkable.is_walkable(at(4.6, 4.6))


@pytest.mark.parametrize(("rise_m", "climbs"), [(STEP_UP_M, True), (STEP_UP_M + 1 / 32, False)])
def test_steps_up_are_limited_and_drops_are_not(rise_m: float, climbs: bool):
    walkable = two_floors(rise_m)
    low, high = at(2, 1.5), at(8, 1.5)
    assert np.isfinite(walkable.distance_field(high).distance_m(low)) == climbs
    assert walkable.distance_field(low).distance_m(high) == pytest.approx(6, rel=0.03)
    assert (walkable.component_of(low) == walkable.component_of(high)) == climbs


@pytest.mark.parametrize(("head_m", "passes"), [(HEAD_ROOM_M, True), (HEAD_ROOM_M - 1 / 32, False)])
def test_head_room_is_needed(head_m: float, passes: bool):
    walkable = two_floors(0.0, head_m=head_m)
    assert walkable.is_walkable(at(8, 1.5)) == passes


def test_closed_door_is_an_obstacle():
    west, east = box((0, 0), (4, 3), open_sides=(1,)), box((5, 0), (9, 3), open_sides=(3,))
    opened = WalkableMap.from_sectors([west, east, box((4, 0), (5, 3), open_sides=(1, 3))])
    closed = WalkableMap.from_sectors([west, east, box((4, 0), (5, 3), open_sides=(1, 3), ceiling_m=0.0)])
    assert opened.distance_field(at(7, 1)).distance_m(at(2, 1)) == pytest.approx(5, rel=0.03)
    assert closed.distance_field(at(7, 1)).distance_m(at(2, 1)) == np.inf


def test_stairs_are_climbed_step_by_step():
    """Five steps of 0.5 m: together far above what can be climbed at once."""
    steps = [
        box((2.0 * n, 0), (2.0 * n + 2, 3), floor_m=0.5 * n, ceiling_m=9.0, open_sides=(1, 3))
        for n in range(6)
    ]
    walkable = WalkableMap.from_sectors(steps)
    assert np.isfinite(walkable.distance_field(at(11, 1.5)).distance_m(at(1, 1.5)))


def test_path_bends_round_the_corner_of_a_barrier():
    """A wall reaches from the south to y = 5; the way round has corners (5 -+ r, 5 + r), r the half-width."""
    walkable = WalkableMap.from_sectors([box((0, 0), (10, 8))], barriers=np.array([[5.0, 0.0, 5.0, 5.0]]))
    start, goal = at(2, 2), at(8, 2)
    reach_m = PLAYER_RADIUS_M + 1 / 16
    corners = np.array([start, [5 - reach_m, 5 + reach_m], [5 + reach_m, 5 + reach_m], goal])
    field = walkable.distance_field(goal)
    path_m = field.path(start)
    assert length_m(path_m) == pytest.approx(length_m(corners), rel=0.02)
    assert field.distance_m(start) == pytest.approx(length_m(corners), rel=0.05)
    np.testing.assert_array_equal(path_m[[0, -1]], [start, goal])


def test_obstacles_are_square_boxes_to_walk_round():
    walkable = WalkableMap.from_sectors(
        [box((0, 0), (6, 6))], obstacles=np.array([[3.0, 3.0, 0.5]]), margin_m=0.0
    )
    assert not walkable.is_walkable(at(3.9, 3.9))
    assert walkable.is_walkable(at(4.1, 4.1))
    assert length_m(walkable.distance_field(at(5, 3)).path(at(1, 3))) > 4.4


def test_every_leg_of_a_path_can_be_walked_straight():
    walkable = WalkableMap.from_sectors(
        [box((0, 0), (9, 7))], barriers=np.array([[3.0, 0, 3, 5], [6, 7, 6, 2]])
    )
    rng = np.random.default_rng(1)
    field = walkable.distance_field(walkable.sample(rng=rng))
    for _ in range(20):
        start = walkable.sample(rng=rng)
        path_m = field.path(start)
        assert walkable.clearance.sees(path_m[:-1], path_m[1:]).all()
        assert length_m(path_m) <= field.distance_m(start) + 1e-9
        assert length_m(path_m) >= float(np.linalg.norm(field.goal_m - start)) - 1e-9


def test_field_equals_dijkstra_from_the_other_end():
    """The field runs on the reversed graph; forward it must give the same lengths, drops included."""
    walkable = two_floors(1.0)
    goal_node = 7
    field = walkable.distance_field(walkable.nodes_m[goal_node])
    forward = dijkstra(walkable.graph, indices=np.arange(0, len(walkable.nodes_m), 41))[:, goal_node]
    here = field.node_distance_m[:-1][::41]
    np.testing.assert_array_equal(np.isinf(here), np.isinf(forward))
    # The goal is also joined directly to what is around it, so the field may be a little shorter.
    finite = np.isfinite(forward)
    assert (here[finite] <= forward[finite] + 1e-9).all()
    assert (here[finite] >= 0.97 * forward[finite] - 0.1).all()


def test_the_field_of_the_last_goal_is_kept():
    walkable = two_floors(0.0)
    field = walkable.distance_field(at(7, 1))
    assert walkable.distance_field(at(7, 1)) is field
    assert walkable.distance_field(at(7, 2)).distance_m(at(7, 1)) == pytest.approx(1.0, rel=0.03)
    assert walkable.distance_field(at(7, 1)) is not field


def test_distance_never_falls_faster_than_the_point_moves():
    walkable = WalkableMap.from_sectors([box((0, 0), (7, 5))], barriers=np.array([[3.0, 0.0, 3.0, 3.0]]))
    field = walkable.distance_field(at(5, 1))
    way_m = np.linspace(at(1, 1), at(1, 4), 60)
    distance_m = np.array([field.distance_m(point) for point in way_m])
    assert np.abs(np.diff(distance_m)).max() <= 1.03 * 3 / 59 + 0.02


def test_beside_a_ledge_the_player_counts_as_below_it():
    """The ledge is at x = 5; a box at 4.47 with the margin touches it, the player's own box does not."""
    walkable = two_floors(1.0)
    beside = at(4.47, 1.5)
    assert walkable.is_walkable(beside)
    assert walkable.distance_field(at(8, 1.5)).distance_m(beside) == np.inf
    assert walkable.distance_field(at(2, 1.5)).distance_m(beside) == pytest.approx(2.47, rel=0.03)


def test_samples_lie_in_the_component_asked_for():
    walkable = two_floors(1.0)
    rng = np.random.default_rng(2)
    for near, low_x in ((at(2, 1), 0.0), (at(8, 1), 4.0)):
        points = np.array([walkable.sample(rng=rng, near_m=near) for _ in range(30)])
        assert walkable.is_walkable(points).all()
        assert (points[:, 0] > low_x).all() and (points[:, 0] < low_x + 6).all()
    first, second = (walkable.sample(rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_home_is_the_starts_component_unless_it_is_a_cell():
    small, large = box((0, 0), (3, 3)), box((5, 0), (12, 7))
    walkable = WalkableMap.from_sectors([small, large])
    rng = np.random.default_rng(4)
    for min_area_m2, low_x, high_x in ((2.0, 0.0, 3.0), (20.0, 5.0, 12.0)):
        home = walkable.home(at(1, 1), min_area_m2=min_area_m2)
        drawn = walkable.sample(rng=rng, near_m=home)
        assert low_x < drawn[0] < high_x


def test_point_inside_the_margin_still_has_a_way():
    """A player that leans on a wall is where the map, with its margin, has no place."""
    walkable = WalkableMap.from_sectors([box((0, 0), (7, 5))], margin_m=0.2)
    leaning = at(0.5, 2)
    assert not walkable.is_walkable(leaning)
    assert walkable.distance_field(at(4.5, 2)).distance_m(leaning) == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("offset_m", [at(-5, -5), at(-5, 1), at(1, -5)])
def test_nothing_is_near_a_point_outside_the_grid(offset_m: np.ndarray):
    walkable = WalkableMap.from_sectors([box((0, 0), (20, 20))])
    nodes, distances_m = walkable.near(walkable.clearance.origin_m + offset_m)
    assert len(nodes) == len(distances_m) == 0
    with pytest.raises(ValueError, match="nothing walkable near"):
        walkable.component_of(walkable.clearance.origin_m + offset_m)


def test_refusals_say_what_to_do():
    walkable = two_floors(2.0)
    with pytest.raises(ValueError, match="not walkable; draw goals with"):
        walkable.distance_field(at(-3, 1))
    with pytest.raises(ValueError, match=r"no way from \(2.00, 1.50\).*one component"):
        walkable.distance_field(at(8, 1.5)).path(at(2, 1.5))
    with pytest.raises(ValueError, match="at least one sector"):
        WalkableMap.from_sectors([])
    with pytest.raises(ValueError, match="no walkable place"):
        WalkableMap.from_sectors([box((0, 0), (0.8, 0.8))]).sample(rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="nothing walkable near"):
        walkable.component_of(at(99, 99))
