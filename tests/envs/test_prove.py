"""Shortest paths, driven in the running game."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from envs.doom_engine import DoomEngine
from envs.episodes import Episode
from envs.level_geometry import walkable_map
from envs.prove import Driven, Proof, ProveConfig, drive_path, prove_level, unproven_levels


def test_shortest_paths_arrive_in_the_game():
    """map01 has ledges beside its paths, on which maps with one height a place came to grief."""
    config = ProveConfig(levels=["map01"], num_paths=5, max_geodesic_m=15.0)
    with DoomEngine("map01") as engine:
        proof = prove_level(engine, walkable_map("map01"), config)
    assert proof.arrived == 1.0
    assert proof.collisions_per_step < 0.02
    assert 0.8 < proof.detour < 1.05


def driven(*, arrived: bool, num_steps: int, num_collisions: int) -> Driven:
    pose = (0.0, 0.0, 0.0)
    episode = Episode(
        episode_id="a", level="map01", start_pose=pose, goal_pose=pose, geodesic_m=2.0, max_steps=9, seed=0
    )
    return Driven(
        episode=episode, arrived=arrived, length_m=3.0, num_steps=num_steps, num_collisions=num_collisions,
        end_m=(0.0, 0.0),
    )  # fmt: skip


def test_a_path_of_no_steps_counts_none():
    none, some = (driven(arrived=True, num_steps=num, num_collisions=num // 5) for num in (0, 10))
    assert Proof(level="map01", driven=(none,)).collisions_per_step == 0.0
    assert Proof(level="map01", driven=(none, some)).collisions_per_step == 0.2


def test_a_path_whose_goal_is_at_its_start_takes_no_step():
    walkable = walkable_map("map01")
    place_m = tuple(walkable.nodes_m[walkable.component == walkable.largest_component][0].tolist())
    episode = replace(
        driven(arrived=True, num_steps=0, num_collisions=0).episode,
        start_pose=(*place_m, 0.0),
        goal_pose=(*place_m, 0.0),
    )
    with DoomEngine("map01") as engine:
        found = drive_path(engine, walkable, episode)
    assert found.arrived and found.num_steps == 0


def test_a_level_is_proven_by_the_share_of_its_paths_that_arrive():
    paths = tuple(driven(arrived=number > 0, num_steps=5, num_collisions=0) for number in range(20))
    proofs = [Proof(level="map01", driven=paths), Proof(level="map02", driven=paths[1:])]
    assert unproven_levels(proofs, min_arrived=0.95) == []
    assert unproven_levels(proofs, min_arrived=0.96) == ["map01"]


def test_the_command_writes_its_table(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "envs.prove",
        "levels=[map01]",
        "num_paths=2",
        f"out={tmp_path}/table.md",
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2].startswith("| map01 | 2 ") and lines[3].startswith("| all ") and "100.00%" in lines[3]


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="unknown level 'map99'"):
        ProveConfig(levels=["map99"])
    with pytest.raises(ValueError, match="num_paths >= 1"):
        ProveConfig(num_paths=0)
    with pytest.raises(ValueError, match="needed a level"):
        ProveConfig(levels=[])
    with pytest.raises(ValueError, match=r"min_arrived in \[0, 1\]"):
        ProveConfig(min_arrived=1.5)
