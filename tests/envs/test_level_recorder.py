from dataclasses import replace

import numpy as np
import pytest

from data_tools.trajectory import TextKind
from envs.level_recorder import LevelRecorder, RecordConfig, start_places, trajectory_name

CONFIG = RecordConfig(trajectory_frames=13, caption_share=0.3)
LEVEL = "e1m2"


def test_a_trajectory_is_a_function_of_seed_level_and_index():
    with LevelRecorder(LEVEL, CONFIG) as recorder:
        first, second, other = (recorder.record(index, seed=7) for index in (3, 2, 4))
    with LevelRecorder(LEVEL, CONFIG) as recorder:
        again = recorder.record(2, seed=7).trajectory
    assert again.name == second.trajectory.name and again.texts == second.trajectory.texts
    for index in range(CONFIG.trajectory_frames):
        np.testing.assert_array_equal(again.frames[index], second.trajectory.frames[index])
    assert again.poses is not None and second.trajectory.poses is not None
    np.testing.assert_array_equal(again.poses, second.trajectory.poses)
    assert len({one.trajectory.name for one in (first, second, other)}) == 3


def test_trajectories_start_on_walkable_ground_and_say_what_they_are():
    with LevelRecorder(LEVEL, replace(CONFIG, trajectory_frames=5)) as recorder:
        trajectories = [recorder.record(index, seed=11).trajectory for index in range(3)]
    _, roomy_m = start_places(LEVEL)
    for index, trajectory in enumerate(trajectories):
        assert trajectory.place == LEVEL and trajectory.num_frames == 5
        assert trajectory.name == trajectory_name(LEVEL, index, seed=11, config=CONFIG)
        assert trajectory.frames[0].shape == (120, 160, 3)
        assert trajectory.poses is not None
        nearest_m = np.linalg.norm(roomy_m - trajectory.poses[0, :2], axis=1).min()
        assert nearest_m < 0.01
        np.testing.assert_allclose(np.diff(trajectory.times_s), 9 / 35)
        kinds = [text.kind for text in trajectory.texts]
        assert kinds.count(TextKind.instruction) == round(5 * CONFIG.instruction_share)


def test_the_main_region_is_part_of_where_trajectories_start():
    home_m, roomy_m = start_places(LEVEL)
    assert {tuple(place) for place in home_m.tolist()} < {tuple(place) for place in roomy_m.tolist()}


def test_names_of_seeds_are_disjoint_and_policies_have_their_shares():
    names = {
        seed: {trajectory_name("map02", index, seed=seed, config=CONFIG) for index in range(300)}
        for seed in (0, 1)
    }
    assert not names[0] & names[1]
    share = np.mean([name.endswith("follower") for name in names[0]])
    assert abs(share - CONFIG.follower_share) < 0.1
    only = replace(CONFIG, follower_share=0.0, explorer_share=1.0)
    assert trajectory_name("map02", 5, seed=0, config=only) == "map02_seed0_00005_explorer"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trajectory_frames": 1}, "trajectory_frames >= 2"),
        ({"follower_share": 0.7, "explorer_share": 0.5}, "at most 1 together"),
        ({"caption_share": -0.1}, r"shares in \[0, 1\]"),
    ],
)
def test_impossible_configurations_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match="unknown level 'map99'"):
        LevelRecorder("map99", CONFIG)
