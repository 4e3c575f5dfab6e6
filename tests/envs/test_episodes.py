"""Episodes: what is drawn lies within what was asked for; files give back what was written."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from envs.episodes import (
    Episode,
    EpisodeConfig,
    StartHeading,
    generate_episodes,
    read_episodes,
    write_episodes,
)
from envs.geodesic import WalkableMap
from tests.envs.grid_room import two_rooms


@pytest.fixture(scope="module")
def walkable() -> WalkableMap:
    return two_rooms()


def draw(walkable: WalkableMap, config: EpisodeConfig, *, num: int = 12, seed: int = 0) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return generate_episodes(walkable, config, level="two_rooms", num_episodes=num, rng=rng)


def turn_between(first_rad: float, second_rad: float) -> float:
    return abs((first_rad - second_rad + np.pi) % (2 * np.pi) - np.pi)


def test_distances_lie_in_the_range_and_are_those_of_the_path(walkable: WalkableMap):
    for episode in draw(walkable, EpisodeConfig(min_geodesic_m=3.0, max_geodesic_m=4.5)):
        start, goal = np.array(episode.start_pose), np.array(episode.goal_pose)
        path_m = walkable.distance_field(goal[:2]).path(start[:2])
        length_m = np.linalg.norm(np.diff(path_m, axis=0), axis=-1).sum()
        assert 3.0 <= episode.geodesic_m <= 4.5
        assert episode.geodesic_m == pytest.approx(length_m)
        assert episode.geodesic_m >= np.linalg.norm(goal[:2] - start[:2]) - 1e-9
        assert episode.max_steps == np.ceil(10 * episode.geodesic_m) + 20


def test_goal_heading_is_the_one_the_path_arrives_with(walkable: WalkableMap):
    config = EpisodeConfig(goal_heading_noise_rad=0.0, start_heading=StartHeading.toward_path)
    for episode in draw(walkable, config):
        start, goal = np.array(episode.start_pose), np.array(episode.goal_pose)
        legs_m = np.diff(walkable.distance_field(goal[:2]).path(start[:2]), axis=0)
        assert turn_between(np.arctan2(legs_m[0, 1], legs_m[0, 0]), start[2]) < 1e-9
        assert turn_between(np.arctan2(legs_m[-1, 1], legs_m[-1, 0]), goal[2]) < 1e-9


def test_random_start_headings_cover_the_circle(walkable: WalkableMap):
    headings = [episode.start_pose[2] for episode in draw(walkable, EpisodeConfig(), num=40)]
    quarters = np.unique(np.floor(np.array(headings) / (np.pi / 2)))
    assert len(quarters) == 4


def test_goals_have_a_view(walkable: WalkableMap):
    for episode in draw(walkable, EpisodeConfig(min_view_m=1.5)):
        x_m, y_m, yaw_rad = episode.goal_pose
        ahead_m = np.array([x_m + 1.5 * np.cos(yaw_rad), y_m + 1.5 * np.sin(yaw_rad)])
        assert walkable.is_walkable(ahead_m)


def test_an_episode_depends_on_the_seed_and_its_number_only(walkable: WalkableMap):
    config = EpisodeConfig()
    few, many, others = (draw(walkable, config, num=num, seed=seed) for num, seed in ((3, 1), (7, 1), (3, 2)))
    assert few == many[:3]
    assert not set(few) & set(others)
    assert len({episode.seed for episode in many}) == 7


def test_json_gives_back_what_was_written(walkable: WalkableMap, tmp_path: Path):
    episodes = draw(walkable, EpisodeConfig(), num=5)
    write_episodes(episodes, tmp_path / "episodes.json")
    assert read_episodes(tmp_path / "episodes.json") == episodes
    assert [path.name for path in tmp_path.iterdir()] == ["episodes.json"]


def test_damaged_files_are_refused(walkable: WalkableMap, tmp_path: Path):
    path = tmp_path / "episodes.json"
    entry = dataclasses.asdict(draw(walkable, EpisodeConfig(), num=1)[0])
    for content, message in [
        ("[{", "not JSON"),
        ("{}", "must hold a list"),
        (json.dumps([entry, {"level": "e1m1"}]), r"entry 1: needed the keys .*got \['level'\]"),
        (json.dumps([entry | {"goal_pose": [1, 2]}]), "entry 0: .*not enough values"),
        (json.dumps([entry | {"goal_pose": [1, 2, float("nan")]}]), "entry 0: .*finite"),
        (json.dumps([entry | {"max_steps": 0}]), "entry 0: .*max_steps >= 1"),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_episodes(path)


def test_impossible_requests_are_refused(walkable: WalkableMap):
    with pytest.raises(ValueError, match=r"no pair of places 50\.0 to 60\.0 m apart.*choose another range"):
        draw(walkable, EpisodeConfig(min_geodesic_m=50.0, max_geodesic_m=60.0))
    with pytest.raises(ValueError, match="min_geodesic_m <= max_geodesic_m"):
        EpisodeConfig(min_geodesic_m=5.0)
    with pytest.raises(ValueError, match="steps_per_m > 0"):
        EpisodeConfig(steps_per_m=0.0)
