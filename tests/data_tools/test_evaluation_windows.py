from dataclasses import replace

import numpy as np
import pytest

from data_tools.evaluation_index import IndexKind, match_index
from data_tools.evaluation_windows import IndexConfig, Spread, find_windows, generate_index
from data_tools.fingerprint import fingerprint
from data_tools.trajectory import Trajectory
from tests.data_tools.recordings import drive

ALL = IndexConfig(num_time=30, num_rollout=30, num_navigation=30, allow_fewer=True)


def timed(times_s: np.ndarray, *, seed: int = 1) -> Trajectory:
    return replace(drive(len(times_s), seed=seed, with_texts=False), times_s=np.asarray(times_s, np.float64))


def four_fps(*lengths: int) -> list[Trajectory]:
    return [timed(np.arange(length) * 0.25, seed=seed) for seed, length in enumerate(lengths, start=1)]


def found(trajectory: Trajectory, kind: IndexKind, config: IndexConfig = ALL) -> list[tuple[int, int, int]]:
    windows = find_windows(trajectory, kind, config=config).windows
    return [(window.frame, window.min_offset, window.max_offset) for window in windows]


@pytest.mark.parametrize("num_frames", [3, 11, 12, 13, 67, 68, 69, 76, 141, 200])
def test_at_four_frames_a_second_windows_are_those_of_the_public_rule(num_frames: int):
    """From frame 3, every 8 frames, as long as 64 (or 8) frames follow; goals 64 frames to both sides."""
    (trajectory,) = four_fps(num_frames)
    long = [(frame, -min(64, frame), 64) for frame in range(3, num_frames - 64, 8)]
    assert found(trajectory, IndexKind.time) == found(trajectory, IndexKind.rollout) == long
    short = [(frame, 8, 8) for frame in range(3, num_frames - 8, 8)]
    assert found(trajectory, IndexKind.navigation) == short


def test_other_rates_and_goals_are_in_seconds():
    trajectory = timed(np.arange(200) / 10.0)
    assert found(trajectory, IndexKind.time) == [(3, -3, 160), (23, -23, 160)]
    harder = found(trajectory, IndexKind.navigation, replace(ALL, goal_s=16.0, num_context=6, stride_s=1.0))
    assert harder == [(5, 160, 160), (15, 160, 160), (25, 160, 160), (35, 160, 160)]


def test_goals_are_the_frames_nearest_in_time():
    rng = np.random.default_rng(0)
    times_s = np.arange(300) * 0.0667 + rng.uniform(-0.01, 0.01, size=300)
    goals = found(timed(times_s), IndexKind.navigation)
    assert len(goals) == len(range(3, 300 - 30, 30))
    for frame, low, high in goals:
        assert low == high == np.abs(times_s - times_s[frame] - 2.0).argmin() - frame


def test_windows_across_gaps_are_counted_and_left_out():
    times_s = np.arange(60) * 0.25
    times_s[25:] += 5.0
    windows = find_windows(timed(times_s), IndexKind.navigation, config=ALL)
    # Frame 25 comes late: the goal of frame 19 lies in the gap, the context of frame 27 begins before it.
    assert [window.frame for window in windows.windows] == [3, 11, 35, 43, 51]
    assert windows.num_in_gaps == 2


def test_a_rate_too_low_for_the_goal_gives_no_windows():
    windows = find_windows(timed(np.arange(20) * 1.5), IndexKind.navigation, config=ALL)
    assert (windows.windows, windows.num_in_gaps > 0) == ((), True)
    assert found(timed(np.arange(20) * 1.0), IndexKind.navigation)[0] == (3, 2, 2)


@pytest.mark.parametrize("kind", IndexKind)
@pytest.mark.parametrize("spread", Spread)
def test_the_index_hangs_on_names_times_and_seed_and_not_on_the_order(kind: IndexKind, spread: Spread):
    everything = four_fps(150, 90, 300, 70, 400)
    config = IndexConfig(num_time=40, num_rollout=30, num_navigation=50, num_trajectories=3, spread=spread)
    index = generate_index(everything, kind, config=config, seed=3)
    still = [replace(each, poses=np.zeros((each.num_frames, 3))) for each in everything]
    assert generate_index(still[::-1], kind, config=config, seed=3) == index
    assert generate_index(everything, kind, config=config, seed=4) != index
    assert len(set(index.windows)) == len(index.windows) == config.num_windows(kind)
    match = match_index(index, everything)
    assert (match.num_unusable, match.is_same_data) == (0, True)


def test_kinds_draw_differently_and_more_windows_begin_with_the_same():
    everything = four_fps(400, 300)
    config = IndexConfig(num_time=20, num_rollout=20, num_trajectories=None)
    time = generate_index(everything, IndexKind.time, config=config, seed=0).windows
    assert time != generate_index(everything, IndexKind.rollout, config=config, seed=0).windows
    more = generate_index(everything, IndexKind.time, config=replace(config, num_time=30), seed=0).windows
    assert more[:20] == time


def test_windows_are_spread_over_windows_or_over_trajectories():
    everything = four_fps(*[80] * 4, 4000)
    config = IndexConfig(num_time=100)
    counts = [
        [sum(window.trajectory == each.name for window in index.windows) for each in everything]
        for spread in Spread
        for index in [
            generate_index(everything, IndexKind.time, config=replace(config, spread=spread), seed=0)
        ]
    ]
    assert sum(counts[0][:4]) <= 6  # 8 of 500 windows are theirs
    assert counts[1] == [2, 2, 2, 2, 92]


def test_rollouts_and_plans_stay_with_some_trajectories_unless_these_are_too_short():
    everything = four_fps(*range(100, 140))
    config = IndexConfig(num_time=100, num_rollout=20, num_navigation=50, num_trajectories=5)
    names = {
        kind: {
            window.trajectory for window in generate_index(everything, kind, config=config, seed=0).windows
        }
        for kind in IndexKind
    }
    assert len(names[IndexKind.rollout]) <= 5 and names[IndexKind.rollout] <= names[IndexKind.navigation]
    assert len(names[IndexKind.navigation]) == 5
    assert len(names[IndexKind.time]) > 30
    more = replace(config, num_navigation=80)
    index = generate_index(everything, IndexKind.navigation, config=more, seed=0)
    assert len({window.trajectory for window in index.windows}) > 5


def test_provenance_says_what_it_was_made_of():
    everything = [
        *four_fps(68, 20),
        replace(four_fps(90)[0], name="blind", poses=None),
        timed(np.zeros(1), seed=9),
    ]
    index = generate_index(everything, IndexKind.time, config=ALL, seed=5)
    assert len(index.windows) == 1
    expected = {
        "rule_version": 1,
        "seed": 5,
        "data_fingerprint": fingerprint(everything),
        "num_trajectories": 4,
        "num_available": 1,
        "num_in_gaps": 0,
        "num_too_short": 2,
        "num_without_poses": 1,
    }
    assert {name: index.provenance[name] for name in expected} == expected
    settings = index.provenance["settings"]
    assert isinstance(settings, dict) and (settings["horizon_s"], settings["spread"]) == (16.0, "windows")


def test_refuses_sets_that_are_too_short_unless_told():
    everything = [*four_fps(100, 68, 20), replace(four_fps(90)[0], name="blind", poses=None)]
    config = IndexConfig(num_time=7)
    message = (
        r"time needs 7 windows; the 4 trajectories have 6 \(1 trajectories are too short, 1 without poses"
    )
    with pytest.raises(ValueError, match=message):
        generate_index(everything, IndexKind.time, config=config, seed=0)
    fewer = generate_index(everything, IndexKind.time, config=replace(config, allow_fewer=True), seed=0)
    assert len(fewer.windows) == 6
    with pytest.raises(ValueError, match="have 0"):
        generate_index(four_fps(20), IndexKind.time, config=replace(config, allow_fewer=True), seed=0)


def test_refuses_rules_of_nothing():
    with pytest.raises(ValueError, match="must be at least 1; got 0"):
        IndexConfig(num_context=0)
    with pytest.raises(ValueError, match=r"must be above 0; got 2\.0, 16\.0 and 0\.0"):
        IndexConfig(goal_s=0.0)
