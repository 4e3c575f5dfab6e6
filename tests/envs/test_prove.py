"""Shortest paths, driven in the running game."""

import pytest

from envs.doom_engine import DoomEngine
from envs.level_geometry import walkable_map
from envs.prove import ProveConfig, prove_level


def test_shortest_paths_arrive_in_the_game():
    """map01 has ledges beside its paths, on which maps with one height a place came to grief."""
    config = ProveConfig(levels=["map01"], num_paths=5, max_geodesic_m=15.0)
    with DoomEngine("map01") as engine:
        proof = prove_level(engine, walkable_map("map01"), config)
    assert proof.arrived == 1.0
    assert proof.collisions_per_step < 0.02
    assert 0.8 < proof.detour < 1.05


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="unknown level 'map99'"):
        ProveConfig(levels=["map99"])
    with pytest.raises(ValueError, match="num_paths >= 1"):
        ProveConfig(num_paths=0)
