"""DoomNav: the contract, and what is its own."""

from contextlib import closing
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AsyncVectorEnv

import envs  # noqa: F401 (registers DoomNav)
from envs import contract
from envs.doom import SUCCESS_REWARD, DoomNav
from envs.episodes import EpisodeConfig
from envs.follower import ShortestPathFollower
from envs.level_geometry import walkable_map

_STOP = np.array([0, 0, 0, 1], dtype=np.float32)
_AHEAD = np.array([0.3, 0, 0, 0], dtype=np.float32)


@pytest.fixture(scope="module")
def env():
    episodes = EpisodeConfig(min_geodesic_m=1.5, max_geodesic_m=3.0)
    with closing(DoomNav(levels=("map01",), episodes=episodes, render_mode="rgb_array")) as env:
        with pytest.raises(ResetNeeded, match="nothing to render"):
            env.render()
        yield env


def _pixels_and_pose(env: DoomNav) -> tuple[np.ndarray, np.ndarray]:
    observation, _, _, _, info = env.step(_AHEAD)
    return observation["image"], info["pose"]


def test_it_keeps_the_environment_contract():
    with closing(gymnasium.make("worldnav/DoomNav-v0", levels=("map01",))) as env:
        contract.check(env, seed=3)


def test_the_shortest_path_ends_in_success(env):
    _, info = env.reset(seed=0)
    walkable, episode = walkable_map("map01"), info["episode"]
    follower = ShortestPathFollower(field=walkable.distance_field(np.array(episode.goal_pose[:2])))
    rewards, terminated, start_m = [], False, info["distance_to_goal_m"]
    while not terminated:
        _, reward, terminated, truncated, info = env.step(follower.act(info["pose"]))
        rewards.append(reward)
        assert not truncated
    assert info["success"]
    assert info["reached"]
    # Progress telescopes: the rewards are the way gained, and the bonus.
    assert sum(rewards) == pytest.approx(start_m - info["distance_to_goal_m"] + SUCCESS_REWARD)


def test_a_stop_far_from_the_goal_is_no_success(env):
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(_STOP)
    assert terminated
    assert not info["success"]
    assert reward == 0


def test_the_goal_image_is_what_one_sees_at_the_goal(env):
    observation, info = env.reset(seed=1)
    goal = np.array(info["episode"].goal_pose)
    assert np.array_equal(env.drive(goal, np.zeros((0, 3))).frame, observation["goal"])


def test_trying_displacements_out_leaves_the_episode_where_it_was(env):
    _, info = env.reset(seed=2)
    untouched = _pixels_and_pose(env)
    env.reset(seed=2)
    env.drive(info["pose"], np.tile([0.2, 0.1, 0.3], (5, 1)))
    image, pose = _pixels_and_pose(env)
    assert pose == pytest.approx(untouched[1], abs=2e-3)
    assert np.abs(image.astype(float) - untouched[0]).mean() < 2


def test_an_episode_can_be_given_and_is_cut_off_at_its_limit(env):
    _, info = env.reset(seed=3)
    episode = replace(info["episode"], max_steps=2)
    _, info = env.reset(options={"episode": episode})
    assert info["pose"] == pytest.approx(np.array(episode.start_pose), abs=1e-3)
    assert env.step(0 * _AHEAD)[2:4] == (False, False)
    assert env.step(0 * _AHEAD)[2:4] == (False, True)
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step(_AHEAD)


def test_a_start_pose_can_be_given(env):
    pose = np.array([-6.0, -6.0, 0.5])
    _, info = env.reset(seed=4, options={"level": "map01", "pose": pose})
    assert info["pose"] == pytest.approx(pose, abs=1e-3)
    assert 0 < info["distance_to_goal_m"] < np.inf
    episode = info["episode"]
    assert episode.geodesic_m > env.episodes.max_geodesic_m, "a goal as far as this one shows the limit"
    assert episode.max_steps == np.ceil(10 * episode.geodesic_m) + 20


def test_levels_of_both_games_can_follow_one_another(env):
    for level in ("e1m1", "map01"):
        _, info = env.reset(seed=5, options={"level": level})
        assert info["level"] == level


def test_equal_seeds_give_equal_pixels_in_other_processes():
    with closing(AsyncVectorEnv([DoomNav, DoomNav])) as vector:
        observations, infos = vector.reset(seed=[6, 6])
        assert np.array_equal(observations["image"][0], observations["image"][1])
        observations, *_ = vector.step(np.stack([_AHEAD, _AHEAD]))
        assert np.array_equal(observations["image"][0], observations["image"][1])
        assert infos["distance_to_goal_m"][0] > 0


def test_rendering_is_the_image(env):
    observation, _ = env.reset(seed=7)
    rendered = env.render()
    assert rendered is not None
    assert np.array_equal(rendered, observation["image"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levle": "map01"}, 'options are "episode", or "level"'),
        ({"pose": np.zeros(3)}, 'options are "episode", or "level"'),
        ({"level": "map00"}, r"unknown level 'map00'; the levels are map01"),
        ({"level": "map01", "pose": np.array([900.0, 900.0, 0.0])}, "nothing walkable near"),
        ({"level": ""}, "unknown level ''; the levels are map01"),
        ({"level": None}, "needed the name of a level, got None"),
        ({"episode": {"level": "map01"}}, r"must be an envs\.episodes\.Episode, it is dict"),
        ({"level": "map01", "pose": [1.0, 2.0]}, r"three finite numbers .* it is \[1\.0, 2\.0\]"),
        ({"level": "map01", "pose": [1.0, np.nan, 0.0]}, "three finite numbers"),
        ({"level": "map01", "pose": "north"}, r"must be \(x, y, yaw\) \[m, m, rad\], it is 'north'"),
    ],
)
def test_bad_options_are_refused(env, options, message):
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


def test_a_refused_reset_leaves_no_episode_behind(env):
    _, info = env.reset(seed=8)
    nowhere = replace(info["episode"], start_pose=(900.0, 900.0, 0.0))
    with pytest.raises(ValueError, match="no room for the player"):
        env.reset(options={"episode": nowhere})
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step(_AHEAD)


def test_an_action_may_be_a_list(env):
    env.reset(seed=8)
    _, _, terminated, _, _ = env.step([0, 0, 0, 1])
    assert terminated
    env.reset(seed=8)
    for action in (["a", "b", "c", "d"], [None] * 4, [0.0, 0.0]):
        with pytest.raises(ValueError, match=r"needed an action \(dx, dy, dyaw, stop\)"):
            env.step(np.array(action))


@pytest.mark.parametrize("action", [[np.nan, 0, 0, 0], [0, 0.7, 0, 0], [0, 0, 0, -0.1], [0, 0, 0]])
def test_bad_actions_are_refused_and_change_nothing(env, action):
    env.reset(seed=8)
    with pytest.raises(ValueError, match=r"needed an action \(dx, dy, dyaw, stop\)"):
        env.step(np.array(action, dtype=np.float32))
    assert not env.step(_AHEAD)[4]["success"]


def test_bad_constructions_are_refused():
    with pytest.raises(ValueError, match="at least one level"):
        DoomNav(levels=())
    with pytest.raises(ValueError, match="unknown level 'doom'"):
        DoomNav(levels=("doom",))
    with pytest.raises(ValueError, match="render_mode must be"):
        DoomNav(render_mode="human")
