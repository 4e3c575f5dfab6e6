import errno
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.trajectory import (
    FrameText,
    TextKind,
    Trajectory,
    read_trajectories,
    read_trajectory,
    write_trajectory,
)

NUM_FRAMES = 5
TEXTS = (
    FrameText(frame=0, kind=TextKind.caption, text="A corridor,\u2028with a “door”."),
    FrameText(frame=2, kind=TextKind.question, text="How far?", answer="2 m", held_out=True),
    FrameText(frame=1, end_frame=4, kind=TextKind.instruction, text="go forward 1 m"),
)


def recording(name: str = "run", **changes: object) -> Trajectory:
    rng = np.random.default_rng(0)
    fields: dict[str, object] = {
        "name": name,
        "place": "map01",
        "frames": rng.integers(0, 256, size=(NUM_FRAMES, 12, 16, 3), dtype=np.uint8),
        "poses": rng.normal(size=(NUM_FRAMES, 3)) * 1e3,
        "times_s": np.cumsum(rng.uniform(0.1, 0.3, size=NUM_FRAMES)),
        "texts": TEXTS,
    }
    return Trajectory(**{**fields, **changes})  # type: ignore[arg-type]


def write_nwm(folder: Path, *, position: object, yaw: object, num_frames: int = NUM_FRAMES) -> Path:
    """A folder as others write it."""
    folder.mkdir(parents=True)
    for index in range(num_frames):
        Image.new("RGB", (16, 12), (index, 0, 0)).save(folder / f"{index}.jpg")
    (folder / "traj_data.pkl").write_bytes(pickle.dumps({"position": position, "yaw": yaw}))
    return folder


def test_poses_times_and_texts_read_back_exactly(tmp_path: Path):
    written = recording()
    assert written.poses is not None
    written.poses[0] = [-0.0, 5e-324, np.nextafter(np.pi, 9)]
    read = read_trajectory(write_trajectory(written, tmp_path), check_frames=True)
    assert (read.name, read.place, read.texts, read.num_frames) == ("run", "map01", TEXTS, NUM_FRAMES)
    assert read.poses is not None
    assert read.poses.tobytes() == written.poses.tobytes()
    assert read.times_s.tobytes() == written.times_s.tobytes()


def test_the_layout_is_that_of_nwm(tmp_path: Path):
    written = recording()
    folder = write_trajectory(written, tmp_path)
    names = {f"{index}.jpg" for index in range(NUM_FRAMES)} | {"traj_data.pkl", "info.json", "texts.jsonl"}
    assert set(os.listdir(folder)) == names
    content = pickle.loads((folder / "traj_data.pkl").read_bytes())
    assert written.poses is not None
    np.testing.assert_array_equal(content["position"], written.poses[:, :2])
    np.testing.assert_array_equal(content["yaw"], written.poses[:, 2])


def test_writing_again_loses_nothing(tmp_path: Path):
    first = write_trajectory(recording(), tmp_path / "first")
    second = write_trajectory(read_trajectory(first), tmp_path / "second")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_frames_are_read_when_asked_for(tmp_path: Path):
    folder = write_trajectory(recording(), tmp_path)
    (folder / "3.jpg").write_bytes(b"broken")
    trajectory = read_trajectory(folder)
    assert trajectory.frames[2].shape == (12, 16, 3)
    with pytest.raises(ValueError, match=r"3\.jpg is not a readable JPEG"):
        trajectory.frames[3]
    with pytest.raises(ValueError, match=r"3\.jpg is not a readable JPEG"):
        read_trajectory(folder, check_frames=True)


def test_video_without_actions(tmp_path: Path):
    folder = write_trajectory(recording(poses=None, texts=()), tmp_path)
    assert not (folder / "traj_data.pkl").exists()
    video = read_trajectory(folder)
    assert video.poses is None
    with pytest.raises(ValueError, match="plain video"):
        _ = video.spacing_m


def test_spacing_is_the_mean_step_length():
    poses = np.array([[0.0, 0, 0], [3, 4, 0], [3, 4, 1], [3, 5, 1], [3, 6, 1]])
    np.testing.assert_allclose(recording(poses=poses).step_lengths_m, [5, 0, 1, 1])
    assert recording(poses=poses).spacing_m == pytest.approx(7 / 4)


def test_foreign_folders_have_the_period_that_their_reader_states(tmp_path: Path):
    poses = np.random.default_rng(1).normal(size=(NUM_FRAMES, 3)).astype(np.float32)
    folder = write_nwm(tmp_path / "recon" / "a", position=poses[:, :2], yaw=poses[:, 2:])
    read = read_trajectory(folder, period_s=0.25)
    assert read.poses is not None
    np.testing.assert_array_equal(read.poses, poses.astype(np.float64))
    np.testing.assert_array_equal(read.times_s, [0, 0.25, 0.5, 0.75, 1.0])
    assert (read.name, read.place) == ("a", "recon")
    np.testing.assert_array_equal(read_trajectory(folder, period_s=0.5).times_s, [0, 0.5, 1.0, 1.5, 2.0])
    with pytest.raises(ValueError, match=r"no info\.json.*say the time between its frames with period_s"):
        read_trajectory(folder)


def test_a_recording_without_its_description_gets_no_other_times(tmp_path: Path):
    folder = write_trajectory(recording(), tmp_path)
    (folder / "info.json").unlink()
    with pytest.raises(ValueError, match=r"info\.json is missing and texts\.jsonl is there"):
        read_trajectory(folder, period_s=0.25)
    with pytest.raises(ValueError, match=r"no info\.json"):
        (folder / "texts.jsonl").unlink()
        read_trajectory(folder)


def test_a_name_may_end_like_that_of_an_unfinished_folder(tmp_path: Path):
    write_trajectory(recording("run.partial"), tmp_path)
    report = read_trajectories(tmp_path)
    assert [trajectory.name for trajectory in report.trajectories] == ["run.partial"]
    assert report.num_skipped == 0


def test_a_taken_name_is_refused_and_kept(tmp_path: Path):
    folder = write_trajectory(recording(), tmp_path)
    before = (folder / "0.jpg").read_bytes()
    with pytest.raises(FileExistsError, match="remove it first"):
        write_trajectory(recording(frames=np.zeros((NUM_FRAMES, 5, 7, 3), np.uint8)), tmp_path)
    assert (folder / "0.jpg").read_bytes() == before


class FullDisk:
    """Frames of which the third cannot be had."""

    def __len__(self) -> int:
        return NUM_FRAMES

    def __getitem__(self, index: int, /) -> np.ndarray:
        if index == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return np.zeros((5, 7, 3), np.uint8)


def test_a_full_disk_leaves_nothing(tmp_path: Path):
    with pytest.raises(OSError, match="No space left"):
        write_trajectory(recording(frames=FullDisk()), tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED_WRITER = """
import os, sys
from pathlib import Path
import numpy as np
from data_tools.trajectory import Trajectory, write_trajectory

class KillsItself:
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return np.zeros((5, 7, 3), np.uint8) if index < 2 else os.kill(os.getpid(), 9)

video = Trajectory(name="run", place="map01", frames=KillsItself(), poses=None, times_s=np.arange(5.0))
write_trajectory(video, Path(sys.argv[1]))
"""


def test_a_writer_that_was_killed_leaves_nothing_that_is_taken_for_whole(tmp_path: Path):
    assert subprocess.run([sys.executable, "-c", KILLED_WRITER, tmp_path], check=False).returncode == -9
    write_trajectory(recording("whole"), tmp_path)
    report = read_trajectories(tmp_path)
    assert [trajectory.name for trajectory in report.trajectories] == ["whole"]
    assert report.num_skipped == 1
    assert "unfinished" in report.skipped[0].reason


def test_whole_trajectories_are_read_in_order_and_others_counted(tmp_path: Path):
    for name in ("c", "a", "b"):
        write_trajectory(recording(name), tmp_path)
    (tmp_path / "b" / "4.jpg").unlink()
    (tmp_path / "notes.txt").write_text("not a trajectory")
    (tmp_path / ".cache").mkdir()
    report = read_trajectories(tmp_path)
    assert [trajectory.name for trajectory in report.trajectories] == ["a", "c"]
    assert report.num_skipped == 1
    assert report.skipped[0].folder == tmp_path / "b"
    assert "1 are missing or empty, the first is 4.jpg" in report.skipped[0].reason


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "2.jpg").unlink(), r"needs frames 0\.jpg to 4\.jpg; 1 are missing"),
        (lambda folder: (folder / "2.jpg").write_bytes(b""), r"the first is 2\.jpg"),
        (lambda folder: (folder / "5.jpg").write_bytes(b"x"), "lengths disagree: 6 frames, 5 poses"),
        (lambda folder: (folder / "traj_data.pkl").unlink(), r"traj_data\.pkl is missing"),
        (lambda folder: (folder / "traj_data.pkl").write_bytes(b"\x80\x04"), "not a whole pickle"),
        (lambda folder: (folder / "traj_data.pkl").write_bytes(b"cos\nsystem\n."), "could run code"),
        (lambda folder: (folder / "info.json").write_text('{"place": '), "not a description"),
        (lambda folder: (folder / "info.json").write_text("[]"), "not a description"),
        (
            lambda folder: (folder / "info.json").write_text("[" * 200_000),
            "not a description.*RecursionError",
        ),
        (lambda folder: (folder / "texts.jsonl").write_text("[" * 200_000), "line 1: .*RecursionError"),
        (lambda folder: (folder / "texts.jsonl").write_bytes(b"\xff"), "line 1: not a text"),
        (lambda folder: (folder / "texts.jsonl").unlink(), "counts 3 texts, texts.jsonl has 0"),
        (lambda folder: (folder / "texts.jsonl").write_text('{"frame": 1}\n'), "line 1: not a text"),
    ],
)
def test_spoilt_folders_get_one_clear_error(tmp_path: Path, spoil, message: str):
    folder = write_trajectory(recording(), tmp_path)
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_trajectory(folder)
    assert read_trajectories(tmp_path).num_skipped == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times_s": [0, 1, 2]}, "lengths disagree: 3 times, 5 poses"),
        ({"times_s": [0, 1, 2, 2, 3]}, "times must increase; they do not after frame 2"),
        ({"times_s": [0, 1, 2, float("nan"), 3]}, "times_s must be finite; frame 3"),
        ({"format_version": 99}, "not of format version 1; it says 99"),
        ({"format_version": "1"}, "format_version must be int, it is '1'"),
        ({"times_s": "12345"}, "times_s must be list, it is '12345'"),
        ({"times_s": [0, 1, 2, 3, 10**400]}, "OverflowError"),
        ({"num_texts": float("inf")}, "num_texts must be int, it is inf"),
        ({"has_poses": "false"}, "has_poses must be bool, it is 'false'"),
        ({"has_poses": False}, r"says that it has no poses, and traj_data\.pkl is there"),
        ({"place": None}, "place must be str, it is None"),
    ],
)
def test_spoilt_descriptions_are_refused(tmp_path: Path, changes: dict[str, object], message: str):
    folder = write_trajectory(recording(), tmp_path)
    info = json.loads((folder / "info.json").read_text())
    (folder / "info.json").write_text(json.dumps({**info, **changes}))
    with pytest.raises(ValueError, match=message):
        read_trajectory(folder)
    assert read_trajectories(tmp_path).num_skipped == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": "0"}, "frame must be int, it is '0'"),
        ({"frame": None}, "frame must be int, it is None"),
        ({"frame": 0.5}, "frame must be int, it is 0.5"),
        ({"frame": True}, "frame must be int, it is True"),
        ({"end_frame": "1"}, "end_frame must be int or NoneType"),
        ({"kind": "song"}, "KeyError: 'song'"),
        ({"text": 5}, "text must be str, it is 5"),
        ({"answer": 5}, "answer must be str or NoneType"),
        ({"held_out": "no"}, "held_out must be bool, it is 'no'"),
        ({"speaker": "Ann"}, "speaker"),
    ],
)
def test_spoilt_texts_are_refused_and_the_rest_is_read(tmp_path: Path, changes: dict, message: str):
    write_trajectory(recording("whole"), tmp_path)
    path = write_trajectory(recording(), tmp_path) / "texts.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[1] = json.dumps(json.loads(lines[1]) | changes)
    path.write_text("\n".join(lines), encoding="utf-8")
    report = read_trajectories(tmp_path)
    assert [trajectory.name for trajectory in report.trajectories] == ["whole"]
    assert re.search(f"line 2: not a text about a frame: .*{message}", report.skipped[0].reason)


@pytest.mark.parametrize(
    ("position", "yaw", "message"),
    [
        (np.zeros((5, 2)), np.zeros(4), "lengths disagree: 5 positions, 4 yaws"),
        (np.zeros((4, 2)), np.zeros(4), "lengths disagree: 5 frames, 4 poses"),
        (np.zeros((5, 3)), np.zeros(5), r"needs position \[frame, 2\]"),
        (np.full((5, 2), np.inf), np.zeros(5), "poses must be finite; frame 0"),
        ("north", np.zeros(5), "position must be an array of real numbers; it is str"),
        ([[0.0, 0.0]] * 5, np.zeros(5), "position must be an array of real numbers; it is list"),
        (np.zeros((5, 2), complex), np.zeros(5), "real numbers; it is an array of complex128"),
        (np.zeros((5, 2)), np.array(["0"] * 5), "yaw must be an array of real numbers; .* of <U1"),
        (np.zeros((5, 2)), np.zeros(5, bool), "yaw must be an array of real numbers; .* of bool"),
        (np.zeros((0, 2)), np.zeros(0), "0 poses|needs frames"),
    ],
)
def test_foreign_poses_are_checked(tmp_path: Path, position: object, yaw: object, message: str):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_trajectory(write_nwm(tmp_path / "a", position=position, yaw=yaw), period_s=0.25)


def test_lists_that_expand_for_ever_are_not_converted(tmp_path: Path):
    position: list = [0.0]
    for _ in range(60):
        position = [position, position]
    folder = write_nwm(tmp_path / "a", position=position, yaw=np.zeros(5))
    with pytest.raises(ValueError, match="position must be an array of real numbers; it is list"):
        read_trajectory(folder, period_s=0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../outside"}, "one visible path component"),
        ({"name": ".hidden"}, "one visible path component"),
        ({"frames": np.zeros((0, 5, 7, 3), np.uint8)}, "has no frames"),
        ({"frames": np.zeros((4, 5, 7, 3), np.uint8)}, "lengths disagree"),
        ({"poses": np.full((5, 3), np.nan)}, "poses must be finite"),
        ({"times_s": np.zeros(5)}, "times must increase"),
        ({"texts": (FrameText(frame=5, kind=TextKind.caption, text="x"),)}, "is about frames 5 to 5"),
    ],
)
def test_trajectories_that_do_not_agree_are_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        recording(**changes)


def test_texts_state_what_their_kind_needs():
    with pytest.raises(ValueError, match="a question has an answer"):
        FrameText(frame=0, kind=TextKind.question, text="Where?")
    with pytest.raises(ValueError, match="an instruction has an end_frame"):
        FrameText(frame=0, kind=TextKind.instruction, text="go")


def test_a_missing_root_is_not_an_empty_one(tmp_path: Path):
    assert read_trajectories(tmp_path).trajectories == ()
    with pytest.raises(FileNotFoundError, match="should hold one folder a trajectory"):
        read_trajectories(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_trajectory(tmp_path / "missing")
