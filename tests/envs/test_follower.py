"""The follower reaches goals, and stops there."""

import numpy as np
import pytest

from envs.follower import ShortestPathFollower
from tests.envs.grid_room import GridRoom, two_rooms


@pytest.fixture(scope="module")
def room() -> GridRoom:
    return GridRoom()


def test_every_drawn_episode_succeeds_without_touching_a_wall(room: GridRoom):
    for seed in range(12):
        _, info = room.reset(seed=seed)
        assert room.field is not None
        follower, ended = ShortestPathFollower(field=room.field), False
        while not ended:
            _, _, terminated, truncated, info = room.step(follower.act(info["pose"]))
            assert not info["collided"]
            ended = terminated or truncated
        assert info["success"] and info["distance_to_goal_m"] <= 0.5


def test_turns_on_the_spot_before_it_walks_and_keeps_its_limits():
    field = two_rooms().distance_field(np.array([3.5, 1.0]))
    follower = ShortestPathFollower(field=field, step_m=0.25, max_turn_rad=0.5)
    np.testing.assert_allclose(follower.act(np.array([1.0, 1.0, np.pi / 2])), [0, 0, -0.5, 0], atol=1e-6)
    dx_m, dy_m, dyaw_rad, stop = follower.act(np.array([1.0, 1.0, 0.3]))
    assert np.hypot(dx_m, dy_m) == pytest.approx(0.25)
    assert (np.arctan2(dy_m, dx_m), dyaw_rad, stop) == pytest.approx((-0.3, -0.3, 0), abs=1e-6)


def test_stops_within_the_radius_only():
    field = two_rooms().distance_field(np.array([2.0, 3.0]))
    follower = ShortestPathFollower(field=field, stop_radius_m=0.4)
    assert follower.act(np.array([2.0, 2.61, 1.0]))[3] == 1
    assert follower.act(np.array([2.0, 2.59, 1.0]))[3] == 0


def test_walls_count_for_the_stop():
    """0.9 m apart as the crow flies, with a wall between: the walk is far longer."""
    field = two_rooms().distance_field(np.array([5.1, 1.0]))
    assert ShortestPathFollower(field=field, stop_radius_m=1.5).act(np.array([3.9, 1.0, 0.0]))[3] == 0


def test_no_way_is_refused():
    field = two_rooms().distance_field(np.array([2.0, 3.0]))
    with pytest.raises(ValueError, match="no way from"):
        ShortestPathFollower(field=field).act(np.array([50.0, 50.0, 0.0]))
