import numpy as np
import pytest

from envs.distance_lookup import DistanceLookup
from tests.envs.grid_room import two_rooms


@pytest.fixture(scope="module")
def field():
    walkable = two_rooms()
    return walkable.distance_field(walkable.sample(rng=np.random.default_rng(0)))


def test_lookups_are_the_fields_distances_or_slightly_more(field):
    lookup, rng = DistanceLookup(field), np.random.default_rng(1)
    for _ in range(200):
        point_m = field.walkable.sample(rng=rng) + rng.uniform(-0.1, 0.1, 2)
        exact_m, found_m = field.distance_m(point_m), lookup.distance_m(*point_m.tolist())
        assert exact_m - 1e-9 <= found_m <= 1.03 * exact_m + 0.1


def test_near_the_goal_lookups_are_exact(field):
    lookup, rng = DistanceLookup(field), np.random.default_rng(2)
    for _ in range(50):
        point_m = field.goal_m + rng.uniform(-0.7, 0.7, 2)
        exact_m = field.distance_m(point_m)
        if exact_m < 1.0:
            assert lookup.distance_m(*point_m.tolist()) == exact_m


def test_outside_the_map_the_field_is_asked(field):
    assert DistanceLookup(field).distance_m(-500.0, 500.0) == field.distance_m(np.array([-500.0, 500.0]))
