"""LeRobot sets are written: what each file says, and that a set is whole or not there."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_tools.formats.lerobot_layout import FilePlace
from data_tools.formats.lerobot_statistics import describe_numbers
from data_tools.formats.lerobot_writer import WrittenSet, frame_tasks, write_lerobot
from data_tools.pose import move
from data_tools.trajectory import FrameText, TextKind, Trajectory
from tests.data_tools.formats.lerobot_sets import FPS, SIZE, drive, drives, pictures

CAMERA = "observation.images.front"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "new" / "walks"
    written = write_lerobot(drives(), root, fps=FPS, robot_type="walker", task="explore")
    assert written == WrittenSet(root, num_episodes=3, num_frames=23, num_tasks=5)
    return root


def rows(root: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(FilePlace().data_path(root))
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def test_rows_are_frames(root: Path):
    read = rows(root)
    poses = [each.poses for each in drives() if each.poses is not None]
    np.testing.assert_array_equal(read["observation.state"], np.concatenate(poses).astype(np.float32))
    frames = np.concatenate([np.arange(7), np.arange(5), np.arange(11)])
    np.testing.assert_array_equal(read["frame_index"], frames)
    np.testing.assert_array_equal(read["timestamp"], (frames / FPS).astype(np.float32))
    np.testing.assert_array_equal(read["episode_index"], [0] * 7 + [1] * 5 + [2] * 11)
    np.testing.assert_array_equal(read["index"], np.arange(23))
    np.testing.assert_array_equal(read["task_index"][:12], [0, 1, 1, 2, 0, 0, 0, 0, 3, 3, 2, 0])
    types = {field.name: str(field.type) for field in pq.read_schema(FilePlace().data_path(root))}
    assert types == {
        "observation.state": "fixed_size_list<element: float>[3]",
        "action": "fixed_size_list<element: float>[4]",
        "timestamp": "float",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
    }


def test_actions_lead_from_each_state_to_the_next(root: Path):
    read = rows(root)
    for episode in range(3):
        states, actions = (
            read[key][read["episode_index"] == episode] for key in ("observation.state", "action")
        )
        reached = move(states[:-1], actions[:-1, :3])
        np.testing.assert_allclose(reached, states[1:], atol=1e-5)
        np.testing.assert_allclose(actions[:-1, 3], 9 / 35, rtol=1e-7)
        assert actions[-1].tolist() == [0, 0, 0, 0]


def test_episodes_say_where_they_lie(root: Path):
    read = pq.read_table(FilePlace().episodes_path(root)).to_pylist()
    for key, expected in {
        "episode_index": [0, 1, 2],
        "length": [7, 5, 11],
        "dataset_from_index": [0, 7, 12],
        "dataset_to_index": [7, 12, 23],
        "tasks": [
            ["explore", "go 0 m", "turn"],
            ["explore", "go 1 m", "turn"],
            ["explore", "go 2 m", "turn"],
        ],
        f"videos/{CAMERA}/from_timestamp": [0.0, 63 / 35, 108 / 35],
        f"videos/{CAMERA}/to_timestamp": [63 / 35, 108 / 35, 207 / 35],
        f"videos/{CAMERA}/file_index": [0, 0, 0],
        "stats/frame_index/max": [[6], [4], [10]],
        "stats/action/count": [[7], [5], [11]],
    }.items():
        assert [row[key] for row in read] == expected, key
    assert np.shape(read[0][f"stats/{CAMERA}/q01"]) == (3, 1, 1)


def test_statistics_are_those_of_all_frames(root: Path):
    read = json.loads((root / "meta" / "stats.json").read_text())
    columns = rows(root)
    assert set(read) == set(columns) | {CAMERA}
    for key, column in columns.items():
        expected = describe_numbers(column.reshape(23, -1)).to_json()
        for name, values in expected.items():
            np.testing.assert_allclose(read[key][name], values, rtol=1e-6, err_msg=f"{key} {name}")
    images = np.concatenate([np.asarray(each.frames) for each in drives()]) / 255
    np.testing.assert_allclose(np.ravel(read[CAMERA]["mean"]), images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.ravel(read[CAMERA]["std"]), images.std(axis=(0, 1, 2)))


def test_the_description_names_features_and_origins(root: Path):
    info = json.loads((root / "meta" / "info.json").read_text())
    counts = [info[name] for name in ("total_episodes", "total_frames", "total_tasks")]
    assert (info["codebase_version"], info["robot_type"], counts) == ("v3.0", "walker", [3, 23, 5])
    assert info["fps"] == FPS and info["splits"] == {"train": "0:3"}
    assert info["features"][CAMERA]["shape"] == [*SIZE, 3]
    assert info["features"]["observation.state"]["names"] == ["x", "y", "yaw"]
    assert info["features"]["action"] == {
        "dtype": "float32",
        "shape": [4],
        "names": ["dx", "dy", "dyaw", "dt"],
    }
    origins = [json.loads(line) for line in (root / "meta" / "worldnav.jsonl").read_text().splitlines()]
    assert origins[2] == {"episode_index": 2, "name": "drive2", "place": "map2"}
    assert [path.name for path in root.parent.iterdir()] == ["walks"]


def test_a_task_holds_while_its_motion_goes_on():
    def instruction(frame: int, end_frame: int, text: str, *, held_out: bool = False) -> FrameText:
        kind = TextKind.instruction
        return FrameText(frame=frame, end_frame=end_frame, kind=kind, text=text, held_out=held_out)

    texts = (
        instruction(1, 3, "first"),
        instruction(2, 5, "second"),
        instruction(6, 6, "stop"),
        instruction(0, 6, "secret", held_out=True),
        FrameText(frame=0, kind=TextKind.caption, text="a room"),
    )
    tasks = frame_tasks(drive(7, seed=0, texts=texts), otherwise="go")
    assert tasks == ["go", "first", "first", "second", "second", "go", "stop"]


def test_plain_video_has_neither_state_nor_action(tmp_path: Path):
    write_lerobot([drive(5, seed=0, poses=None)], tmp_path / "set", fps=FPS, robot_type="r")
    assert set(rows(tmp_path / "set")) == {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    whole = tmp_path / "whole"
    times_s = np.arange(5) / 10
    write_lerobot([drive(5, seed=0, times_s=times_s)], whole, fps=10.0, robot_type="r")
    assert '"fps": 10,' in (whole / "meta" / "info.json").read_text()


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (drive(5, seed=1, poses=None), "'drive1' has no poses, the first is otherwise; write those"),
        (drive(5, seed=1, frames=pictures(5, seed=1, size=(36, 50))), r"frame 0 is \[36, 50, 3\], the first"),
        (
            drive(5, seed=1, times_s=np.array([0, 1, 2, 3.001, 4]) / FPS),
            "frame 3 is 0.0003 s from its time, LeRobot allows 0.0001; .* convert it with a fixed period",
        ),
    ],
)
def test_what_does_not_fit_leaves_nothing_behind(tmp_path: Path, bad: Trajectory, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        write_lerobot([drive(7, seed=0), bad], tmp_path / "set", fps=FPS, robot_type="r")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path):
    def failing():
        raise OSError("the disk is gone")
        yield

    with pytest.raises(OSError, match="the disk is gone"):
        write_lerobot(chain([drive(7, seed=0)], failing()), tmp_path / "set", fps=FPS, robot_type="r")
    assert list(tmp_path.iterdir()) == []


def test_refuses_rates_that_the_frames_do_not_have(tmp_path: Path):
    with pytest.raises(ValueError, match=r"frame 1 is 0\.0071 s from its time"):
        write_lerobot([drive(7, seed=0)], tmp_path / "set", fps=4.0, robot_type="r")
    for fps in (0.0, 1e-5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"fps must be between 0\.0001 and 10000, it is"):
            write_lerobot([drive(7, seed=0)], tmp_path / "set", fps=fps, robot_type="r")


def test_refuses_to_write_nothing_or_over_something(tmp_path: Path):
    with pytest.raises(ValueError, match="at least one trajectory; none came"):
        write_lerobot([], tmp_path / "set", fps=FPS, robot_type="r")
    (tmp_path / "set").mkdir()
    with pytest.raises(FileExistsError, match="set exists; remove it first"):
        write_lerobot(drives(), tmp_path / "set", fps=FPS, robot_type="r")
