"""Windows: drawn evenly, at the asked times; motion in each start's robot frame, in metres and radians."""

import math
from collections import Counter

import numpy as np
import pytest

from data_tools.action_text import parse_actions
from data_tools.pose import compose, integrate
from data_tools.trajectory import Trajectory
from planners.evaluation.prediction_windows import (
    Kind,
    Window,
    cut_windows,
    frame_at,
    frames_ahead,
    motion_texts,
    step_frames,
)

SPACING_M = 0.25


def recording(
    steps: np.ndarray, *, name: str = "drive", period_s: float = 0.25, has_poses: bool = True
) -> Trajectory:
    poses = np.concatenate([np.array([[2.0, -1.0, 0.7]]), np.zeros((len(steps), 3))])
    for index, relative in enumerate(integrate(steps)):
        cosine, sine = math.cos(0.7), math.sin(0.7)
        x, y = relative[0] * cosine - relative[1] * sine, relative[0] * sine + relative[1] * cosine
        poses[index + 1] = poses[0] + np.array([x, y, relative[2]])
    return Trajectory(
        name=name,
        place="yard",
        frames=np.zeros((len(poses), 2, 3, 3), dtype=np.uint8),
        poses=poses if has_poses else None,
        times_s=np.arange(len(poses)) * period_s,
    )


def straight(num_frames: int, **settings) -> Trajectory:
    return recording(np.tile([0.2, 0.0, 0.0], (num_frames - 1, 1)), **settings)


def test_a_jump_is_the_whole_motion_not_a_sum_of_normalised_steps():
    """NWM: eight steps of .875 spacing are -.1 each in [-2.5, 5] -> [-1, 1]; their sum -.8 means -1.75."""
    trajectory = recording(np.tile([0.875 * SPACING_M, 0.0, 0.0], (8, 1)))
    (jump,) = parse_actions(motion_texts(trajectory, [0, 8]))
    assert jump / np.array([SPACING_M, 1, 1, 1]) == pytest.approx([7.0, 0.0, 0.0, 2.0])


def test_a_jump_is_the_composition_of_its_steps_not_their_sum():
    trajectory = recording(np.tile([0.3, 0.05, 0.4], (7, 1)))
    steps = parse_actions(motion_texts(trajectory, range(8)))
    (jump,) = parse_actions(motion_texts(trajectory, [0, 7]))
    assert jump[:3] == pytest.approx(compose(steps[:, :3]), abs=1e-3)
    assert np.hypot(*(jump - steps.sum(axis=0))[:2]) > 1.0
    assert jump[3] == pytest.approx(1.75)


def test_steps_are_told_in_the_robot_frame_of_each_not_in_the_first_ones():
    quarter = math.pi / 2
    trajectory = recording(np.array([[1.0, 0.0, quarter], [1.0, 0.0, 0.0], [1.0, 0.0, -quarter]]))
    steps = parse_actions(motion_texts(trajectory, range(4)))
    assert steps[:, :2] == pytest.approx(np.array([[1.0, 0.0]] * 3))
    assert steps[:, 2] == pytest.approx([1.571, 0.0, -1.571])


def test_a_robot_that_stands_is_told_so_at_the_first_step_and_at_all_later_ones():
    """NWM: zero motion is -.333 in normalised numbers, and 0 from the second step on."""
    texts = motion_texts(recording(np.zeros((3, 3))), range(4))
    assert texts == ["action: dx=+0.000, dy=+0.000, dyaw=+0.000, dt=0.25"] * 3


def test_the_frame_nearest_to_the_asked_time_is_taken():
    trajectory = straight(20, period_s=0.3)
    window = Window(kind=Kind.time, trajectory=trajectory, frame=3)
    assert [frame_at(window, ahead) for ahead in (0.3, 1.0, 2.0, 4.8)] == [4, 6, 10, 19]
    assert frame_at(window, 5.1) is None
    assert frames_ahead(trajectory, 1.0).tolist() == [*range(3, 20), -1, -1, -1]


def test_no_frame_is_taken_across_a_gap():
    whole = straight(12)
    times_s = whole.times_s + np.where(np.arange(12) >= 6, 3.0, 0.0)
    gap = Trajectory(name="gap", place="yard", frames=whole.frames, poses=whole.poses, times_s=times_s)
    window = Window(kind=Kind.time, trajectory=gap, frame=4)
    assert frame_at(window, 0.25) == 5 and frame_at(window, 1.0) is None
    assert frame_at(window, 3.5) == 6


def test_a_rollout_reaches_the_frames_of_the_jumps():
    window = Window(kind=Kind.rollout, trajectory=straight(40, period_s=0.3), frame=3)
    assert step_frames(window, horizon_s=4.0, rate_hz=1.0) == [6, 10, 13, 16]
    assert [frame_at(window, ahead) for ahead in (1.0, 2.0, 4.0)] == [6, 10, 16]
    # Slower than asked: every frame once.
    assert step_frames(window, horizon_s=2.0, rate_hz=4.0) == [4, 5, 6, 7, 8, 9, 10]


def cut(trajectories: list[Trajectory], num_windows: int, *, seed: int = 5) -> list[tuple[str, int]]:
    windows = cut_windows(
        trajectories,
        kind=Kind.time,
        num_windows=num_windows,
        num_context=4,
        horizons_s=[1.0, 4.0],
        seed=seed,
    )
    return [(window.trajectory.name, window.frame) for window in windows]


def test_windows_are_even_over_trajectories_and_more_keep_the_first():
    trajectories = [straight(40, name=name) for name in ("a", "b", "c")]
    found = cut(trajectories, 8)
    assert sorted(Counter(name for name, _ in found).values()) == [2, 3, 3]
    assert len(set(found)) == 8 and all(3 <= frame <= 40 - 1 - 16 for _, frame in found)
    assert cut(trajectories[::-1], 20)[:8] == found, "neither the number nor the order of folders matters"
    assert cut(trajectories, 8, seed=6) != found


def test_short_recordings_serve_the_horizons_that_they_have():
    trajectories = [straight(40, name="long"), straight(9, name="short"), straight(5, name="shorter")]
    trajectories.append(straight(40, name="blind", has_poses=False))
    found = cut(trajectories, 99)
    assert sorted(frame for name, frame in found if name == "short") == [3, 4]
    assert sum(name == "long" for name, _ in found) == 40 - 16 - 3
    assert {name for name, _ in found} == {"long", "short"}


def test_what_gives_no_window_is_refused():
    with pytest.raises(ValueError, match=r"none of 1 recordings .* 1.0 s later"):
        cut([straight(7)], 3)
    with pytest.raises(ValueError, match=r"different names, got 'drive' twice"):
        cut([straight(40), straight(40)], 3)
