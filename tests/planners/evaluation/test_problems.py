"""Problems: the goal is exactly the horizon ahead, and the true displacements lead there."""

import numpy as np
import pytest

from planners.evaluation.problems import ProblemShape, cut_problems, path_from
from tests.envs.grid_room import GridRoom
from tests.planners.evaluation.fakes import room_trajectory

SHAPE = ProblemShape(num_problems=2, num_context=3, horizon=4)


def cut(shape: ProblemShape, num_frames: int = 9, seed: int = 0):
    trajectory = room_trajectory(GridRoom(), num_frames=num_frames)
    rng = np.random.default_rng(seed)
    return trajectory, cut_problems(trajectory, shape, split="s", name="n", spacing_m=0.2, rng=rng)


def test_goal_and_context_are_the_frames_of_the_recording() -> None:
    trajectory, problems = cut(SHAPE)
    for problem in problems:
        np.testing.assert_array_equal(problem.goal, trajectory.frames[problem.frame + 4])
        np.testing.assert_array_equal(problem.context[-1], trajectory.frames[problem.frame])
        np.testing.assert_array_equal(problem.context[0], trajectory.frames[problem.frame - 2])
        assert trajectory.poses is not None
        np.testing.assert_array_equal(problem.start_pose, trajectory.poses[problem.frame])


def test_true_displacements_lead_along_the_true_poses() -> None:
    _, problems = cut(SHAPE)
    for problem in problems:
        path = path_from(problem.start_pose, problem.true_displacements())
        np.testing.assert_allclose(path, problem.true_poses, atol=1e-12)


def test_starts_are_distinct_named_and_from_the_seed() -> None:
    shape = ProblemShape(num_problems=3, num_context=3, horizon=4)
    _, problems = cut(shape)
    assert [problem.frame for problem in problems] == [2, 3, 4], "all that fit"
    assert [problem.problem_id for problem in problems] == ["n/0", "n/1", "n/2"]
    frames = {tuple(problem.frame for problem in cut(SHAPE, seed=seed)[1]) for seed in range(9)}
    assert len(frames) > 1


def test_a_short_recording_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 7 frames.*need 8"):
        cut(SHAPE, num_frames=7)


def test_a_shape_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon >= 2"):
        ProblemShape(horizon=1)
