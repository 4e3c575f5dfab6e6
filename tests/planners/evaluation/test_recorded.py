"""Recorded problems: which trajectories are for what, and that a problem is what its window says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools.evaluation_index import EvaluationIndex, IndexKind, Window, write_index, write_nwm_index
from data_tools.trajectory import Trajectory, write_trajectory
from planners.evaluation.recorded import (
    RecordedConfig,
    cut_into_shards,
    fit_recorded_prior,
    navigation_index,
    open_recorded,
    read_problem,
)

CONFIG = RecordedConfig(held_out_fraction=0.5, problems_per_shard=2)


def write_drives(root: Path, *, names: str = "abcdef", num_frames: int = 30, step_m: float = 0.3) -> None:
    """Straight drives at 4 frames a second, in which the frame's colour is its number."""
    for number, name in enumerate(names):
        frames = np.zeros((num_frames, 12, 16, 3), dtype=np.uint8)
        frames[..., 0] = np.arange(num_frames)[:, None, None] * 5
        ahead_m = np.arange(num_frames) * step_m * (1 + 0.1 * number)
        poses = np.column_stack([ahead_m, np.full(num_frames, 2.0 * number), np.zeros(num_frames)])
        write_trajectory(
            Trajectory(
                name=name, place="yard", frames=frames, poses=poses, times_s=np.arange(num_frames) * 0.25
            ),
            root,
        )


@pytest.fixture
def folder(tmp_path) -> Path:
    write_drives(tmp_path / "set")
    return tmp_path / "set"


def test_a_set_is_split_once_and_the_prior_is_of_its_training_side(folder):
    recorded = open_recorded(folder, CONFIG)
    names = [{each.name for each in side} for side in (recorded.train, recorded.held_out)]
    assert names[0] | names[1] == set("abcdef") and not names[0] & names[1]
    assert open_recorded(folder, CONFIG).fingerprint == recorded.fingerprint
    assert open_recorded(folder, replace(CONFIG, split_seed=1)).fingerprint != recorded.fingerprint
    fitted = fit_recorded_prior(recorded, CONFIG, horizon=8)
    steps_m = [0.3 * (1 + 0.1 * "abcdef".index(name)) for name in names[0]]
    assert fitted.spacing_m == pytest.approx(np.mean(steps_m))
    assert fitted.prior.mean.tolist() == pytest.approx([np.mean(steps_m), 0, 0])
    assert fitted.prior.bounds.dx_m == pytest.approx(1.25 * max(steps_m)) and fitted.prior.dt_s == 0.25


def test_lists_of_names_say_which_are_for_tests(folder, tmp_path):
    (tmp_path / "train.txt").write_text("a\nb\nz\n")
    (tmp_path / "test.txt").write_text("d\n")
    lists = {"train_names": str(tmp_path / "train.txt"), "test_names": str(tmp_path / "test.txt")}
    recorded = open_recorded(folder, replace(CONFIG, **lists))
    assert [each.name for each in recorded.train] == ["a", "b"]
    assert [each.name for each in recorded.held_out] == ["d"]
    (tmp_path / "test.txt").write_text("b\n")
    with pytest.raises(ValueError, match="b is in both lists"):
        open_recorded(folder, replace(CONFIG, **lists))
    (tmp_path / "test.txt").write_text("z\n")
    with pytest.raises(ValueError, match=r"it has 2 of .* and 0 of"):
        open_recorded(folder, replace(CONFIG, **lists))


def test_a_problem_is_what_its_window_says(folder):
    recorded = open_recorded(folder, CONFIG)
    index = navigation_index(recorded, CONFIG, goal_s=2.0, num_problems=5, num_context=4)
    assert len(index.windows) == 5 and {window.max_offset for window in index.windows} == {8}
    shards = cut_into_shards(index, split="zero_shot", folder=folder, config=CONFIG)
    assert [len(shard.windows) for shard in shards] == [2, 2, 1]
    window = shards[1].windows[0]
    problem = read_problem(window, shards[1], num_context=4, spacing_m=0.3)
    frame = window.frame
    assert [context[0, 0, 0] for context in problem.context] == pytest.approx(
        [5 * index for index in range(frame - 3, frame + 1)], abs=2
    )
    assert problem.goal[0, 0, 0] == pytest.approx(5 * (frame + 8), abs=2)
    assert len(problem.true_poses) == 8 and problem.goal_s == 2.0 and problem.level == "yard"
    np.testing.assert_allclose(problem.true_displacements()[:, 1:], 0, atol=1e-12)
    assert window.trajectory in {each.name for each in recorded.held_out}


def test_an_index_of_nwm_is_taken_as_it_is_and_what_lies_outside_is_left_out(folder, tmp_path):
    recorded = open_recorded(folder, CONFIG)
    name = recorded.held_out[0].name
    windows = tuple(Window(trajectory=name, frame=frame, min_offset=8, max_offset=8) for frame in (5, 10, 25))
    index = EvaluationIndex(kind=IndexKind.navigation, windows=windows)
    path = write_nwm_index(index, tmp_path)
    taken = navigation_index(
        recorded, replace(CONFIG, index=str(path)), goal_s=2.0, num_problems=9, num_context=4
    )
    assert taken.windows == windows[:2]
    write_index(
        EvaluationIndex(
            kind=IndexKind.navigation, windows=(replace(windows[0], trajectory=recorded.train[0].name),)
        ),
        tmp_path / "trained.jsonl",
    )
    with pytest.raises(ValueError, match="which is a training trajectory here"):
        navigation_index(
            recorded,
            replace(CONFIG, index=str(tmp_path / "trained.jsonl")),
            goal_s=2.0,
            num_problems=9,
            num_context=4,
        )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"train_names": "a"}, "both train_names and test_names"),
        ({"goals_s": []}, "times above 0 that differ"),
        ({"goals_s": [2.0, 2.0]}, "times above 0 that differ"),
        ({"index": "i", "goals_s": [2.0, 4.0]}, "give one goals_s"),
        ({"problems_per_shard": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_cut_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        replace(CONFIG, **changes)
